"""The benchmark. No test asserts times, because they depend on the machine and its load."""

import re
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from lab.measure import bench
from songprint.encoders.contract import WEIGHTS


def test_a_walk_has_similar_neighbours_and_a_refrain(random):
    vectors = bench.walk(400, 128, random)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    neighbours = (vectors[1:] * vectors[:-1]).sum(axis=1).mean()
    unrelated = (vectors @ bench.walk(400, 128, random).T).mean()
    refrain = (vectors[: bench.REFRAIN] * vectors[3 * bench.REFRAIN : 4 * bench.REFRAIN]).sum(axis=1).mean()
    assert 0.7 < neighbours < 0.9
    assert abs(unrelated) < 0.1
    assert refrain > 0.9


def test_time_of_nested_stages_is_not_counted_twice(monkeypatch):
    def busy(seconds):
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    def beside():
        thread = threading.Thread(target=inner.work)
        thread.start()
        thread.join()

    inner = SimpleNamespace(work=lambda: busy(0.02))
    outer = SimpleNamespace(work=lambda: (busy(0.01), inner.work(), beside()))
    monkeypatch.setattr(bench, "FUNCTIONS", {"outer": ["outer.work", "outer.gone"], "inner": ["inner.work"]})
    monkeypatch.setattr(
        bench, "_found", lambda name: ({"outer": outer, "inner": inner}[name.split(".")[0]], name.split(".")[1])
    )
    before = outer.work
    with bench.timed_stages() as spent:
        began = time.process_time()
        outer.work()
        passed = time.process_time() - began
    assert outer.work is before
    assert spent["outer"] >= 0.01
    assert spent["inner"] >= 0.04
    assert sum(spent.values()) <= passed + 0.001


@pytest.mark.parametrize("name", [name for names in bench.FUNCTIONS.values() for name in names])
def test_every_stage_exists(name):
    owner, attribute = bench._found(name)
    assert callable(getattr(owner, attribute))
    assert getattr(owner, "__name__", "") == name.split(".")[-2] or name.split(".")[-2][0].islower()


@pytest.mark.heavy
@pytest.mark.skipif(not (WEIGHTS / "fingerprint.onnx").exists(), reason="no weights yet")
def test_the_benchmark_prints_all_stages(tmp_path, capsys):
    bench.bench(tmp_path, tracks=20, queries=4, music=None, workers=1)
    printed = capsys.readouterr().out
    assert "4 queries, 20 recordings, 4 correct, 0 wrong" in printed
    shares = [int(share) for share in re.findall(r"^  .*\((-?\d+)%\)", printed, re.MULTILINE)]
    assert sum(shares) == pytest.approx(100 * len(bench.QUERY_SECONDS), abs=len(shares))
