"""Sessions of the page: who signed in with a key gets a cookie, so that the token need not stay in the browser.

The cookie says whose it is and until when, under a seal that only this server can make; nothing is stored. It is not
readable by scripts, and sent along by no other site; a second secret, which scripts of this server can ask for and
others cannot, goes with every request that changes something.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

COOKIE = "songprint_session"
CSRF_HEADER = "x-csrf-token"
LASTS = 12 * 3600  # seconds


@dataclass(frozen=True)
class Session:
    """Somebody who is signed in."""

    key_id: str
    until: int  # seconds since 1970
    csrf: str


class Sessions:
    """Makes and reads cookies; `secret` gives at least 32 bytes, the same on all servers of one library."""

    def __init__(self, secret: Callable[[], bytes]) -> None:
        self._secret = secret

    def begin(self, key_id: str) -> tuple[Session, str]:
        """A session for this key, and the cookie's value."""
        until = int(time.time()) + LASTS
        said = f"{key_id}.{until}"
        return Session(key_id, until, self._seal("csrf", said)), f"{said}.{self._seal('cookie', said)}"

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie; None if it is none of ours, or over."""
        said, _, seal = cookie.rpartition(".")
        if not said:
            return None
        key_id, _, until = said.rpartition(".")
        if not hmac.compare_digest(seal.encode(), self._seal("cookie", said).encode()):
            return None
        return Session(key_id, int(until), self._seal("csrf", said)) if int(until) > time.time() else None

    def _seal(self, purpose: str, said: str) -> str:
        return hmac.new(self._secret(), f"{purpose}:{said}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()
