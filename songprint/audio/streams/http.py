"""One connection to a web radio.

The connection is made here and FFmpeg gets its bytes: a stream cannot make FFmpeg open anything. Only http and https
are spoken, to where the user, a redirection or a playlist said.
"""

from __future__ import annotations

import base64
import http.client
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import unquote, urlsplit, urlunsplit

from songprint.errors import StreamError

MOST_REDIRECTIONS = 5
PLAYLIST_BYTES = 1 << 18
PLAYLIST_TYPES = ("mpegurl", "scpls")
PLAYLIST_SUFFIXES = (".m3u", ".m3u8", ".pls")
_TITLE = re.compile(rb"StreamTitle='(.*?)';", re.DOTALL)


@dataclass(frozen=True)
class Playlist:
    """What stood there was no sound but a text that names where the sound is."""

    url: str
    text: str


class Station:
    """An open connection: `read` gives the bytes of the sound as they come, and b"" at the end.

    `title` is what the station says it plays. It is shown and never believed.
    """

    def __init__(self, response: http.client.HTTPResponse, url: str, *, broadcast: bool) -> None:
        """A `broadcast` has no end unless the headers say how long it is: one that ends has broken."""
        headers = response.headers
        self.url = shown(url)
        self.name = _text(headers.get("icy-name", "").encode("latin-1", "replace"))
        self.title = ""
        self._response = response
        self._left = _number(headers.get("Content-Length"))
        self._broadcast = broadcast
        self._between_titles = _number(headers.get("icy-metaint")) or 0
        self._to_title = self._between_titles

    def read(self, size: int) -> bytes:
        """At most `size` bytes, as soon as there are any; StreamError if the connection broke."""
        if self._between_titles and not self._to_title:
            self._read_title()
        wanted = min(size, self._to_title) if self._between_titles else size
        data = self._received(wanted)
        if self._between_titles:
            self._to_title -= len(data)
        if not data and self._left is None and self._broadcast:
            raise StreamError(f"{self.url} ended the stream")
        if not data and self._left:
            raise StreamError(f"{self.url} broke off with {self._left:,} bytes to go")
        return data

    def close(self) -> None:
        self._response.close()

    def _received(self, size: int) -> bytes:
        with _in_words(self.url):
            data = self._response.read1(size)
        if self._left is not None:
            self._left -= len(data)
        return data

    def _read_title(self) -> None:
        length, said = self._received(1), b""
        missing = 16 * length[0] if length else 0
        while missing and (piece := self._received(missing)):
            said += piece
            missing -= len(piece)
        self._to_title = self._between_titles
        if found := _TITLE.search(said):
            self.title = _text(found[1])


def open_url(url: str, *, timeout: float, broadcast: bool = True) -> Station | Playlist:
    """Open what lies at a URL, a broadcast or a file; a playlist is read whole."""
    request = _request(url, titles=broadcast)
    with _in_words(shown(url)):
        response = _opener().open(request, timeout=timeout)
    try:
        with _in_words(shown(url)):
            if _is_playlist(response):
                text = response.read(PLAYLIST_BYTES).decode("utf-8", "replace")
                response.close()
                return Playlist(response.url, text)
        return Station(response, response.url, broadcast=broadcast)
    except BaseException:
        response.close()
        raise


def shown(url: str) -> str:
    """The URL without the password in it, and without what may be a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _request(url: str, *, titles: bool) -> urllib.request.Request:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises if it is no number
    except ValueError as error:
        raise StreamError(f"cannot open {url}: it is no URL ({error})") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise StreamError(f"cannot open {shown(url)}: it is no URL of a web radio (http:// or https://)")
    user, _, host = parts.netloc.rpartition("@")
    bare = urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))
    request = urllib.request.Request(bare.replace(" ", "%20"), headers={"User-Agent": "songprint", "Accept": "*/*"})
    if titles:
        request.add_header("Icy-MetaData", "1")
    if user:  # not sent on to where a redirection leads
        credentials = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    return request


def _opener() -> urllib.request.OpenerDirector:
    """Of urllib only what speaks http and https: no files, no FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _Http(),
        _Https(),
        _Redirections(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirections(urllib.request.HTTPRedirectHandler):
    max_redirections = MOST_REDIRECTIONS
    max_repeats = 2

    def redirect_request(self, request, file, code, message, headers, new_url):
        if urlsplit(new_url).scheme not in ("http", "https"):
            raise StreamError(
                f"cannot open {shown(request.full_url)}: it leads to {shown(new_url)}, which is no web radio"
            )
        return super().redirect_request(request, file, code, message, headers, new_url)


class _OldFirstLine:
    """SHOUTcast before 2011 answers `ICY 200 OK`, which is HTTP but for its name."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._first = True

    def readline(self, limit: int = -1) -> bytes:
        line = self._file.readline(limit)
        if self._first:
            line = re.sub(rb"^ICY ", b"HTTP/1.0 ", line)
            self._first = False
        return line

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


class _Response(http.client.HTTPResponse):
    def __init__(self, *args, **more) -> None:
        super().__init__(*args, **more)
        self.fp = _OldFirstLine(self.fp)


class _HttpConnection(http.client.HTTPConnection):
    response_class = _Response


class _HttpsConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Http(urllib.request.HTTPHandler):
    def http_open(self, request):
        return self.do_open(_HttpConnection, request)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, request):
        return self.do_open(_HttpsConnection, request, context=ssl.create_default_context())


@contextmanager
def _in_words(url: str) -> Iterator[None]:
    """Whatever goes wrong with a connection becomes a StreamError that names the URL."""
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise StreamError(f"cannot open {url}: the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StreamError(f"{url}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "nothing came for too long"
    if isinstance(cause, socket.gaierror):
        return "there is no such host. Is the URL right?"
    if isinstance(cause, http.client.BadStatusLine):
        return "what answers there is no web server"
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)


def _is_playlist(response: http.client.HTTPResponse) -> bool:
    kind = response.headers.get("Content-Type", "").lower()
    path = urlsplit(response.url).path.lower()
    return any(each in kind for each in PLAYLIST_TYPES) or (
        path.endswith(PLAYLIST_SUFFIXES)
        and not kind.startswith(("audio/mpeg;", "audio/aac", "application/ogg"))
        and kind != "audio/mpeg"
    )


def _text(said: bytes) -> str:
    """A station says in UTF-8 or in Latin-1 what it plays, and does not tell which."""
    try:
        return said.decode("utf-8").strip()
    except UnicodeDecodeError:
        return said.decode("latin-1").strip()


def _number(value: str | None) -> int | None:
    return int(value) if value and value.isascii() and value.isdigit() else None
