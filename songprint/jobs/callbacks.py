"""Callbacks: the body and the signature of what is sent when a job ends, and the threads that send it.

The body of style "standard" is the job as JSON; for other styles, such as Tencent's, a `Builder` is passed. Every
callback has the headers of Standard Webhooks (https://www.standardwebhooks.com), signed if there is a secret, so that
receivers can verify the sender and detect repetitions.
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
from typing import TYPE_CHECKING

from songprint.errors import FetchError, JobError, JobNotFound, LibraryError, SongprintError
from songprint.formats.objects import without_places
from songprint.jobs.deliveries import LEASE, Deliveries, Delivery
from songprint.jobs.job import RUNNING, Job, job_object

if TYPE_CHECKING:
    from songprint.jobs.jobs import Jobs
    from songprint.outside.places import Post

log = logging.getLogger(__name__)

Builder = Callable[[Job], bytes]  # a job -> the body of its callback

MAX_SIMULTANEOUS = 8  # callbacks that one process sends at the same time
MAX_PER_HOST = 2  # of these to one host, so that a slow receiver does not delay the others
POLL_SECONDS = 0.5  # between two polls for due callbacks
_RETRIED = (408, 425, 429)  # besides all 5xx
_MAX_ERROR_LENGTH = 300  # characters of a stored error
_PREFIX = "whsec_"  # of secrets in the form of Standard Webhooks; the rest is base64


def standard_body(job: Job) -> bytes:
    """The job as JSON, without paths."""
    return json.dumps(without_places(job_object(job))).encode()


def headers(delivery_id: str, moment: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers of Standard Webhooks; `moment` is the time of this attempt in seconds since 1970.

    >>> headers("msg_1", 1700000600, b"{}", "k3y")["webhook-signature"]
    'v1,5M1HB9TbSUQs7qr0RIvPketg+D9rxq/4XiL6cW/y5oc='
    """
    found = {"Content-Type": "application/json", "webhook-id": delivery_id, "webhook-timestamp": str(moment)}
    if secret:
        signed = hmac.new(_key(secret), f"{delivery_id}.{moment}.".encode() + body, hashlib.sha256).digest()
        found["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
    return found


class Sender:
    """Sends due callbacks."""

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
        """`secret` signs callbacks for which the client gave no secret; an attempt takes less than `lease` seconds."""
        self._jobs, self._deliveries, self._post = jobs, deliveries, post
        self._builders = {"standard": standard_body, **builders}
        self._secret, self._lease = secret, lease
        self._lock = threading.Lock()
        self._sending: Counter[str] = Counter()  # hosts

    def run(self, stop: threading.Event) -> None:
        """Send until `stop` is set, then wait for the callbacks that are being sent."""
        with ThreadPoolExecutor(MAX_SIMULTANEOUS, thread_name_prefix="songprint-callback") as pool:
            while not stop.is_set():
                try:
                    delivery = self._next()
                except SongprintError as error:  # the database may recover
                    log.error("cannot read the queue of callbacks: %s", error)
                    delivery = None
                except Exception:
                    log.exception("reading the queue of callbacks")
                    delivery = None
                if delivery is None:
                    stop.wait(POLL_SECONDS)
                else:
                    pool.submit(self._send, delivery)

    def _next(self) -> Delivery | None:
        with self._lock:
            if self._sending.total() >= MAX_SIMULTANEOUS:
                return None
            busy = [host for host, number in self._sending.items() if number >= MAX_PER_HOST]
        delivery = self._deliveries.claim(self._lease, not_to=busy)
        if delivery is not None:
            with self._lock:
                self._sending[delivery.host] += 1
        return delivery

    def _send(self, delivery: Delivery) -> None:
        try:
            self.send(delivery)
        except Exception:  # after its lease it is sent again
            log.exception("sending callback %s of %s", delivery.id, delivery.origin)
        finally:
            with self._lock:
                self._sending[delivery.host] -= 1

    def send(self, delivery: Delivery) -> str:
        """Send one claimed delivery, store the result and return its new state."""
        began, status, error, retry = time.monotonic(), None, "", True
        try:
            body, secret = self._message(delivery)
            status = self._post(delivery.url, body, headers(delivery.id, int(time.time()), body, secret)).status
            if not 200 <= status < 300:
                error, retry = f"the receiver answers with status {status}", status in _RETRIED or status >= 500
        except FetchError as failure:
            error, retry = str(failure), failure.retry
        except JobError as failure:
            error, retry = str(failure), False
        except LibraryError:  # the database may recover; the callback is sent again after its lease
            raise
        except Exception as failure:  # its message is for the operator, and the queue must not repeat it without end
            log.exception("callback %s of %s", delivery.id, delivery.origin)
            error = f"internal error ({type(failure).__name__})"
        state = self._deliveries.attempted(
            delivery, status=status, error=error[:_MAX_ERROR_LENGTH], retry=retry, elapsed=time.monotonic() - began
        )
        log.info("callback %s of %s to %s: %s", delivery.id, delivery.origin, delivery.host, error or "delivered")
        return state

    def _message(self, delivery: Delivery) -> tuple[bytes, str]:
        """The body of a delivery, and the secret that signs it."""
        if delivery.body is not None:  # of a station
            own = self._jobs.decrypted(delivery.secret, delivery.station_id) if delivery.secret else ""
            return delivery.body.encode(), own or self._secret
        job = self._jobs.opened(self._reported(delivery))
        if delivery.style not in self._builders:
            raise FetchError(f"there are no callbacks of style {delivery.style!r}", "internal")
        return self._builders[delivery.style](job), job.options["callback"].get("secret") or self._secret

    def _reported(self, delivery: Delivery) -> Job:
        """The job as it was at the event; JobNotFound if the event is obsolete."""
        job = self._jobs.get(delivery.job_id)
        if delivery.event == RUNNING:
            return replace(job, state=RUNNING, result=None, error_code="", error="", finished_at="")
        if job.state != delivery.event:
            raise JobNotFound(f"job {job.id} was retried; its next end will be reported")
        return job


def _key(secret: str) -> bytes:
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX))
        except (binascii.Error, ValueError):
            pass
    return secret.encode("utf-8", "replace")
