"""One connection to a web radio.

The connection is made here, and FFmpeg gets only its bytes, so a stream cannot make FFmpeg open anything. Only http and
https URLs are opened: the one that the user gives, and those in redirects and playlists.
"""

from __future__ import annotations

import base64
import http.client
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit, urlunsplit

from urllib3 import Timeout

from songprint.audio import encodings
from songprint.errors import StreamError
from songprint.outside import http as client
from songprint.outside.hosts import DEFAULT_PORTS, Place, encoded

MAX_REDIRECTS = 5
PLAYLIST_BYTES = 1 << 18
PLAYLIST_TYPES = ("mpegurl", "scpls")
PLAYLIST_SUFFIXES = (".m3u", ".m3u8", ".pls")
# Checks a URL before it is opened: returns the place and the addresses to connect to, or raises an error.
Guard = Callable[[str], tuple[Place, Sequence[str]]]
_TITLE = re.compile(rb"StreamTitle='(.*?)';", re.DOTALL)


@dataclass(frozen=True)
class Playlist:
    """The text of a playlist, which names URLs of streams."""

    url: str
    text: str


class Station:
    """An open connection: `read` returns the bytes of the audio as they arrive, and b"" at the end.

    `title` is what the station announces. It is displayed, and never used as evidence.
    """

    def __init__(self, response: client.Response, url: str, *, broadcast: bool) -> None:
        """A `broadcast` has no end, unless its headers give a length: if the connection ends, it broke."""
        headers = response.headers
        self.url = shown(url)
        self.name = _text(headers.get("icy-name", "").encode("latin-1", "replace"))
        self.title = ""
        self._response = response
        self._left = _number(headers.get("Content-Length"))
        self._broadcast = broadcast
        self._title_interval = _number(headers.get("icy-metaint")) or 0  # bytes of audio between two titles
        self._to_title = self._title_interval

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, as soon as there are any; raise StreamError if the connection broke."""
        if self._title_interval and not self._to_title:
            self._read_title()
        wanted = min(size, self._to_title) if self._title_interval else size
        data = self._receive(wanted)
        if self._title_interval:
            self._to_title -= len(data)
        if not data and self._left is None and self._broadcast:
            raise StreamError(f"{self.url} ended the stream")
        if not data and self._left:
            raise StreamError(f"{self.url} closed the connection with {self._left:,} bytes to go")
        return data

    def close(self) -> None:
        self._response.close()

    def _receive(self, size: int) -> bytes:
        with _errors_of(self.url):
            data = self._response.read1(size)
        if self._left is not None:
            self._left -= len(data)
        return data

    def _read_title(self) -> None:
        length, announced = self._receive(1), b""
        missing = 16 * length[0] if length else 0
        while missing and (piece := self._receive(missing)):
            announced += piece
            missing -= len(piece)
        self._to_title = self._title_interval
        if found := _TITLE.search(announced):
            self.title = _text(found[1])


def open_url(url: str, *, timeout: float, broadcast: bool = True, guard: Guard | None = None) -> Station | Playlist:
    """Open the URL of a broadcast or of a file. A playlist is read as a whole.

    `timeout` is in seconds, for connecting and for each read. A password in the URL is sent to its own host only.
    `guard` checks the URL and every redirect; without it, any host may be reached.
    """
    headers = {"Icy-MetaData": "1"} if broadcast else {}
    credentials = _credentials(url)
    for _ in range(MAX_REDIRECTS + 1):
        place, addresses = guard(url) if guard else (_place(url), ())
        with _errors_of(shown(url)):
            response = client.request(
                "GET",
                place,
                {**headers, **credentials},
                timeout=Timeout(connect=timeout, read=timeout),
                addresses=addresses,
                through_proxy=not addresses,
            )
        try:
            with _errors_of(shown(url)):
                redirect = client.location(url, response)
                if redirect:
                    response.close()
                    _check_redirect(url, redirect)
                    url, credentials = redirect, {}
                    continue
                if not 200 <= response.status < 300:
                    raise StreamError(
                        f"cannot open {shown(url)}: the server answers {response.status} {response.reason}"
                    )
                if _is_playlist(url, response):
                    text = _read_up_to(PLAYLIST_BYTES, response).decode("utf-8", "replace")
                    response.close()
                    return Playlist(url, text)
            return Station(response, url, broadcast=broadcast)
        except BaseException:
            response.close()
            raise
    raise StreamError(f"cannot open {shown(url)}: more than {MAX_REDIRECTS} redirects")


def shown(url: str) -> str:
    """The URL for messages, without a password and without the query, which may contain a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _place(url: str) -> Place:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = host if host.isascii() else host.encode("idna").decode()
    except ValueError as error:
        raise StreamError(f"cannot open {url}: it is not a URL ({error})") from error
    if parts.scheme not in DEFAULT_PORTS or not host:
        raise StreamError(f"cannot open {shown(url)}: it is not a URL of a web radio (http:// or https://)")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], encoded(path), None)


def _credentials(url: str) -> dict[str, str]:
    """The header with the user name and password of a URL, if it contains them."""
    user, at, _ = urlsplit(url).netloc.rpartition("@")
    return {"Authorization": f"Basic {base64.b64encode(unquote(user).encode()).decode()}"} if at else {}


def _check_redirect(url: str, target: str) -> None:
    if urlsplit(target).scheme not in DEFAULT_PORTS:
        raise StreamError(f"cannot open {shown(url)}: it redirects to {shown(target)}, which is not a web radio")


def _read_up_to(size: int, response: client.Response) -> bytes:
    data = b""
    while len(data) < size and (piece := response.read1(size - len(data))):
        data += piece
    return data


@contextmanager
def _errors_of(url: str) -> Iterator[None]:
    """Turn every error of a connection into a StreamError that names the URL."""
    try:
        yield
    except (*client.ERRORS, ValueError) as error:
        raise StreamError(f"{url}: {_reason(client.cause(error))}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no data for too long"
    if isinstance(error, socket.gaierror):
        return "there is no such host. Is the URL correct?"
    if isinstance(error, http.client.BadStatusLine):
        return "it is not a web server"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _is_playlist(url: str, response: client.Response) -> bool:
    kind = response.headers.get("Content-Type", "").lower()
    path = urlsplit(url).path.lower()
    return any(each in kind for each in PLAYLIST_TYPES) or (
        path.endswith(PLAYLIST_SUFFIXES)
        and not kind.startswith(("audio/mpeg;", "audio/aac", "application/ogg"))
        and kind != "audio/mpeg"
    )


def _text(announced: bytes) -> str:
    """The text of a station, in UTF-8 or else in the most probable encoding: ICY does not name it."""
    try:
        return announced.decode("utf-8").strip()
    except UnicodeDecodeError:
        return encodings.decoded([announced.decode("ascii", "surrogateescape")])[0].strip()


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isascii() and value.isdigit() else None
