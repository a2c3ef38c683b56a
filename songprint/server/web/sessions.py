"""Sessions of the page: signing in with a key sets a cookie, so the token need not stay in the browser.

The cookie contains the key's id and an expiry time, signed by the server; the server stores nothing. Scripts cannot
read it, and browsers do not send it with requests of other sites. Requests that change something also need a CSRF
token, which only pages of this server can obtain.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

COOKIE = "songprint_session"
CSRF_HEADER = "x-csrf-token"
LIFETIME = 12 * 3600  # seconds


@dataclass(frozen=True)
class Session:
    """A signed-in user."""

    key_id: str
    until: int  # seconds since 1970
    csrf: str


class Sessions:
    """Creates and reads cookies.

    Args:
        secret: returns at least 32 bytes, the same on all servers of one library.
    """

    def __init__(self, secret: Callable[[], bytes]) -> None:
        self._secret = secret

    def begin(self, key_id: str) -> tuple[Session, str]:
        """A new session for this key, and the cookie's value."""
        until = int(time.time()) + LIFETIME
        content = f"{key_id}.{until}"
        return Session(key_id, until, self._sign("csrf", content)), f"{content}.{self._sign('cookie', content)}"

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie; None if the cookie is forged or has expired."""
        content, _, signature = cookie.rpartition(".")
        if not content:
            return None
        key_id, _, until = content.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("cookie", content).encode()):
            return None
        return Session(key_id, int(until), self._sign("csrf", content)) if int(until) > time.time() else None

    def _sign(self, purpose: str, content: str) -> str:
        return hmac.new(self._secret(), f"{purpose}:{content}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()
