"""Callbacks: queued at the end of a job, signed, and sent until they arrive."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from pathlib import Path

import pytest
from support.jobs import CALLBACK, RESULT, URL, Receiver, let_time_pass, post

from songprint.accounts.vault import Vault
from songprint.errors import FetchError, JobNotFound, KeyRefused, LibraryError
from songprint.jobs.callbacks import Sender, headers
from songprint.jobs.deliveries import JITTER, LEASE, WAITS, Deliveries, delivery_object
from songprint.jobs.jobs import Jobs


@pytest.fixture
def jobs(database, tmp_path) -> Jobs:
    return Jobs(database, Vault(database, tmp_path))


@pytest.fixture
def deliveries(database) -> Deliveries:
    return Deliveries(database)


def ended(jobs: Jobs, **callback: object) -> str:
    """The id of a job that has just finished, with a callback in the queue."""
    job_id = jobs.submit(URL, {"callback": CALLBACK | callback}, session_context="mine").id
    assert jobs.finish(jobs.claim("worker"), RESULT, 90.5)
    return job_id


def refusing(url: str, body: bytes, headers: object):
    raise FetchError("the URL is refused: 10.0.0.1 is not a public host", "input_refused")


def test_a_callback_is_signed_and_contains_the_job(jobs, deliveries):
    with Receiver() as receiver:
        job_id = ended(jobs, url=receiver.url)
        assert Sender(jobs, deliveries, post, {}).send(deliveries.claim()) == "delivered"
    [callback] = receiver.received
    assert callback.path == "//callback"
    body = json.loads(callback.body)
    assert (body["id"], body["state"], body["result"], body["session_context"]) == (job_id, "finished", RESULT, "mine")
    assert "k3y" not in callback.body.decode()
    [delivery] = deliveries.of_job(job_id)
    assert callback.headers["webhook-id"] == delivery.id
    signed = f"{delivery.id}.{callback.headers['webhook-timestamp']}.".encode() + callback.body
    expected = base64.b64encode(hmac.new(b"k3y", signed, hashlib.sha256).digest()).decode()
    assert callback.headers["webhook-signature"] == f"v1,{expected}"
    assert callback.headers["content-type"] == "application/json"
    assert [(each.status, each.error) for each in delivery.attempts] == [(200, "")]
    assert deliveries.claim() is None


def test_the_verification_in_the_manual_accepts_a_callback(jobs, deliveries):
    manual = (Path(__file__).parents[2] / "docs/jobs.md").read_text(encoding="utf-8")
    found: dict = {}
    exec(re.search(r"^```python\n(.*?)^```", manual, re.MULTILINE | re.DOTALL)[1], found)
    with Receiver() as receiver:
        ended(jobs, url=receiver.url)
        Sender(jobs, deliveries, post, {}).send(deliveries.claim())
    [callback] = receiver.received
    assert found["is_genuine"](callback.headers, callback.body, "k3y")
    assert not found["is_genuine"](callback.headers, callback.body + b" ", "k3y")
    assert not found["is_genuine"](callback.headers, callback.body, "another")
    recorded = callback.headers | {"webhook-timestamp": str(int(callback.headers["webhook-timestamp"]) - 600)}
    assert not found["is_genuine"](recorded, callback.body, "k3y")


def test_a_secret_in_the_form_of_standard_webhooks_is_decoded():
    """The test vector of the reference libraries."""
    signed = headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    )
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert "webhook-signature" not in headers("msg_1", 1614265330, b"", "")


def test_a_failed_callback_is_repeated_on_schedule_and_then_given_up(database, jobs, deliveries):
    with Receiver() as receiver:
        receiver.answers = [500, 429, 408, 503, 502, 500, 500, 500]
        job_id = ended(jobs, url=receiver.url)
        sender = Sender(jobs, deliveries, post, {})
        for wait in WAITS:
            assert sender.send(deliveries.claim()) == "waiting"
            let_time_pass(database, wait * (1 - JITTER) - 1)
            assert deliveries.claim() is None
            let_time_pass(database, 2 * wait * JITTER + 2)
        assert sender.send(deliveries.claim()) == "given up"
    [delivery] = deliveries.of_job(job_id)
    assert [each.status for each in delivery.attempts] == [500, 429, 408, 503, 502, 500, 500, 500]
    assert delivery.attempts[0].error == "the receiver answers with status 500"
    assert {callback.headers["webhook-id"] for callback in receiver.received} == {delivery.id}
    assert deliveries.counts() == {"waiting": 0, "sending": 0, "delivered": 0, "given up": 1}


def test_a_permanently_refused_callback_is_not_repeated(jobs, deliveries):
    with Receiver() as receiver:
        for status in (301, 400, 403, 404, 410):
            receiver.answers = [status]
            ended(jobs, url=receiver.url)
            assert Sender(jobs, deliveries, post, {}).send(deliveries.claim()) == "given up"


def test_unreachable_receivers_are_retried_and_refused_urls_are_not(database, jobs, deliveries):
    unreachable = ended(jobs, url="http://127.0.0.1:9/")
    assert Sender(jobs, deliveries, post, {}).send(deliveries.claim()) == "waiting"
    [attempt] = deliveries.of_job(unreachable)[0].attempts
    assert (attempt.status, attempt.error) == (None, "the receiver cannot be reached")
    ended(jobs)
    assert Sender(jobs, deliveries, refusing, {}).send(deliveries.claim()) == "given up"


def test_a_callback_can_be_sent_again(jobs, deliveries):
    with Receiver() as receiver:
        receiver.answers = [410]
        job_id = ended(jobs, url=receiver.url)
        sender = Sender(jobs, deliveries, post, {})
        sender.send(deliveries.claim())
        assert [each.state for each in deliveries.resend(job_id)] == ["waiting"]
        assert sender.send(deliveries.claim()) == "delivered"
    [delivery] = deliveries.of_job(job_id)
    assert [each.status for each in delivery.attempts] == [410, 200]
    body = delivery_object(delivery)
    assert (body["state"], body["attempts"][0]["status"], body["due_at"]) == ("delivered", 410, None)
    with pytest.raises(JobNotFound, match="no callback of job abc"):
        deliveries.resend("abc")


def test_another_sender_takes_over_after_one_died(database, jobs, deliveries):
    job_id = ended(jobs)
    dead = deliveries.claim()
    assert deliveries.claim() is None and deliveries.due() == 0
    let_time_pass(database, LEASE + 1)
    assert deliveries.due() == 1
    other = deliveries.claim()
    assert other.id == dead.id
    assert deliveries.attempted(dead, status=None, error="late", retry=False) == "sending"  # its lease was lost
    assert deliveries.attempted(other, status=200) == "delivered"
    assert [each.error for each in deliveries.of_job(job_id)[0].attempts] == ["late", ""]


def test_a_callback_can_have_another_style_and_report_the_start(jobs, deliveries):
    builders = {"tencent": lambda job: f"{job.id} is {job.state}, {job.result}".encode()}
    with Receiver() as receiver:
        callback = CALLBACK | {"url": receiver.url, "style": "tencent", "mode": "change"}
        job_id = jobs.submit(URL, {"callback": callback}).id
        jobs.finish(jobs.claim("worker"), RESULT, 1.0)
        sender = Sender(jobs, deliveries, post, builders)
        sender.send(deliveries.claim()), sender.send(deliveries.claim())
    assert {callback.body.decode() for callback in receiver.received} == {
        f"{job_id} is running, None",
        f"{job_id} is finished, {RESULT}",
    }
    assert all("webhook-signature" in callback.headers for callback in receiver.received)


def test_a_bug_in_a_callback_is_logged_and_not_repeated(database, jobs, deliveries, caplog):
    def broken(job):
        raise TypeError("a bug")

    job_id = ended(jobs, style="broken")
    assert Sender(jobs, deliveries, post, {"broken": broken}).send(deliveries.claim()) == "waiting"
    assert deliveries.of_job(job_id)[0].attempts[0].error == "internal error (TypeError)"
    assert "a bug" in caplog.text
    other = ended(jobs, style="unknown")
    assert Sender(jobs, deliveries, post, {}).send(deliveries.claim()) == "given up"
    assert deliveries.of_job(other)[0].attempts[0].error == "there are no callbacks of style 'unknown'"


def test_errors_for_the_operator_are_logged_and_not_shown_with_the_callback(jobs, deliveries, caplog):
    def failing(error: Exception):
        def build(job) -> bytes:
            raise error

        return {"failing": build}

    job_id = ended(jobs, style="failing")
    delivery = deliveries.claim()
    with pytest.raises(LibraryError):  # the database may recover: the lease of the callback expires
        Sender(jobs, deliveries, post, failing(LibraryError("mysql://db.internal is away"))).send(delivery)
    assert not deliveries.of_job(job_id)[0].attempts
    refused = KeyRefused("cannot read the master key /srv/library/master.key")
    assert Sender(jobs, deliveries, post, failing(refused)).send(delivery) == "waiting"
    assert deliveries.of_job(job_id)[0].attempts[0].error == "internal error (KeyRefused)"
    assert "/srv/library/master.key" in caplog.text


def test_the_failure_of_a_retried_job_is_not_reported_late(database, jobs, deliveries):
    job_id = jobs.submit(URL, {"callback": CALLBACK}).id
    jobs.fail(jobs.claim("worker"), "input_not_found", "404", retry=False)
    jobs.retry(job_id)
    assert Sender(jobs, deliveries, post, {}).send(deliveries.claim()) == "given up"
    assert "was retried" in deliveries.of_job(job_id)[0].attempts[0].error


def test_a_slow_receiver_does_not_delay_others(jobs, deliveries):
    with Receiver(delay=1.0) as slow, Receiver() as quick:
        for _ in range(12):
            ended(jobs, url=slow.url)
        ended(jobs, url=quick.url.replace("127.0.0.1", "localhost"))
        stop, began = threading.Event(), time.monotonic()
        sending = threading.Thread(target=Sender(jobs, deliveries, post, {}).run, args=(stop,))
        sending.start()
        while not quick.received and time.monotonic() < began + 10:
            time.sleep(0.02)
        elapsed = time.monotonic() - began
        stop.set()
        sending.join()
    assert quick.received and elapsed < 1.0
    assert 2 <= len(slow.received) <= 4
