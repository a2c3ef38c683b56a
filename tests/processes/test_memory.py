"""The limit of the memory that calls may allocate ends with the last call."""

from __future__ import annotations

import gc
import sys
import weakref

import pytest

from songprint.processes import memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
def test_calls_that_overlap_leave_no_limit_behind():
    import resource

    def limit() -> int:
        return resource.getrlimit(resource.RLIMIT_DATA)[0]

    before = limit()
    first, second = memory.limited(1 << 30), memory.limited(1 << 29)
    first.__enter__()
    shared = limit()
    second.__enter__()
    assert limit() == shared != before
    first.__exit__(None, None, None)
    assert limit() == shared
    second.__exit__(None, None, None)
    assert limit() == before


def test_release_frees_what_only_reference_cycles_hold():
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    gc.disable()
    try:
        held = weakref.ref(Cycle())
        assert held()
        memory.release()
        assert held() is None
    finally:
        gc.enable()
