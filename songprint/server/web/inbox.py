"""Inboxes in which the API explorer receives callbacks: in memory, each at an address that cannot be guessed.

The server sends these callbacks to itself over HTTP, like any other, so the page shows what a receiver would get.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from songprint.config import Settings
from songprint.store.timestamps import iso

MOST_INBOXES = 50  # the oldest are dropped beyond this
MOST_RECEIVED = 10  # callbacks in an inbox
MOST_BYTES = 1 << 20  # of one callback
LIFETIME = 3600.0  # seconds that an inbox is kept
PATH = "/v1/explorer/inbox/"


@dataclass(frozen=True)
class Received:
    """One callback."""

    at: str  # UTC, ISO 8601
    headers: dict[str, str]
    body: str


@dataclass
class _Inbox:
    owner: str  # id of the key; empty: a local user of a server without keys
    created: float  # time.monotonic()
    received: list[Received] = field(default_factory=list)


def allowed(settings: Settings) -> Settings:
    """The settings with this server's own address among those that callbacks may be sent to."""
    server = settings.server
    host = "127.0.0.1" if server.host in ("", "0.0.0.0", "::", "localhost") else server.host
    own = f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"
    return settings.with_(server=replace(server, allow_callbacks=(*server.allow_callbacks, own)))


class Inboxes:
    """The inboxes of this process."""

    def __init__(self) -> None:
        self._inboxes: OrderedDict[str, _Inbox] = OrderedDict()
        self._lock = threading.Lock()

    def create(self, owner: str) -> str:
        """The name of a new inbox; drops old ones."""
        name = secrets.token_urlsafe(18)
        with self._lock:
            while self._inboxes and (len(self._inboxes) >= MOST_INBOXES or self._oldest_age() > LIFETIME):
                self._inboxes.popitem(last=False)
            self._inboxes[name] = _Inbox(owner, time.monotonic())
        return name

    def has(self, name: str) -> bool:
        with self._lock:
            return name in self._inboxes

    def put(self, name: str, headers: dict[str, str], body: bytes) -> bool:
        """Keep a callback; False if there is no such inbox."""
        with self._lock:
            inbox = self._inboxes.get(name)
            if inbox is None:
                return False
            inbox.received.append(Received(iso(round(1000 * time.time())), headers, body.decode("utf-8", "replace")))
            del inbox.received[:-MOST_RECEIVED]
            return True

    def read(self, name: str, owner: str) -> list[Received] | None:
        """The callbacks received so far, oldest first; None if this owner has no such inbox."""
        with self._lock:
            inbox = self._inboxes.get(name)
            return list(inbox.received) if inbox is not None and inbox.owner == owner else None

    def _oldest_age(self) -> float:
        return time.monotonic() - next(iter(self._inboxes.values())).created
