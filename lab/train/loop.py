"""The loop that all training programs share.

A program contributes a `Trainer`; `train` runs it for a number of steps: learning rate, gradient clipping,
running mean of the weights, log, checkpoints. Batch i of a run depends on the seed and on i alone, so a run
that was interrupted continues from its checkpoint with the result of an uninterrupted run.
"""

from __future__ import annotations

import copy
import json
import math
import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lab.train.restore import restore, settle

SIXTEEN_BITS = torch.cpu._is_amx_tile_supported()  # whether the processor multiplies bfloat16 matrices quickly
WAITING = 4  # batches that are prepared ahead
REPORT_EVERY = 50  # steps


@dataclass(frozen=True)
class Config:
    """Settings that every training program has. `lab/recipes` gives their values."""

    steps: int
    learning_rate: float  # highest; rises during the warm-up, then falls as a cosine
    warm_up: int = 100  # steps
    weight_decay: float = 1e-3
    averaging: float = 0.998  # of the running mean of the weights, per step; 0 keeps the latest weights
    max_gradient_norm: float = 5.0
    settling: int = 10  # batches from which batch normalisations are estimated when training starts from a graph
    checkpoint_every: int = 200  # steps; the held-out examination follows each checkpoint
    seed: int = 0


class Trainer:
    """What a training program contributes to the loop."""

    config: Any  # the Config of the program

    def network(self) -> nn.Module:
        """A new network."""
        raise NotImplementedError

    def start_from(self, network: nn.Module, start: Path) -> None:
        """Take over the weights of an exported graph (.onnx), settled on batches, or of an earlier stage (.pt)."""
        if start.suffix == ".onnx":
            self.restore(network, start)
            rng = np.random.default_rng(self.config.seed)
            settle(network, (torch.from_numpy(self.inputs(rng)) for _ in range(self.config.settling)))
        else:
            self.load(network, load_weights(start))

    def restore(self, network: Any, graph: Path) -> None:
        """Load the weights of an exported graph."""
        restore(network, graph)

    def load(self, network: Any, weights: dict[str, Tensor]) -> None:
        """Load the weights of an earlier stage."""
        network.load_state_dict(weights)

    def inputs(self, rng: np.random.Generator) -> np.ndarray:
        """Inputs of the network, from which batch normalisations are estimated."""
        drawn: np.ndarray = self.draw(rng, 0)[0]
        return drawn

    def prepare(self, network: nn.Module) -> Callable[..., Any]:
        """The callable that `loss` receives; for compiling or freezing parts of the network."""
        return network

    def draw(self, rng: np.random.Generator, step: int) -> Any:
        """The batch of a step. Runs in another process."""
        raise NotImplementedError

    def loss(self, network: Any, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """The loss of a batch, and figures for the log."""
        raise NotImplementedError

    def examine(self, network: nn.Module) -> Mapping[str, Any]:
        """Figures on held-out data."""
        return {}


def train(trainer: Trainer, out: Path, start: Path | None = None) -> dict[str, Any]:
    """Run all steps, or the remaining ones when a checkpoint exists; write `out` and a log.

    `out` (.pt) contains `weights` (the running mean), `config` and `steps`; the log (.json) contains steps, loss,
    held-out figures and config. Returns the log. Raises ValueError when a checkpoint has another config.
    """
    config: Config = trainer.config
    torch.manual_seed(config.seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint_file = out.with_suffix(".checkpoint")
    checkpoint = load_checkpoint(checkpoint_file, config)
    network = trainer.network()
    if start and not checkpoint:
        trainer.start_from(network, start)
    averaged = copy.deepcopy(network)
    forward = trainer.prepare(network)
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    step, losses = 0, []
    if checkpoint:
        network.load_state_dict(checkpoint["network"])
        averaged.load_state_dict(checkpoint["weights"])
        optimiser.load_state_dict(checkpoint["optimiser"])
        torch.set_rng_state(checkpoint["random"])
        step, losses = checkpoint["steps"], checkpoint["losses"]
        report(f"{out.stem}: continues after step {step}")
    began, figures = time.monotonic(), []
    with batches(trainer.draw, config.seed, step) as drawn:
        while step < config.steps:
            loss, shown = trainer.loss(forward, next(drawn))
            rate = rate_at(config.learning_rate, config.warm_up, step, step / config.steps)
            learn(optimiser, network, loss, rate, config.max_gradient_norm)
            step += 1
            follow(averaged, network, config.averaging, step)
            losses = [*losses[-199:], float(loss.detach())]
            figures.append({"loss": losses[-1], **shown})
            if step % REPORT_EVERY == 0:
                means = {name: float(np.mean([row[name] for row in figures])) for name in figures[-1]}
                text = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
                report(f"{out.stem}: step {step} of {config.steps}, {time.monotonic() - began:.0f} s: {text}")
                figures = []
            if step % config.checkpoint_every == 0 and step < config.steps:
                state = {
                    "network": network.state_dict(),
                    "weights": averaged.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "random": torch.get_rng_state(),
                    "steps": step,
                    "losses": losses,
                    "config": asdict(config),
                }
                save(state, checkpoint_file)
                report(f"{out.stem}: held out: {trainer.examine(averaged)}")
    log = {
        "steps": config.steps,
        "loss": round(float(np.mean(losses)), 4),
        "held out": trainer.examine(averaged),
        "config": asdict(config),
    }
    out.with_suffix(".json").write_text(json.dumps(log, indent=1) + "\n")
    save({"weights": averaged.state_dict(), "config": asdict(config), "steps": config.steps}, out)
    checkpoint_file.unlink(missing_ok=True)
    return log


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Switch the network to evaluation mode, without gradients."""
    network.eval()
    with torch.no_grad():
        yield
    network.train()


def load_checkpoint(path: Path, config: Config) -> dict[str, Any] | None:
    """The checkpoint of an interrupted run, None when there is none. Raises ValueError when its config differs."""
    if not path.exists():
        return None
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    if checkpoint["config"] != asdict(config):
        raise ValueError(f"{path} was written with other settings. Delete it to start this stage again.")
    return checkpoint


def load_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a finished stage."""
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)["weights"]
    return weights


def save(state: dict[str, Any], path: Path) -> None:
    """Write a file that is complete or not there at all."""
    unfinished = path.with_name(path.name + ".unfinished")
    torch.save(state, unfinished)
    unfinished.replace(path)


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def precision() -> torch.autocast:
    """bfloat16 where the processor has AMX; with AVX-512 alone it is slower, elsewhere ten times as slow."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=SIXTEEN_BITS)


def rate_at(highest: float, warm_up: int, step: int, share: float) -> float:
    """The learning rate: rises over `warm_up` steps, falls as a cosine over the `share` of steps completed."""
    return highest * min(1, (step + 1) / warm_up, 0.51 + 0.5 * math.cos(math.pi * share))


def take_over(network: nn.Module, weights: dict[str, Tensor], later: str) -> list[str]:
    """Load weights that may lack the layers whose names begin with `later`; return the names of the missing weights.

    Raises ValueError when anything else is missing or unknown.
    """
    missing, unknown = network.load_state_dict(weights, strict=False)
    if others := unknown + [name for name in missing if not name.startswith(later)]:
        raise ValueError(f"the weights to start from belong to a network of another shape: {', '.join(others)}")
    return missing


def learn(optimiser: torch.optim.Optimizer, network: nn.Module, loss: Tensor, rate: float, max_norm: float) -> None:
    """One step down the gradient of `loss`, whose norm is limited to `max_norm`."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    optimiser.step()


def follow(averaged: nn.Module, network: nn.Module, averaging: float, step: int) -> None:
    """Move the running mean of the weights towards the network; early steps weigh more."""
    keep = min(averaging, step / (step + 10))
    with torch.no_grad():
        for mean, value in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)


@contextmanager
def batches(draw: Callable[[np.random.Generator, int], Any], seed: int, first: int = 0) -> Iterator[Iterator[Any]]:
    """Batches from step `first` on, drawn in another process while this one trains."""
    context = multiprocessing.get_context("fork")  # shares the loaded data without copying it
    waiting = context.Queue(WAITING)
    process = context.Process(target=_fill, args=(waiting, draw, seed, first), daemon=True)
    process.start()

    def received() -> Iterator[Any]:
        while True:
            batch = waiting.get()
            if isinstance(batch, Exception):
                raise batch
            yield batch

    try:
        yield received()
    finally:
        process.terminate()
        process.join()
        waiting.close()
        waiting.cancel_join_thread()


def _fill(batches: Any, draw: Callable[[np.random.Generator, int], Any], seed: int, step: int) -> None:
    """Put batches, or the error that stops them, into the queue for as long as the training process lives."""
    torch.set_num_threads(1)
    batches.cancel_join_thread()
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            batch = draw(np.random.default_rng([seed, step]), step)
        except Exception as error:
            batch = error
        step += 1
        while os.getppid() == parent:
            with suppress(queue.Full):
                batches.put(batch, timeout=1)
                break
