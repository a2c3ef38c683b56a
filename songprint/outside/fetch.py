"""The only place that opens a URL given by a stranger: downloads to a file, and calls back.

Names are resolved once and every address is looked at before one of them is connected to, so a name cannot point
elsewhere a moment later. Redirects are followed by hand, each looked at anew. Nothing is decompressed, playlists are
refused, and size and time are limited. Messages hold neither addresses nor what a server answered.
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
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

from songprint.config import ServerSettings
from songprint.errors import FetchError
from songprint.outside import hosts
from songprint.outside.hosts import HostList, Place, RefusedURL

OnProgress = Callable[[int, int | None], None]  # bytes so far, bytes in all if they are known

_REDIRECTS = (301, 302, 303, 307, 308)
_AGAIN = (408, 425, 429, 500, 502, 503, 504)  # answers that may be others in a minute
_READ_BYTES = 1 << 16
_SNIFFED_BYTES = 1024
_ANSWER_BYTES = 4096  # kept of the answer to a call
_CONNECT_SECONDS = 10.0
_WATCH_SECONDS = 0.2
_PLAYLISTS = (b"#extm3u", b"#ext-x-", b"ffconcat", b"[playlist]", b"[reference]", b"<asx", b"<smil", b"rtsptext")
_MANIFESTS = (b"<mpd", b"<smoothstreamingmedia", b"<playlist", b"<manifest")  # behind an <?xml ...?>
_PLAYLIST_TYPES = ("mpegurl", "dash+xml", "scpls", "xspf", "ms-asf-playlist", "sstr+xml")


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True)
class Rules:
    """Whom a URL may ask, how much it may give and how long it may take."""

    allow_hosts: tuple[str, ...] = ()  # private hosts that are fine; on them every port
    allow_private: bool = False  # all of them are fine
    ports: tuple[range, ...] = (range(80, 81), range(443, 444))  # of public hosts
    max_bytes: int = 1 << 30
    timeout: float = 600.0  # seconds, all in all
    read_timeout: float = 30.0  # seconds without a byte
    max_redirects: int = 3
    resolve: Callable[[str, int], list[str]] = resolve
    tls: ssl.SSLContext | None = None  # None: the authorities that the system trusts

    @classmethod
    def of_inputs(cls, settings: ServerSettings) -> Rules:
        return cls(
            settings.allow_hosts,
            settings.allow_private,
            tuple(range(port, port + 1) for port in settings.input_ports),
            settings.max_bytes,
            settings.fetch_timeout,
            settings.read_timeout,
        )

    @classmethod
    def of_callbacks(cls, settings: ServerSettings) -> Rules:
        """Callbacks go to any port above those of the system's own services: 5000 is a usual one."""
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
    url: str  # where it was in the end


@dataclass(frozen=True)
class Answer:
    """What a server said to a call; of the body the first 4 KB."""

    status: int
    body: bytes


def check(url: str, rules: Rules) -> Place:
    """Refuse what can be refused without asking anybody: form, port, addresses that are written out."""
    try:
        place = hosts.read(url)
    except RefusedURL as error:
        raise FetchError(f"the URL is refused: {error}", "input_refused") from error
    if place.address is not None:
        _check_address(place, place.address, rules)
    elif not (_fits_port(place, rules) or HostList(rules.allow_hosts).may_name(place.host, place.port)):
        raise _wrong_port(place)
    return place


