"""The queue of jobs: order, leases that expire, and ends that happen exactly once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from support.jobs import CALLBACK, RESULT, URL, let_time_pass

from songprint.accounts.vault import MASTER_KEY_FILE, Vault
from songprint.errors import DuplicateSession, JobNotFound, JobStateError, KeyRefused, QueueFull
from songprint.jobs.deliveries import Deliveries
from songprint.jobs.jobs import FIRST_WAIT, MAX_ATTEMPTS, MAX_LOST, SESSION_WINDOW, Jobs, job_object
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


def test_a_running_job_has_a_partial_timeline_and_no_result(jobs):
    submitted, so_far = jobs.submit(URL), {"duration": 20.0, "segments": []}
    claimed = jobs.claim("worker")
    assert jobs.heartbeat(claimed, 0.4, so_far) and jobs.heartbeat(claimed, 0.5)
    running = jobs.get(submitted.id)
    assert (running.result, running.partial) == (None, so_far)
    assert job_object(running)["partial"] == so_far
    jobs.release(claimed)
    assert jobs.get(submitted.id).partial is None
    again = jobs.claim("worker")
    assert jobs.get(submitted.id).partial is None  # of an earlier attempt
    jobs.finish(again, RESULT, 90.5)
    finished = jobs.get(submitted.id)
    assert (finished.result, finished.partial) == (RESULT, None)


def test_jobs_are_claimed_by_priority_then_age(jobs):
    low, first, second, high = (jobs.submit(URL, priority=priority).id for priority in (-10, 0, 0, 10))
    assert [jobs.claim("worker").id for _ in range(4)] == [high, first, second, low]
    assert jobs.claim("worker") is None
    with pytest.raises(ValueError, match="priority=11 must lie between -10 and 10"):
        jobs.submit(URL, priority=11)


def test_concurrent_workers_never_claim_the_same_job(jobs):
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


def test_the_job_of_a_dead_worker_goes_to_another_and_ends_once(database, jobs):
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


def test_a_heartbeat_extends_the_lease(database, jobs):
    jobs.submit(URL)
    job = jobs.claim("worker", lease=30)
    for step in range(5):
        let_time_pass(database, 25)
        assert jobs.claim("other") is None
        assert jobs.heartbeat(job, step / 5)


def test_temporary_failures_are_retried_after_doubling_delays(database, jobs):
    job_id = jobs.submit(URL, {"callback": CALLBACK}).id
    for attempt in range(1, MAX_ATTEMPTS):
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


def test_permanent_failures_end_a_job_which_can_be_retried_by_hand(database, jobs):
    job_id = jobs.submit(URL, key_id="SPme").id
    assert jobs.fail(jobs.claim("worker"), "input_not_found", "404", retry=False).state == "failed"
    again = jobs.retry(job_id)
    assert (again.state, again.error_code, again.attempts, again.finished_at) == ("waiting", "", 0, "")
    assert jobs.finish(jobs.claim("worker"), RESULT, 61)
    assert [(used.jobs, used.minutes) for used in Usage(database).by_day()] == [(1, 2)]
    with pytest.raises(JobStateError, match="is finished: only failed and cancelled jobs"):
        jobs.retry(job_id)


def test_a_job_whose_workers_all_die_fails_in_the_end(database, jobs):
    job_id = jobs.submit(URL, {"callback": CALLBACK}).id
    for attempt in range(1, MAX_LOST + 1):
        assert jobs.claim("worker", lease=30).attempts == attempt
        let_time_pass(database, 31)
    assert jobs.claim("worker") is None
    job = jobs.get(job_id)
    assert (job.state, job.error_code) == ("failed", "internal")
    assert "20 workers died while running it" in job.error
    assert len(Deliveries(database).of_job(job_id)) == 1


def test_a_released_job_is_due_at_once_without_counting_an_attempt(jobs):
    jobs.submit(URL)
    assert jobs.release(jobs.claim("leaving"))
    assert jobs.claim("other").attempts == 1


def test_waiting_and_running_jobs_can_be_cancelled(database, jobs):
    waiting, running = jobs.submit(URL, {"callback": CALLBACK}, priority=-1), jobs.submit(URL)
    claimed = jobs.claim("worker")
    assert claimed.id == running.id
    with pytest.raises(JobStateError, match="is running: only waiting jobs can be cancelled"):
        jobs.cancel(running.id, running=False)
    assert jobs.cancel(running.id).state == "cancelled"
    assert not jobs.heartbeat(claimed, 0.5)
    assert not jobs.finish(claimed, RESULT, 1.0)
    assert jobs.cancel(waiting.id).error_code == "cancelled"
    assert [each.event for each in Deliveries(database).of_job(waiting.id)] == ["cancelled"]
    with pytest.raises(JobStateError, match="is cancelled: only waiting and running jobs"):
        jobs.cancel(waiting.id)
    assert jobs.claim("worker") is None


def test_a_session_id_is_accepted_once_within_three_days(database, jobs):
    first = jobs.submit(URL, key_id="SPme", session_id="s-1")
    with pytest.raises(DuplicateSession, match="'s-1' was used less than three days ago") as refused:
        jobs.submit(URL, key_id="SPme", session_id="s-1")
    assert refused.value.job_id == first.id
    assert jobs.submit(URL, key_id="SPother", session_id="s-1").id != first.id
    assert jobs.submit(URL, key_id="SPme", session_id="S-1").id != first.id
    jobs.submit(URL, key_id="SPme"), jobs.submit(URL, key_id="SPme")  # none is no session id
    let_time_pass(database, SESSION_WINDOW + 1)
    assert jobs.submit(URL, key_id="SPme", session_id="s-1").id != first.id


def test_concurrent_submissions_with_one_session_id_create_one_job(jobs):
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


def test_a_full_queue_refuses_jobs_and_stores_no_session(jobs):
    jobs.submit(URL, key_id="SPme"), jobs.submit(URL, key_id="SPother")
    with pytest.raises(QueueFull, match="1 jobs are waiting, and the limit is 1"):
        jobs.submit(URL, key_id="SPme", session_id="s", max_waiting=1)
    assert jobs.submit(URL, key_id="SPme", session_id="s", max_waiting=2)


def test_jobs_are_listed_in_pages_latest_first(jobs):
    ids = [jobs.submit(URL, key_id=f"SP{number % 2}").id for number in range(6)]
    jobs.finish(jobs.claim("worker"), RESULT, 1.0)
    page = jobs.find(limit=4)
    assert [job.id for job in page] == ids[:1:-1]
    assert [job.id for job in jobs.find(limit=4, before=page[-1].id)] == [ids[1], ids[0]]
    assert [job.id for job in jobs.find(key_id="SP1")] == ids[5::-2]
    assert [job.result for job in jobs.find(state="finished")] == [None]  # results can be long
    assert (jobs.count(state=["waiting", "running"]), jobs.count(key_id=["SP0"])) == (5, 3)
    assert jobs.counts() == {"waiting": 5, "running": 0, "finished": 1, "failed": 0, "cancelled": 0}


def test_jobs_are_filtered_by_their_time_of_submission(database, jobs):
    jobs.submit(URL)
    let_time_pass(database, 3600)
    late = jobs.submit(URL)
    assert [job.id for job in jobs.find(since=late.created_at)] == [late.id]
    assert jobs.count(until=late.created_at) == 1


def test_changed_jobs_are_listed(database, jobs):
    first, second = jobs.submit(URL), jobs.submit(URL)
    let_time_pass(database, 10)
    jobs.cancel(first.id)
    moment = jobs.get(first.id).changed_at
    assert milliseconds(moment) > milliseconds(jobs.get(second.id).changed_at)
    assert [job.id for job in jobs.changed_since(moment)] == [first.id]


def test_wait_returns_at_the_end_of_the_job_or_after_the_timeout(jobs):
    job = jobs.submit(URL)
    assert jobs.wait(job.id, timeout=0.05).state == "waiting"
    claimed = jobs.claim("worker")
    assert jobs.wait(job.id, timeout=30, seen=job).state == "running"
    threading.Timer(0.2, lambda: jobs.finish(claimed, RESULT, 1.0)).start()
    assert jobs.wait(job.id, timeout=30).state == "finished"


def test_old_jobs_are_deleted_and_their_usage_is_kept(database, jobs):
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


def test_an_unknown_job_raises_job_not_found(jobs):
    for ask in (jobs.get, jobs.cancel, jobs.retry):
        with pytest.raises(JobNotFound, match="no job abc"):
            ask("abc")


def test_the_secrets_of_a_job_are_stored_encrypted(jobs, database, tmp_path):
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


def test_a_job_as_json_contains_no_secrets_and_no_paths(jobs):
    input = {"type": "s3", "bucket": "b", "region": "", "object": "x.mp3", "secret_key": "hidden"}
    shown = job_object(jobs.submit(input, {"callback": CALLBACK}))
    assert shown["input"] == {"type": "s3", "bucket": "b", "region": "", "object": "x.mp3"}
    assert shown["options"]["callback"] == {"url": CALLBACK["url"], "style": "standard"}
    assert (shown["error"], shown["started_at"], shown["result"]) == (None, None, None)
    assert "path" not in job_object(jobs.submit({"type": "file", "path": "/tmp/upload", "name": "a.mp3"}))["input"]
