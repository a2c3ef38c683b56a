"""A clock that was wrong, or is set while jobs run: nothing waits for hours, and no live worker loses its job."""

from __future__ import annotations

import pytest
from support.jobs import CALLBACK, RESULT, URL

from songprint.jobs.clockwatch import ClockWatch
from songprint.jobs.deliveries import WAITS, Deliveries
from songprint.jobs.jobs import FIRST_WAIT, LEASE, SESSION_WINDOW, Jobs
from songprint.store import timestamps

HOUR = 3600.0


class Clock:
    """The clock of the database, which can be set, and the monotonic clock of a process, which cannot."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.now, self.monotonic = 1_700_000_000.0, 1000.0
        self.set(0)

    def set(self, seconds: float) -> None:
        """Set the clock of the database forward, or back by a negative number of seconds."""
        self.now += seconds
        for name in timestamps.CLOCKS:
            self._monkeypatch.setitem(timestamps.CLOCKS, name, f"SELECT {round(1000 * self.now)}")

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.monotonic += seconds
        self.set(seconds)

    def watch(self) -> ClockWatch:
        return ClockWatch(lambda: self.monotonic)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def jobs(database, clock) -> Jobs:
    return Jobs(database, watch=clock.watch())


def test_jobs_submitted_while_the_clock_was_ahead_run_when_it_is_corrected(jobs, clock):
    clock.set(2 * HOUR)
    new, retried, released = (jobs.submit(URL).id for _ in range(3))
    jobs.cancel(retried), jobs.retry(retried)
    clock.set(-2 * HOUR)
    assert [jobs.claim("worker").id for _ in range(3)] == [new, retried, released]


def test_a_delay_measured_by_a_clock_that_was_ahead_is_over(jobs, clock):
    jobs.submit(URL)
    clock.set(2 * HOUR)
    jobs.fail(jobs.claim("worker"), "input_timeout", "no answer", retry=True)
    assert jobs.claim("worker") is None
    clock.set(-2 * HOUR)
    jobs.fail(jobs.claim("worker"), "input_timeout", "no answer", retry=True)
    assert jobs.claim("worker") is None
    clock.wait(2 * FIRST_WAIT)
    assert jobs.claim("worker").attempts == 3


@pytest.mark.parametrize("jump", [35.0, HOUR, 10_000 * HOUR, -35.0, -HOUR, -10_000 * HOUR])
def test_a_live_worker_keeps_its_job_when_the_clock_is_set(jobs, clock, jump):
    jobs.submit(URL)
    job = jobs.claim("alive")
    assert jobs.claim("other") is None
    clock.set(jump)
    assert jobs.claim("other") is None  # before the next heartbeat
    assert jobs.heartbeat(job, 0.5)
    for _ in range(20):
        clock.wait(4)
        assert jobs.claim("other") is None
        assert jobs.heartbeat(job, 0.5)
    assert jobs.finish(job, RESULT, 1.0)


@pytest.mark.parametrize("jump", [HOUR, 10_000 * HOUR, -HOUR, -10_000 * HOUR])
def test_the_job_of_a_dead_worker_is_taken_over_in_spite_of_a_clock_that_was_set(jobs, clock, jump):
    jobs.submit(URL)
    jobs.claim("dead")
    clock.set(jump)
    assert jobs.claim("other") is None
    clock.wait(LEASE)
    assert jobs.claim("other").attempts == 2


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_new_process_takes_over_what_died_before_the_clock_was_set(database, jobs, clock, jump):
    jobs.submit(URL)
    jobs.claim("dead")
    clock.set(jump)
    assert Jobs(database, watch=clock.watch()).claim("new").attempts == 2


def test_waiting_jobs_run_at_once_after_the_clock_was_set(jobs, clock):
    jobs.submit(URL)
    assert jobs.claim("worker") is not None
    clock.set(HOUR)
    second = jobs.submit(URL)
    assert jobs.claim("worker").id == second.id


def test_a_session_id_from_a_wrong_future_can_be_used_again(jobs, clock):
    clock.set(2 * SESSION_WINDOW)
    first = jobs.submit(URL, session_id="s-1")
    clock.set(-2 * SESSION_WINDOW)
    assert jobs.submit(URL, session_id="s-1").id != first.id


def test_callbacks_survive_changes_of_the_clock(database, jobs, clock):
    deliveries = Deliveries(database, watch=clock.watch())
    clock.set(2 * HOUR)
    jobs.submit(URL, {"callback": CALLBACK | {"secret": ""}})
    jobs.finish(jobs.claim("worker"), RESULT, 1.0)
    clock.set(-2 * HOUR)
    claimed = deliveries.claim()  # due in two hours, as the wrong clock showed
    clock.set(2 * HOUR)
    assert deliveries.claim() is None  # its sender is alive
    assert deliveries.attempted(claimed, status=500, error="status 500") == "waiting"
    assert deliveries.claim() is None
    clock.set(-2 * HOUR)
    claimed = deliveries.claim()  # two hours and five seconds ahead: longer than the first delay can be
    assert deliveries.attempted(claimed, status=500, error="status 500") == "waiting"
    assert deliveries.claim() is None
    clock.wait(1.2 * WAITS[1])
    assert deliveries.claim() is not None  # and its sender dies
    clock.set(-2 * HOUR)
    assert deliveries.claim() is None
    clock.wait(LEASE)
    assert deliveries.claim() is not None
    assert deliveries.due() == 0
