"""Linear algebra keeps to one thread while something is identified or scanned, and is given back its own after."""

from __future__ import annotations

import numpy as np
import pytest
from support import toy
from threadpoolctl import threadpool_info, threadpool_limits

import songprint
from songprint.processes.threads import one_thread
from songprint.scan.scan import Scanner


def blas() -> set[int]:
    """How many threads the BLAS libraries of this process use."""
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two():
    with threadpool_limits(2, "blas"):
        yield


def test_the_last_user_restores_the_number_of_threads():
    first, second = one_thread(), one_thread()
    with first:
        second.__enter__()
        assert blas() == {1}
    assert blas() == {1}
    second.__exit__(None, None, None)
    assert blas() == {2}


def test_scanning_and_identifying_use_one_thread(tmp_path, songs, query, monkeypatch):
    seen = []
    encode = toy.ToyEncoder.encode_stream

    def watched(self, *arguments, **more):
        seen.append(blas())
        return encode(self, *arguments, **more)

    monkeypatch.setattr(toy.ToyEncoder, "encode_stream", watched)
    with songprint.open(tmp_path / "library", create=True, encoder=toy.CalibratedToyEncoder()) as library:
        library.add(songs, workers=1)
        seen.clear()
        library.identify(query)
        assert seen and set().union(*seen) == {1} and blas() == {2}
        scanner = Scanner(library.store)
        scanner.feed(np.zeros(80000, np.float32))
        assert blas() == {1}
        scanner.finish()
        assert blas() == {2}
