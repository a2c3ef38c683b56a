"""The training loop: steps, logs, and resuming after an interruption."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch: make lab")

from lab.train import fingerprint, loop

STEPS = 40


class Line(loop.Trainer):
    """Fits a line to noisy points, with dropout, so that the state of PyTorch's generator matters."""

    def __init__(self, steps: int = STEPS, seed: int = 0, pause: float = 0.0) -> None:
        self.config = loop.Config(steps, 0.1, warm_up=2, checkpoint_every=10, seed=seed)
        self.pause = pause

    def network(self):
        return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))

    def draw(self, rng, step):
        inputs = rng.standard_normal((8, 4)).astype(np.float32)
        return inputs, inputs.sum(axis=1, keepdims=True)

    def loss(self, network, batch):
        time.sleep(self.pause)
        inputs, targets = map(torch.from_numpy, batch)
        return (network(inputs) - targets).square().mean(), {"mean": float(targets.mean())}

    def examine(self, network):
        return {"weights": sum(values.numel() for values in network.parameters())}


def weights(path) -> list:
    return list(loop.load_weights(path).values())


def test_a_killed_run_continues_from_its_checkpoint_with_the_same_result(tmp_path):
    whole, resumed = tmp_path / "whole.pt", tmp_path / "resumed.pt"
    loop.train(Line(), whole)
    process = multiprocessing.get_context("fork").Process(target=loop.train, args=(Line(pause=0.05), resumed))
    process.start()
    while not resumed.with_suffix(".checkpoint").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not resumed.exists()
    log = loop.train(Line(), resumed)
    assert log["steps"] == STEPS and log["held out"] == {"weights": 25}
    assert all(map(torch.equal, weights(whole), weights(resumed)))
    assert not resumed.with_suffix(".checkpoint").exists()


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    out = tmp_path / "line.pt"
    loop.save({"config": {"steps": 5}}, out.with_suffix(".checkpoint"))
    with pytest.raises(ValueError, match="written with other settings"):
        loop.train(Line(), out)


def test_other_seeds_give_other_weights(tmp_path):
    for seed in (0, 1):
        loop.train(Line(seed=seed), tmp_path / f"{seed}.pt")
    assert not torch.equal(weights(tmp_path / "0.pt")[0], weights(tmp_path / "1.pt")[0])


def test_errors_of_the_batch_process_reach_the_trainer(tmp_path):
    trainer = Line()
    trainer.draw = lambda rng, step: [][step]
    with pytest.raises(IndexError):
        loop.train(trainer, tmp_path / "line.pt")


def test_mixed_batches_depend_on_the_step_alone():
    made = []

    def make(rng, step):
        made.append(step)
        rows = np.full((8, 1), step, np.float32)
        return rows, rows + rng.random(), np.arange(8)

    config = fingerprint.Config(steps=100, batch=8, memory=4, mixed=1)
    mixer, later = fingerprint.Mixer(make, config), fingerprint.Mixer(make, config)

    def batch(mixer, step):
        return mixer.batch(np.random.default_rng([0, step]), step)

    batches = [batch(mixer, step) for step in range(40)]
    assert sorted(made) == [*range(4), *range(4, 40, 2)], "each new batch is made once"
    assert all(map(np.array_equal, batch(later, 31), batches[31]))
    assert len(np.unique(batches[31][0])) == 4 and batches[31][0].max() < 31
    assert np.unique(batches[30][0]).tolist() == [30]