def download(
    url: str,
    target: Path,
    rules: Rules,
    *,
    headers: Mapping[str, str] | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> Downloaded:
    """Fetch a URL into the file `target`; FetchError says why that cannot be, and leaves no file behind."""
    with _Watch(rules.timeout, stop) as watch:
        for _ in range(rules.max_redirects + 1):
            place = check(url, rules)
            with _asked("GET", place, rules, watch, headers or {}) as response:
                if response.status in _REDIRECTS:
                    url = _redirected(url, response)
                    continue
                _check_answer(place, response, rules)
                try:
                    size = _write(place, response, target, rules, watch, on_progress)
                except BaseException:
                    target.unlink(missing_ok=True)
                    raise
                return Downloaded(target, size, response.headers.get_content_type(), url)
    told = f"more than {rules.max_redirects} redirects" if rules.max_redirects else "it redirects"
    raise FetchError(f"the URL is refused: {told}", "input_refused")


def send(method: str, url: str, body: bytes, headers: Mapping[str, str], rules: Rules) -> Answer:
    """Send a body once and return what the server says, redirects too: they are not followed."""
    with (
        _Watch(rules.timeout, None) as watch,
        _asked(method, check(url, rules), rules, watch, headers, body) as response,
    ):
        try:
            kept = response.read(_ANSWER_BYTES)
        except (OSError, http.client.HTTPException):
            kept = b""  # the status has been said, and that is what counts
        return Answer(response.status, kept)


def post(url: str, body: bytes, headers: Mapping[str, str], rules: Rules) -> Answer:
    """Call a URL back."""
    return send("POST", url, body, headers, rules)


class _Watch:
    """Cuts the connection when the time is over or when somebody says stop: a socket's own time-out begins anew
    with every byte."""

    def __init__(self, seconds: float, stop: threading.Event | None) -> None:
        self._ends = time.monotonic() + seconds
        self._stop = stop
        self._done = threading.Event()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self.cut: FetchError | None = None

    def __enter__(self) -> _Watch:
        threading.Thread(target=self._look, daemon=True, name="songprint-fetch").start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()

    def guard(self, opened: socket.socket) -> None:
        with self._lock:
            self._socket = opened
        self.check()

    def check(self) -> None:
        """Raise if the time is over."""
        if self.cut is None and self._stop is not None and self._stop.is_set():
            self.cut = FetchError("the download was stopped", "cancelled")
        if self.cut is None and time.monotonic() > self._ends:
            self.cut = FetchError("the server took too long", "input_timeout", retry=True)
        if self.cut is not None:
            raise self.cut

    def _look(self) -> None:
        while not self._done.wait(_WATCH_SECONDS):
            try:
                self.check()
            except FetchError:
                with self._lock, contextlib.suppress(OSError):
                    if self._socket is not None:
                        # Not that of TLS, whose state belongs to the thread that reads.
                        socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                return


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was looked at, for a host name that the server and TLS are told."""

    def __init__(self, place: Place, found: list[str], rules: Rules, watch: _Watch) -> None:
        super().__init__(place.host, place.port, timeout=rules.read_timeout)
        self._place, self._found, self._rules, self._watch = place, found, rules, watch

    def connect(self) -> None:
        for number, address in enumerate(self._found, 1):
            try:
                opened = socket.create_connection((address, self._place.port), min(_CONNECT_SECONDS, self.timeout))
                break
            except OSError:
                if number == len(self._found):
                    raise
        opened.settimeout(self.timeout)
        self.sock = opened
        self._watch.guard(opened)
        if self._place.scheme == "https":
            self.sock = (self._rules.tls or _system_tls()).wrap_socket(opened, server_hostname=self._place.host)
            self._watch.guard(self.sock)


@contextlib.contextmanager
def _asked(
    method: str, place: Place, rules: Rules, watch: _Watch, headers: Mapping[str, str], body: bytes | None = None
) -> Iterator[http.client.HTTPResponse]:
    """The answer to a request; what goes wrong on the way, or while it is read, is put in plain words."""
    connection = _Pinned(place, _addresses(place, rules), rules, watch)
    try:
        sent = {
            "Host": place.host_header,
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "songprint",
            "Connection": "close",
            **headers,
        }
        connection.request(method, place.path, body, sent)
        with connection.getresponse() as response:
            yield response
        watch.check()
    except (OSError, http.client.HTTPException) as error:
        watch.check()
        raise _explained(place, error) from error
    finally:
        connection.close()


def _addresses(place: Place, rules: Rules) -> list[str]:
    """The addresses of a host, all of which may be asked."""
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
        fine = trusted.names_exactly(place.port, address)
    elif hosts.is_public(address):
        if not _fits_port(place, rules) and not trusted.names(place.host, place.port, address):
            raise _wrong_port(place)
        fine = True
    else:
        fine = rules.allow_private or trusted.names(place.host, place.port, address)
    if not fine:
        raise FetchError(
            f"the URL is refused: {place.host} is no public host, and on no list of this server", "input_refused"
        )


def _fits_port(place: Place, rules: Rules) -> bool:
    return rules.allow_private or any(place.port in ports for ports in rules.ports)


def _wrong_port(place: Place) -> FetchError:
    return FetchError(f"the URL is refused: port {place.port} is none of those that this server asks", "input_refused")


def _redirected(url: str, response: http.client.HTTPResponse) -> str:
    location = response.headers.get("Location", "")
    if not location:
        raise FetchError("the server redirects to nowhere", "input_not_found")
    try:
        return urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))
    except ValueError as error:
        raise FetchError("the URL is refused: the server redirects to what is no URL", "input_refused") from error


def _check_answer(place: Place, response: http.client.HTTPResponse, rules: Rules) -> None:
    """Refuse what the header of an answer tells already."""
    if response.status != 200:
        again = response.status in _AGAIN
        raise FetchError(f"{place.host} answers with status {response.status}", "input_not_found", retry=again)
    if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise FetchError(f"the answer of {place.host} is compressed, though nobody asked for that", "input_refused")
    if response.headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
        raise FetchError(f"the answer of {place.host} is encoded in an unknown way", "input_refused")
    if response.length is not None and response.length > rules.max_bytes:
        raise _too_large(rules)
    kind = response.headers.get_content_type()
    if any(word in kind for word in _PLAYLIST_TYPES):
        raise _playlist()


def _write(
    place: Place,
    response: http.client.HTTPResponse,
    target: Path,
    rules: Rules,
    watch: _Watch,
    on_progress: OnProgress | None,
) -> int:
    promised, written = response.length, 0
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
        raise FetchError(f"{place.host} broke off after {written} of {promised} bytes", "input_unreadable", retry=True)
    if not written:
        raise FetchError(f"{place.host} sent an empty file", "input_unreadable")
    return written


def _pieces(response: http.client.HTTPResponse, promised: int | None) -> Iterator[bytes]:
    """The body as it comes, the first piece long enough to be looked at.

    It ends where the header says, for a server may keep the connection open.
    """
    left = promised if promised is not None else 1 << 62
    head, looked_at = b"", False
    while left and (piece := response.read1(min(_READ_BYTES, left))):
        left -= len(piece)
        if looked_at:
            yield piece
            continue
        head += piece
        if len(head) >= _SNIFFED_BYTES:
            looked_at = True
            yield head
    if head and not looked_at:
        yield head


@contextlib.contextmanager
def _file(target: Path) -> Iterator[BinaryIO]:
    """Our own file, opened to be written; an OSError of it is none of the network's."""
    try:
        with target.open("wb") as file:
            yield file
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            raise
        raise FetchError(f"this server cannot keep the input: {error.strerror}", "internal", retry=True) from error


def _check_head(head: bytes) -> None:
    """Refuse playlists: they name other files, on this machine too."""
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
    broken = "speaks no HTTP" if isinstance(error, http.client.HTTPException) else "cannot be reached"
    return FetchError(f"{place.host} {broken}", "input_not_found", retry=True)


def _too_large(rules: Rules) -> FetchError:
    return FetchError(f"the input is larger than the {rules.max_bytes} bytes that this server takes", "input_too_large")


def _playlist() -> FetchError:
    return FetchError("the URL leads to a playlist. Give the media file itself", "input_refused")


@cache
def _system_tls() -> ssl.SSLContext:
    return ssl.create_default_context()
