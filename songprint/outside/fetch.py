"""Requests to URLs given by strangers: downloads to a file, callbacks, and requests to object stores.

A host name is resolved once and all its addresses are checked before one of them is connected to, so a name cannot
point elsewhere a moment later. Every redirect is checked like the first URL. Nothing is decompressed, playlists are
refused, and size and time are limited. Error messages contain neither addresses nor what a server answered.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from urllib3 import Timeout

from songprint.errors import FetchError
from songprint.outside import hosts
from songprint.outside import http as client
from songprint.outside.hosts import HostList, Place, RefusedURL

if TYPE_CHECKING:
    from songprint.config import ServerSettings

OnProgress = Callable[[int, int | None], None]  # bytes so far, total bytes or None if unknown

_RETRIED = (408, 425, 429, 500, 502, 503, 504)  # statuses that may change within minutes
_READ_BYTES = 1 << 16
_SNIFFED_BYTES = 1024
_ANSWER_BYTES = 4096  # kept of the answer to a callback
_CONNECT_SECONDS = 10.0
_WATCH_SECONDS = 0.2  # between two checks of the deadline
_PLAYLISTS = (b"#extm3u", b"#ext-x-", b"ffconcat", b"[playlist]", b"[reference]", b"<asx", b"<smil", b"rtsptext")
_MANIFESTS = (b"<mpd", b"<smoothstreamingmedia", b"<playlist", b"<manifest")  # after an <?xml ...?>
_PLAYLIST_TYPES = ("mpegurl", "dash+xml", "scpls", "xspf", "ms-asf-playlist", "sstr+xml")


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, from the resolver of the system."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True)
class Rules:
    """Which hosts a URL may name, and how much and how long they may send."""

    allow_hosts: tuple[str, ...] = ()  # private hosts that are allowed, at every port; see `HostList`
    allow_private: bool = False  # allow all private hosts
    ports: tuple[range, ...] = (range(80, 81), range(443, 444))  # of public hosts
    max_bytes: int = 1 << 30
    timeout: float = 600.0  # seconds for all of a request, redirects included
    read_timeout: float = 30.0  # seconds without a byte
    max_redirects: int = 3
    resolve: Callable[[str, int], list[str]] = resolve
    tls: ssl.SSLContext | None = None  # None: the authorities that the system trusts

    @classmethod
    def of_inputs(cls, settings: ServerSettings) -> Rules:
        """The rules for inputs of jobs."""
        return cls(
            settings.allow_hosts,
            settings.allow_private,
            tuple(range(port, port + 1) for port in settings.input_ports),
            settings.max_bytes,
            settings.fetch_timeout,
            settings.read_timeout,
        )

    @classmethod
    def of_streams(cls, settings: ServerSettings) -> Rules:
        """The rules for web radios: the hosts of inputs, and every port above those of system services."""
        rules = cls.of_inputs(settings)
        return replace(rules, ports=(*rules.ports, range(1024, 65536)))

    @classmethod
    def of_callbacks(cls, settings: ServerSettings) -> Rules:
        """The rules for callbacks: they may go to any port above those of system services, often to 5000."""
        return cls(
            settings.allow_callbacks,
            settings.allow_private,
            (*cls.ports, range(1024, 65536)),
            timeout=settings.callback_timeout,
            read_timeout=settings.callback_timeout,
            max_redirects=0,
        )


@dataclass(frozen=True)
class Downloaded:
    """A file that was fetched."""

    path: Path
    bytes: int
    content_type: str
    url: str  # after redirects


@dataclass(frozen=True)
class Answer:
    """The answer to `send`, with the first 4 KB of its body."""

    status: int
    body: bytes


def check(url: str, rules: Rules) -> Place:
    """Parse a URL; raise FetchError for what can be refused without a look-up: its form, port or literal address."""
    try:
        place = hosts.read(url)
    except RefusedURL as error:
        raise FetchError(f"the URL is refused: {error}", "input_refused") from error
    if place.address is not None:
        _check_address(place, place.address, rules)
    elif not (_fits_port(place, rules) or HostList(rules.allow_hosts).may_name(place.host, place.port)):
        raise _wrong_port(place)
    return place


def resolved(url: str, rules: Rules) -> tuple[Place, list[str]]:
    """Parse a URL and resolve its host; FetchError if the URL or one of the addresses is refused."""
    place = check(url, rules)
    return place, _addresses(place, rules)


def download(
    url: str,
    target: Path,
    rules: Rules,
    *,
    headers: Mapping[str, str] | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> Downloaded:
    """Fetch a URL into the file `target`. On FetchError, which gives the reason, no file is left."""
    with _Watch(rules.timeout, stop) as watch:
        for _ in range(rules.max_redirects + 1):
            place = check(url, rules)
            with _response("GET", place, rules, watch, headers or {}) as response:
                redirect = _redirect(url, response)
                if redirect is not None:
                    url = redirect
                    continue
                _check_response(place, response, rules)
                try:
                    size = _write(place, response, target, rules, watch, on_progress)
                except BaseException:
                    target.unlink(missing_ok=True)
                    raise
                return Downloaded(target, size, client.content_type(response), url)
    reason = f"more than {rules.max_redirects} redirects" if rules.max_redirects else "it redirects"
    raise FetchError(f"the URL is refused: {reason}", "input_refused")


def send(method: str, url: str, body: bytes, headers: Mapping[str, str], rules: Rules) -> Answer:
    """Send a body once and return the answer. Redirects are returned, not followed."""
    with (
        _Watch(rules.timeout, None) as watch,
        _response(method, check(url, rules), rules, watch, headers, body) as response,
    ):
        try:
            kept = b""
            while len(kept) < _ANSWER_BYTES and (piece := response.read1(_ANSWER_BYTES - len(kept))):
                kept += piece
        except client.ERRORS:
            kept = b""  # the status has arrived, and only that matters
        return Answer(response.status, kept)


class _Watch:
    """Breaks the connection at the deadline, or when `stop` is set.

    The time-out of a socket does not suffice: it starts anew with every byte.
    """

    def __init__(self, seconds: float, stop: threading.Event | None) -> None:
        self._deadline = time.monotonic() + seconds
        self._stop = stop
        self._done = threading.Event()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._failure: FetchError | None = None

    def __enter__(self) -> _Watch:
        threading.Thread(target=self._watch, daemon=True, name="songprint-fetch").start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._forget()

    def guard(self, opened: socket.socket) -> None:
        """Watch this socket from now on."""
        self._forget()
        with self._lock:
            self._socket = opened.dup()  # TLS takes the socket itself; a shutdown reaches the connection through both
        self.check()

    def check(self) -> None:
        """Raise FetchError after the deadline or when stopped."""
        if self._failure is None and self._stop is not None and self._stop.is_set():
            self._failure = FetchError("the download was stopped", "cancelled")
        if self._failure is None and time.monotonic() > self._deadline:
            self._failure = FetchError("the server took too long", "input_timeout", retry=True)
        if self._failure is not None:
            raise self._failure

    def _watch(self) -> None:
        while not self._done.wait(_WATCH_SECONDS):
            try:
                self.check()
            except FetchError:
                with self._lock, contextlib.suppress(OSError):
                    if self._socket is not None:
                        self._socket.shutdown(socket.SHUT_RDWR)
                return

    def _forget(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None


@contextlib.contextmanager
def _response(
    method: str, place: Place, rules: Rules, watch: _Watch, headers: Mapping[str, str], body: bytes | None = None
) -> Iterator[client.Response]:
    """The response to a request. Errors of the network, also while it is read, become FetchError."""
    addresses = _addresses(place, rules)
    timeout = Timeout(connect=min(_CONNECT_SECONDS, rules.read_timeout), read=rules.read_timeout)
    try:
        response = client.request(
            method,
            place,
            headers,
            body,
            timeout=timeout,
            addresses=addresses,
            tls=rules.tls,
            on_connect=watch.guard,
        )
        try:
            yield response
        finally:
            response.close()
        watch.check()
    except client.ERRORS as error:
        watch.check()
        raise _explained(place, client.cause(error)) from error


def _addresses(place: Place, rules: Rules) -> list[str]:
    """The addresses of a host, after all of them were checked."""
    if place.address is not None and place.host == str(place.address):
        return [place.host]
    try:
        found = rules.resolve(place.host, place.port)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"{place.host} cannot be found: no such host name", "input_not_found", retry=True) from error
    if not found:
        raise FetchError(f"{place.host} cannot be found: it has no address", "input_not_found", retry=True)
    for address in found:
        _check_address(place, ipaddress.ip_address(address), rules)
    return found


def _check_address(place: Place, address: hosts.Address, rules: Rules) -> None:
    trusted = HostList(rules.allow_hosts)
    if hosts.is_metadata(address):
        allowed = trusted.names_exactly(place.port, address)
    elif hosts.is_public(address):
        if not _fits_port(place, rules) and not trusted.names(place.host, place.port, address):
            raise _wrong_port(place)
        allowed = True
    else:
        allowed = rules.allow_private or trusted.names(place.host, place.port, address)
    if not allowed:
        raise FetchError(
            f"the URL is refused: {place.host} is not a public host and not on a list of this server", "input_refused"
        )


def _fits_port(place: Place, rules: Rules) -> bool:
    return rules.allow_private or any(place.port in ports for ports in rules.ports)


def _wrong_port(place: Place) -> FetchError:
    return FetchError(f"the URL is refused: this server does not connect to port {place.port}", "input_refused")


def _redirect(url: str, response: client.Response) -> str | None:
    """The URL that a response redirects to, None if it is no redirect."""
    try:
        location = client.location(url, response)
    except ValueError as error:
        raise FetchError("the URL is refused: the server redirects to an invalid URL", "input_refused") from error
    if location == "":
        raise FetchError("the server redirects to nowhere", "input_not_found")
    return location


def _check_response(place: Place, response: client.Response, rules: Rules) -> None:
    """Refuse what the headers already show to be useless or too large."""
    if response.status != 200:
        retry = response.status in _RETRIED
        raise FetchError(f"{place.host} answers with status {response.status}", "input_not_found", retry=retry)
    if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise FetchError(f"the answer of {place.host} is compressed, which was not requested", "input_refused")
    if response.headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
        raise FetchError(f"the answer of {place.host} has an unknown transfer encoding", "input_refused")
    if response.length_remaining is not None and response.length_remaining > rules.max_bytes:
        raise _too_large(rules)
    if any(word in client.content_type(response) for word in _PLAYLIST_TYPES):
        raise _playlist()


def _write(
    place: Place,
    response: client.Response,
    target: Path,
    rules: Rules,
    watch: _Watch,
    on_progress: OnProgress | None,
) -> int:
    promised, written = response.length_remaining, 0
    with _file(target) as file:
        for piece in _pieces(response, promised):
            watch.check()
            if not written:
                _check_head(piece)
            written += len(piece)
            if written > rules.max_bytes:
                raise _too_large(rules)
            file.write(piece)
            if on_progress is not None:
                on_progress(written, promised)
    watch.check()
    if promised is not None and written < promised:
        raise FetchError(
            f"{place.host} closed the connection after {written} of {promised} bytes", "input_unreadable", retry=True
        )
    if not written:
        raise FetchError(f"{place.host} sent an empty file", "input_unreadable")
    return written


def _pieces(response: client.Response, promised: int | None) -> Iterator[bytes]:
    """The body as it arrives; the first piece is long enough for `_check_head`.

    It ends at the promised length, because a server may keep the connection open.
    """
    left = promised if promised is not None else 1 << 62
    head, checked = b"", False
    while left and (piece := response.read1(min(_READ_BYTES, left))):
        left -= len(piece)
        if checked:
            yield piece
            continue
        head += piece
        if len(head) >= _SNIFFED_BYTES:
            checked = True
            yield head
    if head and not checked:
        yield head


@contextlib.contextmanager
def _file(target: Path) -> Iterator[BinaryIO]:
    """The target, open for writing. Its errors become FetchError; those of the network pass through."""
    try:
        with target.open("wb") as file:
            yield file
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            raise
        raise FetchError(f"this server cannot store the input: {error.strerror}", "internal", retry=True) from error


def _check_head(head: bytes) -> None:
    """Refuse playlists, which name other files, also on this machine, and web pages."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\v\f\0").lower()
    is_xml = start.startswith(b"<?xml") or start.startswith(b"<!--")
    if start.startswith((*_PLAYLISTS, *_MANIFESTS)) or (is_xml and any(word in start for word in _MANIFESTS)):
        raise _playlist()
    if start.startswith((b"<!doctype html", b"<html")):
        raise FetchError("the URL leads to a web page, not to a media file", "input_unreadable")


def _explained(place: Place, error: Exception) -> FetchError:
    if isinstance(error, TimeoutError):
        return FetchError(f"{place.host} does not answer in time", "input_timeout", retry=True)
    if isinstance(error, ssl.SSLCertVerificationError):
        return FetchError(f"the certificate of {place.host} is not valid: {error.verify_message}", "input_not_found")
    reason = "does not speak HTTP" if isinstance(error, http.client.HTTPException) else "cannot be reached"
    return FetchError(f"{place.host} {reason}", "input_not_found", retry=True)


def _too_large(rules: Rules) -> FetchError:
    return FetchError(f"the input is larger than {rules.max_bytes} bytes, the limit of this server", "input_too_large")


def _playlist() -> FetchError:
    return FetchError("the URL leads to a playlist. Give the media file itself", "input_refused")
