"""Where the API explorer receives callbacks: boxes in memory, each with an address that nobody can guess.

A callback is sent by this service as to anybody else, and lands here by HTTP: what the page shows is what a
receiver would get.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from songprint.config import Settings
from songprint.store.timestamps import iso

MOST_BOXES = 50
MOST_RECEIVED = 10  # callbacks in a box
MOST_BYTES = 1 << 20  # of one callback
KEPT = 3600.0  # seconds that a box is kept
PATH = "/v1/explorer/inbox/"


@dataclass(frozen=True)
class Received:
    """One callback, as it came."""

    at: str  # UTC, ISO 8601
    headers: dict[str, str]
    body: str


@dataclass
class _Box:
    owner: str  # id of the key; empty: somebody at the machine itself
    made: float
    received: list[Received] = field(default_factory=list)


def allowed(settings: Settings) -> Settings:
    """The same, and callbacks may be sent to this server itself: they could not be shown otherwise."""
    server = settings.server
    host = "127.0.0.1" if server.host in ("", "0.0.0.0", "::", "localhost") else server.host
    own = f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"
    return settings.with_(server=replace(server, allow_callbacks=(*server.allow_callbacks, own)))


class Inboxes:
    """The boxes of this process. Old ones make room for new ones."""

    def __init__(self) -> None:
        self._boxes: OrderedDict[str, _Box] = OrderedDict()
        self._lock = threading.Lock()

    def make(self, owner: str) -> str:
        """The name of a new box."""
        name = secrets.token_urlsafe(18)
        with self._lock:
            while self._boxes and (len(self._boxes) >= MOST_BOXES or self._oldest() > KEPT):
                self._boxes.popitem(last=False)
            self._boxes[name] = _Box(owner, time.monotonic())
        return name

    def put(self, name: str, headers: dict[str, str], body: bytes) -> bool:
        """Keep what came; False if there is no such box."""
        with self._lock:
            box = self._boxes.get(name)
            if box is None:
                return False
            box.received.append(Received(iso(round(1000 * time.time())), headers, body.decode("utf-8", "replace")))
            del box.received[:-MOST_RECEIVED]
            return True

    def read(self, name: str, owner: str) -> list[Received] | None:
        """What came; None if there is no such box of this owner's."""
        with self._lock:
            box = self._boxes.get(name)
            return list(box.received) if box is not None and box.owner == owner else None

    def _oldest(self) -> float:
        return time.monotonic() - next(iter(self._boxes.values())).made
