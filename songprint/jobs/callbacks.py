"""Callbacks: what is sent when a job has ended, how it is signed, and the threads that send it.

Two styles of body: "standard" is the job as JSON; others, such as Tencent's, are functions that are given (`Builder`).
Every call has the headers of Standard Webhooks (https://www.standardwebhooks.com), signed if there is a secret, so
that a receiver can tell who sent what, and that it has seen it before.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from songprint.errors import FetchError, JobNotFound, SongprintError
from songprint.formats.objects import without_places
from songprint.jobs.deliveries import LEASE, Deliveries, Delivery
from songprint.jobs.jobs import RUNNING, Job, Jobs, job_object
from songprint.outside.places import Post

log = logging.getLogger(__name__)

Builder = Callable[[Job], bytes]  # a job -> the body of its callback

AT_ONCE = 8  # callbacks that one process sends at the same time
TO_A_HOST = 2  # of them to the same host: one that is slow must not hold up the others
IDLE = 0.5  # seconds between two looks at what is due
_AGAIN = (408, 425, 429)
_CUT = 300  # letters of what went wrong that are logged
_PREFIX = "whsec_"  # of secrets in the form of Standard Webhooks: the rest is base64


def standard_body(job: Job) -> bytes:
    """The job as the REST API tells it to strangers."""
    return json.dumps(without_places(job_object(job))).encode()


def headers(delivery_id: str, moment: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers of Standard Webhooks; `moment` is seconds since 1970, of this attempt.

    >>> headers("msg_1", 1700000600, b"{}", "k3y")["webhook-signature"]
    'v1,5M1HB9TbSUQs7qr0RIvPketg+D9rxq/4XiL6cW/y5oc='
    """
    found = {"Content-Type": "application/json", "webhook-id": delivery_id, "webhook-timestamp": str(moment)}
    if secret:
        signed = hmac.new(_key(secret), f"{delivery_id}.{moment}.".encode() + body, hashlib.sha256).digest()
        found["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
    return found


class Sender:
    """Sends what is owed, until it is told to stop."""

    def __init__(
        self,
        jobs: Jobs,
        deliveries: Deliveries,
        post: Post,
        builders: Mapping[str, Builder],
        *,
        secret: str = "",
        lease: float = LEASE,
    ) -> None:
        """`secret` signs the callbacks for which the client named none; a call takes less than `lease` seconds."""
        self._jobs, self._deliveries, self._post = jobs, deliveries, post
        self._builders = {"standard": standard_body, **builders}
        self._secret, self._lease = secret, lease
        self._lock = threading.Lock()
        self._sending: Counter[str] = Counter()  # hosts

    def run(self, stop: threading.Event) -> None:
        """Send until `stop`; calls that were begun are brought to their end."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="songprint-callback") as pool:
            while not stop.is_set():
                try:
                    delivery = self._next()
                except SongprintError as error:  # the database: it may come back
                    log.error("cannot look for callbacks: %s", error)
                    delivery = None
                except Exception:
                    log.exception("looking for callbacks")
                    delivery = None
                if delivery is None:
                    stop.wait(IDLE)
                else:
                    pool.submit(self._send, delivery)

    def _next(self) -> Delivery | None:
        with self._lock:
            if self._sending.total() >= AT_ONCE:
                return None
            busy = [host for host, number in self._sending.items() if number >= TO_A_HOST]
        delivery = self._deliveries.claim(self._lease, not_to=busy)
        if delivery is not None:
            with self._lock:
                self._sending[delivery.host] += 1
        return delivery

    def _send(self, delivery: Delivery) -> None:
        try:
            self.send(delivery)
        except Exception:  # its lease ends, and it is tried again
            log.exception("sending callback %s of job %s", delivery.id, delivery.job_id)
        finally:
            with self._lock:
                self._sending[delivery.host] -= 1

    def send(self, delivery: Delivery) -> str:
        """Send one claimed delivery and log what became of it; returns its state."""
        began, status, error, again = time.monotonic(), None, "", True
        try:
            job = self._jobs.opened(self._told(delivery))
            if delivery.style not in self._builders:
                raise SongprintError(f"there are no callbacks of style {delivery.style!r}")
            body = self._builders[delivery.style](job)
            secret = job.options["callback"].get("secret") or self._secret
            status = self._post(delivery.url, body, headers(delivery.id, int(time.time()), body, secret)).status
            if not 200 <= status < 300:
                error, again = f"the receiver answers with status {status}", status in _AGAIN or status >= 500
        except SongprintError as failure:
            error, again = str(failure), isinstance(failure, FetchError) and failure.retry
        except Exception as failure:  # a bug must not be tried every minute for ever
            log.exception("callback %s of job %s", delivery.id, delivery.job_id)
            error = f"internal error ({type(failure).__name__})"
        state = self._deliveries.attempted(
            delivery, status=status, error=error[:_CUT], again=again, elapsed=time.monotonic() - began
        )
        log.info("callback %s of job %s to %s: %s", delivery.id, delivery.job_id, delivery.host, error or "arrived")
        return state

    def _told(self, delivery: Delivery) -> Job:
        """The job as it was at the event; JobNotFound when that is of no interest any more."""
        job = self._jobs.get(delivery.job_id)
        if delivery.event == RUNNING:
            return replace(job, state=RUNNING, result=None, error_code="", error="", finished_at="")
        if job.state != delivery.event:
            raise JobNotFound(f"job {job.id} is tried again: its next end will be told")
        return job


def _key(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX))
        except (binascii.Error, ValueError):
            pass
    return secret.encode("utf-8", "replace")
