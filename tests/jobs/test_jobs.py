"""The queue: whose turn it is, leases that end, and ends that happen once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from support.jobs import CALLBACK, RESULT, URL, let_time_pass

from songprint.accounts.vault import MASTER_KEY_FILE, Vault
from songprint.errors import DuplicateSession, JobNotFound, JobStateError, KeyRefused, QueueFull
from songprint.jobs.deliveries import Deliveries
from songprint.jobs.jobs import FIRST_WAIT, MOST_ATTEMPTS, MOST_LOST, SESSION_WINDOW, Jobs, job_object
from songprint.jobs.usage import Usage
from songprint.store.timestamps import milliseconds


@pytest.fixture
def jobs(database, tmp_path) -> Jobs:
    return Jobs(database, Vault(database, tmp_path))


def test_a_job_is_submitted_claimed_and_finished(jobs):
    submitted = jobs.submit(URL, {"callback": None}, priority=3, key_id="SPme", session_context="my context \0 ♪")
    assert (submitted.state, submitted.input, submitted.priority) == ("waiting", URL, 3)

    claimed = jobs.claim("worker 1")
    assert (claimed.id, claimed.state, claimed.worker, claimed.attempts) == (submitted.id, "running", "worker 1", 1)
    assert jobs.heartbeat(claimed, 0.4)
    assert jobs.get(submitted.id).progress == 0.4

    assert jobs.finish(claimed, RESULT, seconds=90.5)
    finished = jobs.get(submitted.id)
    assert (finished.state, finished.result, finished.seconds, finished.progress) == ("finished", RESULT, 90.5, 1.0)
    assert finished.session_context == "my context  ♪"
    assert finished.created_at <= finished.started_at <= finished.finished_at


def test_the_highest_priority_goes_first_then_the_oldest(jobs):
    low, first, second, high = (jobs.submit(URL, priority=priority).id for priority in (-10, 0, 0, 10))
    assert [jobs.claim("worker").id for _ in range(4)] == [high, first, second, low]
    assert jobs.claim("worker") is None
    with pytest.raises(ValueError, match="priority=11 must lie between -10 and 10"):
        jobs.submit(URL, priority=11)


def test_a_job_goes_to_one_worker_however_many_ask(jobs):
    submitted = {jobs.submit(URL).id for _ in range(30)}
    together = threading.Barrier(6)

    def work(name: int) -> list[str]:
        together.wait()
        claimed = []
        while (job := jobs.claim(f"worker {name}")) is not None:
            claimed.append(job.id)
        return claimed

    with ThreadPoolExecutor(6) as pool:
        claimed = [job_id for each in pool.map(work, range(6)) for job_id in each]
    assert sorted(claimed) == sorted(submitted)


def test_the_job_of_a_worker_that_died_goes_to_another_and_ends_once(database, jobs):
    job_id = jobs.submit(URL, {"callback": CALLBACK}, key_id="SPme").id
    slow = jobs.claim("slow", lease=30)
    let_time_pass(database, 29)
    assert jobs.claim("other") is None
    let_time_pass(database, 2)
    other = jobs.claim("other", lease=30)
    assert (other.id, other.attempts) == (job_id, 2)

    assert not jobs.heartbeat(slow, 0.9)  # it comes back to life, and can do nothing
    assert not jobs.finish(slow, {"segments": ["wrong"]}, 1.0)
    assert jobs.fail(slow, "internal", "too late", retry=False).state == "running"
    assert not jobs.release(slow)
    assert jobs.finish(other, RESULT, 90.5)
    assert not jobs.finish(other, RESULT, 90.5)

    assert jobs.get(job_id).result == RESULT
    assert len(Deliveries(database).of_job(job_id)) == 1
    assert [(used.jobs, used.seconds) for used in Usage(database).by_day()] == [(1, 90.5)]


def test_a_heartbeat_keeps_the_lease(database, jobs):
    jobs.submit(URL)
    job = jobs.claim("worker", lease=30)
    for step in range(5):
        let_time_pass(database, 25)
        assert jobs.claim("other") is None
        assert jobs.heartbeat(job, step / 5)


def test_what_may_pass_is_tried_again_after_longer_and_longer_waits(database, jobs):
    job_id = jobs.submit(URL, {"callback": CALLBACK}).id
    for attempt in range(1, MOST_ATTEMPTS):
        failed = jobs.fail(jobs.claim("worker"), "input_timeout", "no answer", retry=True)
        assert (failed.state, failed.error_code, failed.attempts) == ("waiting", "input_timeout", attempt)
        wait = FIRST_WAIT * 2 ** (attempt - 1)
        let_time_pass(database, wait - 1)
        assert jobs.claim("worker") is None
        let_time_pass(database, 1.1)
    failed = jobs.fail(jobs.claim("worker"), "input_timeout", "no answer", retry=True)
    assert (failed.state, failed.error) == ("failed", "no answer")
    assert [each.event for each in Deliveries(database).of_job(job_id)] == ["failed"]
    assert [(used.jobs, used.minutes) for used in Usage(database).by_day()] == [(1, 0)]


def test_what_cannot_pass_fails_at_once_and_can_be_tried_again_by_hand(database, jobs):
    job_id = jobs.submit(URL, key_id="SPme").id
    assert jobs.fail(jobs.claim("worker"), "input_not_found", "404", retry=False).state == "failed"
    again = jobs.retry(job_id)
    assert (again.state, again.error_code, again.attempts, again.finished_at) == ("waiting", "", 0, "")
    assert jobs.finish(jobs.claim("worker"), RESULT, 61)
    assert [(used.jobs, used.minutes) for used in Usage(database).by_day()] == [(1, 2)]
    with pytest.raises(JobStateError, match="is finished: only one that failed or was cancelled"):
        jobs.retry(job_id)


def test_an_input_that_kills_every_worker_ends_as_failed(database, jobs):
    job_id = jobs.submit(URL, {"callback": CALLBACK}).id
    for attempt in range(1, MOST_LOST + 1):
        assert jobs.claim("worker", lease=30).attempts == attempt
        let_time_pass(database, 31)
    assert jobs.claim("worker") is None
    job = jobs.get(job_id)
    assert (job.state, job.error_code) == ("failed", "internal")
    assert "20 workers ended while they ran it" in job.error
    assert len(Deliveries(database).of_job(job_id)) == 1


def test_a_released_job_is_due_at_once_and_has_lost_no_attempt(jobs):
    jobs.submit(URL)
    assert jobs.release(jobs.claim("leaving"))
    assert jobs.claim("other").attempts == 1


def test_waiting_and_running_jobs_can_be_cancelled(database, jobs):
    waiting, running = jobs.submit(URL, {"callback": CALLBACK}, priority=-1), jobs.submit(URL)
    claimed = jobs.claim("worker")
    assert claimed.id == running.id
    with pytest.raises(JobStateError, match="is running: only a job that is waiting can be cancelled"):
        jobs.cancel(running.id, running=False)
    assert jobs.cancel(running.id).state == "cancelled"
    assert not jobs.heartbeat(claimed, 0.5)
    assert not jobs.finish(claimed, RESULT, 1.0)
    assert jobs.cancel(waiting.id).error_code == "cancelled"
    assert [each.event for each in Deliveries(database).of_job(waiting.id)] == ["cancelled"]
    with pytest.raises(JobStateError, match="is cancelled: only a job that is waiting or running"):
        jobs.cancel(waiting.id)
    assert jobs.claim("worker") is None


def test_a_session_id_makes_one_job_within_three_days(database, jobs):
    first = jobs.submit(URL, key_id="SPme", session_id="s-1")
    with pytest.raises(DuplicateSession, match="'s-1' was used less than three days ago") as refused:
        jobs.submit(URL, key_id="SPme", session_id="s-1")
    assert refused.value.job_id == first.id
    assert jobs.submit(URL, key_id="SPother", session_id="s-1").id != first.id
    assert jobs.submit(URL, key_id="SPme", session_id="S-1").id != first.id
    jobs.submit(URL, key_id="SPme"), jobs.submit(URL, key_id="SPme")  # none is no session id
    let_time_pass(database, SESSION_WINDOW + 1)
    assert jobs.submit(URL, key_id="SPme", session_id="s-1").id != first.id


def test_a_session_id_sent_twice_at_once_makes_one_job(jobs):
    together = threading.Barrier(5)

    def submit(number: int) -> str:
        together.wait()
        try:
            return jobs.submit(URL, session_id="s-1").id
        except DuplicateSession as refused:
            return refused.job_id

    with ThreadPoolExecutor(5) as pool:
        assert len(set(pool.map(submit, range(5)))) == 1
    assert jobs.count() == 1


def test_a_full_queue_refuses_more_and_remembers_no_session(jobs):
    jobs.submit(URL, key_id="SPme"), jobs.submit(URL, key_id="SPother")
    with pytest.raises(QueueFull, match="1 jobs wait already, and 1 may"):
        jobs.submit(URL, key_id="SPme", session_id="s", most_waiting=1)
    assert jobs.submit(URL, key_id="SPme", session_id="s", most_waiting=2)


def test_jobs_are_listed_page_by_page_the_latest_first(jobs):
    ids = [jobs.submit(URL, key_id=f"SP{number % 2}").id for number in range(6)]
    jobs.finish(jobs.claim("worker"), RESULT, 1.0)
    page = jobs.find(limit=4)
    assert [job.id for job in page] == ids[:1:-1]
    assert [job.id for job in jobs.find(limit=4, before=page[-1].id)] == [ids[1], ids[0]]
    assert [job.id for job in jobs.find(key_id="SP1")] == ids[5::-2]
    assert [job.result for job in jobs.find(state="finished")] == [None]  # results can be long
    assert (jobs.count(state=["waiting", "running"]), jobs.count(key_id=["SP0"])) == (5, 3)
    assert jobs.counts() == {"waiting": 5, "running": 0, "finished": 1, "failed": 0, "cancelled": 0}


def test_jobs_are_listed_by_when_they_were_submitted(database, jobs):
    jobs.submit(URL)
    let_time_pass(database, 3600)
    late = jobs.submit(URL)
    assert [job.id for job in jobs.find(since=late.created_at)] == [late.id]
    assert jobs.count(until=late.created_at) == 1


def test_what_changed_is_told(database, jobs):
    first, second = jobs.submit(URL), jobs.submit(URL)
    let_time_pass(database, 10)
    jobs.cancel(first.id)
    moment = jobs.get(first.id).changed_at
    assert milliseconds(moment) > milliseconds(jobs.get(second.id).changed_at)
    assert [job.id for job in jobs.changed_since(moment)] == [first.id]


def test_waiting_for_a_job_ends_with_it_or_with_the_time(jobs):
    job = jobs.submit(URL)
    assert jobs.wait(job.id, timeout=0.05).state == "waiting"
    claimed = jobs.claim("worker")
    assert jobs.wait(job.id, timeout=30, seen=job).state == "running"
    threading.Timer(0.2, lambda: jobs.finish(claimed, RESULT, 1.0)).start()
    assert jobs.wait(job.id, timeout=30).state == "finished"


def test_old_jobs_are_forgotten_and_what_was_used_is_not(database, jobs):
    waiting = jobs.submit(URL, priority=-1)
    for _ in range(3):
        jobs.submit(URL, {"callback": CALLBACK}, session_id="")
        jobs.finish(jobs.claim("worker"), RESULT, 60.0)
    deliveries = Deliveries(database)
    deliveries.attempted(deliveries.claim(), status=200)
    kept = jobs.submit({"type": "file", "path": "/library/inputs/1/mix.mp3"})
    jobs.finish(jobs.claim("worker"), RESULT, 60.0)
    let_time_pass(database, 5 * 86400)
    recent = jobs.submit(URL)
    jobs.cancel(recent.id)

    assert jobs.forget(days=4) == 3
    assert [job.id for job in jobs.find()] == [recent.id, kept.id, waiting.id]
    assert sum(deliveries.counts().values()) == 0
    assert [used.jobs for used in Usage(database).by_day()] == [4]
    let_time_pass(database, 7 * 86400)  # the machine that holds its input is gone
    assert jobs.forget(days=4) == 2
    assert jobs.forget(days=4) == 0


def test_a_job_that_is_not_there_is_said_to_be(jobs):
    for ask in (jobs.get, jobs.cancel, jobs.retry):
        with pytest.raises(JobNotFound, match="no job abc"):
            ask("abc")


def test_the_secrets_of_a_job_lie_sealed_in_its_row(jobs, database, tmp_path):
    place = {"type": "s3", "bucket": "b", "object": "x.mp3", "secret_id": "AKID", "secret_key": "hidden \ud800"}
    given = {"callback": CALLBACK, "output": place}
    job = jobs.get(jobs.submit(place, given).id)
    with database.reading() as connection:
        [row] = connection.execute(text("SELECT input, options FROM jobs")).all()
    assert not any(secret in " ".join(row) for secret in ("AKID", "hidden", "k3y"))
    assert jobs.opened(job).input == place and jobs.opened(job).options == given

    (tmp_path / MASTER_KEY_FILE).unlink()
    elsewhere = Jobs(database, Vault(database, tmp_path, {}))
    with pytest.raises(KeyRefused, match="cannot read the master key"):
        elsewhere.opened(job)
    assert elsewhere.opened(elsewhere.submit(URL)).input == URL  # has none: no key is missed


def test_what_is_shown_of_a_job_holds_no_secret_and_no_place(jobs):
    input = {"type": "s3", "bucket": "b", "region": "", "object": "x.mp3", "secret_key": "hidden"}
    told = job_object(jobs.submit(input, {"callback": CALLBACK}))
    assert told["input"] == {"type": "s3", "bucket": "b", "region": "", "object": "x.mp3"}
    assert told["options"]["callback"] == {"url": CALLBACK["url"], "style": "standard"}
    assert (told["error"], told["started_at"], told["result"]) == (None, None, None)
    assert "path" not in job_object(jobs.submit({"type": "file", "path": "/tmp/upload", "name": "a.mp3"}))["input"]
