"""The process pool: order, limits, children that die, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from support import calls

from songprint.errors import AudioError
from songprint.processes import pool as pools
from songprint.processes.pool import Busy, Crashed, Failed, LimitExceeded, NotStarted, Pool


@pytest.fixture
def pool(tmp_path) -> Iterator[Pool]:
    with Pool(partial(calls.State, tmp_path), size=1, name="test") as opened:
        yield opened


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_calls_run_in_order_in_one_child(pool):
    assert not pool.ready
    futures = [pool.submit(calls.square, number) for number in range(5)]
    assert [future.result(60) for future in futures] == [0, 1, 4, 9, 16]
    child = pool.submit(calls.process_id).result(60)
    assert pool.ready and child != os.getpid()
    assert pool.submit(calls.process_id).result(60) == child


def test_errors_of_songprint_pass_through_and_bugs_carry_their_traceback(pool):
    child = pool.submit(calls.process_id).result(60)
    with pytest.raises(AudioError, match="no audio"):
        pool.submit(calls.refuse).result(60)
    with pytest.raises(Failed, match="in divide_by_zero"):
        pool.submit(calls.divide_by_zero).result(60)
    with pytest.raises(LimitExceeded, match="not enough memory"):
        pool.submit(calls.exhaust_memory).result(60)
    assert pool.submit(calls.process_id).result(60) == child


def test_a_dead_child_fails_its_call_and_is_replaced(pool):
    first, second = pool.submit(calls.die_at_odd, 1), pool.submit(calls.die_at_odd, 2)
    with pytest.raises(Crashed):
        first.result(60)
    assert second.result(60) == 2
    assert "its process was killed (SIGKILL), perhaps because" in str(first.exception())


def test_the_error_says_how_a_child_died():
    def dying(function: Callable[..., object], at_start: object = None) -> Exception:
        with Pool(partial(calls.open_or_die, at_start), size=1, name="test") as pool:
            return pool.submit(function, signal.SIGSEGV).exception(60)

    crashed = dying(calls.die_by)
    assert type(crashed) is Crashed and str(crashed) == "its decoder crashed. Convert the file to another format"
    starting = dying(calls.square, signal.SIGTERM)
    assert type(starting) is NotStarted
    assert str(starting) == "its process died while it started (SIGTERM). Try again"


def test_a_child_that_was_killed_between_two_calls_is_replaced(pool, caplog):
    child = pool.submit(calls.process_id).result(60)
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert pool.submit(calls.square, 3).result(60) == 9
    assert "its process died between two calls (SIGKILL)" in caplog.text


def test_a_call_whose_child_died_is_repeated(pool):
    assert pool.submit(calls.die_once, "a", attempts=2).result(60) == "a"
    with pytest.raises(Crashed):
        pool.submit(calls.die_at_odd, 1, attempts=2).result(60)


def test_a_call_over_its_time_limit_is_stopped(pool):
    child = pool.submit(calls.process_id).result(60)
    with pytest.raises(LimitExceeded, match="more than 0 s"):
        pool.submit(calls.sleep, 60, time_limit=0.2).result(30)
    assert gone(child)
    assert pool.submit(calls.process_id).result(60) != child


def test_a_full_queue_is_busy_and_cancelled_calls_are_skipped(tmp_path):
    with Pool(partial(calls.State, tmp_path), size=1, name="test", room=1) as small:
        running = small.submit(calls.sleep, 1)
        wait_until(running.running)
        waiting = small.submit(calls.die_at_odd, 1)
        with pytest.raises(Busy, match="1 requests are waiting"):
            small.submit(calls.square, 1)
        assert waiting.cancel()
        assert running.result(60) == 1
        assert small.submit(calls.square, 3).result(60) == 9


def test_all_children_work_and_items_are_consumed_as_they_are_needed(tmp_path):
    taken = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    with Pool(partial(calls.State, tmp_path), size=2, name="test") as both:
        results = both.as_completed(calls.die_at_odd, items(), attempts=2)
        item, _ = next(results)
        assert len(taken) <= 5
        outcomes = {item: None} | {item: future.exception() for item, future in results}
    assert {item for item, error in outcomes.items() if isinstance(error, Crashed)} == set(range(1, 20, 2)) - {item}
    assert outcomes.keys() == set(range(20))


def test_a_closed_pool_fails_waiting_calls_and_kills_running_ones(tmp_path):
    closing = Pool(partial(calls.State, tmp_path), size=1, name="test")
    child = closing.submit(calls.process_id).result(60)
    running, waiting = closing.submit(calls.sleep, 60), closing.submit(calls.square, 1)
    wait_until(running.running)
    began = time.monotonic()
    closing.close()
    assert time.monotonic() - began < 10 and gone(child)
    for future in (running, waiting):
        with pytest.raises(Busy, match="closing"):
            future.result(0)
    with pytest.raises(Busy, match="closing"):
        closing.submit(calls.square, 1)


def test_a_state_that_cannot_be_opened_fails_every_call():
    with Pool(calls.cannot_open, size=1, name="test") as broken:
        for _ in range(2):
            with pytest.raises(AudioError, match="cannot be opened"):
                broken.submit(calls.square, 1).result(60)


def test_warm_up_runs_before_the_first_call(tmp_path, caplog):
    with Pool(partial(calls.State, tmp_path), size=1, name="test", warm_up=calls.die_at_first_warm_up) as cold:
        wait_until((tmp_path / "warm").exists)
        assert cold.submit(calls.square, 2).result(60) == 4
    assert "its process cannot start: its process died while it started (SIGKILL)" in caplog.text
    with Pool(partial(calls.State, tmp_path), size=1, name="test", warm_up=calls.process_id) as warm:
        wait_until(lambda: warm.ready)


def test_a_running_function_restarts_after_its_child_died_and_ends_with_the_pool(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(pools, "FIRST_PAUSE", 0.1)
    caplog.set_level(logging.ERROR)
    log = tmp_path / "log"
    with Pool(partial(calls.State, tmp_path), size=1, name="test", grace=60) as running:
        running.keep_running(calls.write_until_stopped, name="log")
        wait_until(lambda: log.exists() and log.read_text())
        os.kill(int(log.read_text()), signal.SIGKILL)
        wait_until(lambda: len(log.read_text().splitlines()) == 2)
    first, second, stopped = log.read_text().splitlines()
    assert first != second and stopped == "stopped"
    assert (tmp_path / "closed").read_text() == second and gone(int(second))
    assert "songprint-test-0 restarts in 0 s: its process died" in caplog.text


def test_a_child_without_a_grace_period_is_killed(tmp_path):
    with Pool(partial(calls.State, tmp_path), size=1, name="test") as running:
        running.keep_running(calls.write_until_stopped, name="log")
        wait_until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text())
    assert "stopped" not in (tmp_path / "log").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory")
def test_a_call_may_allocate_a_limited_amount_of_memory(tmp_path):
    with Pool(partial(calls.State, tmp_path), size=1, name="test", memory_limit=200 << 20) as limited:
        process = limited.submit(calls.process_id).result(30)
        with pytest.raises(LimitExceeded, match="not enough memory"):
            limited.submit(calls.allocate, 300).result(30)
        assert limited.submit(calls.allocate, 100).result(30) == 100
        assert limited.submit(calls.process_id).result(30) == process, "the process survives"


def test_calls_of_a_series_have_a_time_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("songprint.processes.pool.OPEN_SECONDS", 5.0)
    with Pool(partial(calls.State, tmp_path), size=1, name="test") as pool:
        pool.submit(calls.process_id).result(30)
        outcomes = dict(pool.as_completed(calls.sleep, [60.0, 0.0], time_limit=0.2))
    assert isinstance(outcomes[60.0].exception(), LimitExceeded)
    assert outcomes[0.0].result() == 0.0
