"""A minimal client of Tencent's API, and functions that finish jobs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from support.serving import World

from songprint.accounts.keys import NewKey
from songprint.formats import objects
from songprint.jobs.jobs import Job
from songprint.server.tencent import signatures
from songprint.types import Timeline

URL = "http://files.example.org/song.mp3"
DETAILS = {"tag": {"process_type": "1102"}}
CALLBACK = {"NotifyType": "URL", "NotifyUrl": "http://receiver.example.org:5000//callback", "NotifyKey": "k3y"}


def request_of(url: str = URL, **more: object) -> dict:
    """A typical request; None removes a parameter."""
    wanted = {
        "InputInfo": {"Type": "URL", "UrlInputInfo": {"Url": url}},
        "OutputStorage": {"Type": "COS", "CosOutputStorage": {"Bucket": "ie-mps-125", "Region": "ap-nanjing"}},
        "OutputDir": "/common/test/",
        "AiAnalysisTask": {"Definition": 21, "ExtendedParameter": json.dumps(DETAILS)},
        **more,
    }
    return {name: value for name, value in wanted.items() if value is not None}


@dataclass
class Client:
    """Signs requests with a key.

    Args:
        host: the host name that it signs.
        clock: error of its clock in seconds.
    """

    world: World
    secret_id: str
    secret_key: str
    host: str = "localhost:8080"
    clock: float = 0.0
    service: str = "mps"

    @classmethod
    def of(cls, world: World, key: NewKey) -> Client:
        return cls(world, key.key.id, key.secret_key)

    def signed(
        self, action: str, body: bytes, *, method: str = "POST", query: str = "", **headers: str
    ) -> dict[str, str]:
        """The headers of a request; `headers` add or replace some, with _ for -."""
        timestamp = int(time.time() + self.clock)
        form = signatures.FORM if method == "GET" else "application/json"
        sent = {
            "host": self.host,
            "content-type": form,
            "x-tc-action": action,
            "x-tc-version": "2019-06-12",
            "x-tc-timestamp": str(timestamp),
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        date = f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d}"
        scope, names = f"{date}/{self.service}/tc3_request", "content-type;host"
        canonical = signatures.canonical_request(signatures.Request(method, query, sent, body), names, self.host)
        signature = signatures.tc3_signature(
            signatures.tc3_key(self.secret_key, date, self.service), timestamp, scope, canonical
        )
        return sent | {
            "authorization": f"TC3-HMAC-SHA256 Credential={self.secret_id}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        }

    def call(self, action: str, parameters: object = None, *, body: bytes | None = None, **headers: str) -> dict:
        """The response without its envelope, which is checked."""
        sent = json.dumps(parameters or {}).encode() if body is None else body
        return self.opened("POST", "/", sent, self.signed(action, sent, **headers))

    def get(self, action: str, flat: dict[str, str]) -> dict:
        query = urlencode(flat)
        return self.opened("GET", f"/?{query}", b"", self.signed(action, b"", method="GET", query=query))

    def v1(self, method: str, action: str, flat: dict[str, str], algorithm: str = "HmacSHA256") -> dict:
        sent = {
            **flat,
            "Action": action,
            "Version": "2019-06-12",
            "Timestamp": str(int(time.time() + self.clock)),
            "Nonce": "1",
            "SecretId": self.secret_id,
            "SignatureMethod": algorithm,
        }
        sent["Signature"] = signatures.v1_signature(
            self.secret_key, algorithm, signatures.v1_string(method, self.host, sent)
        )
        if method == "GET":
            return self.opened("GET", f"/?{urlencode(sent)}", b"", {"host": self.host})
        return self.opened("POST", "/", urlencode(sent).encode(), {"host": self.host, "content-type": signatures.FORM})

    def opened(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> dict:
        """Send a request, check the envelope (status 200, no charset, an id) and return its content."""
        answer = self.world.client.request(method, url, content=body, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
        (response,) = answer.json().values()
        assert response.pop("RequestId")
        return response

    def refusal(self, action: str, parameters: object = None, **more: object) -> str:
        """The error code with which a request is refused."""
        answer = self.call(action, parameters, **more)
        assert answer.keys() == {"Error"}, answer
        message = answer["Error"]["Message"]
        assert message and not message[0].islower() and message.endswith((".", "?")), message
        return answer["Error"]["Code"]


def finished(world: World, timeline: Timeline, seconds: float = 600.0) -> Job:
    """Finish the job that has waited longest with this timeline."""
    job = world.server.jobs.claim("test", 30.0)
    assert world.server.jobs.finish(job, objects.timeline_object(timeline), seconds)
    return world.server.jobs.get(job.id)


def failed(world: World, code: str, message: str) -> Job:
    """Fail the job that has waited longest."""
    return world.server.jobs.fail(world.server.jobs.claim("test", 30.0), code, message, retry=False)
