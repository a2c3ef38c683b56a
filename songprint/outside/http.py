"""One HTTP request over one connection: what downloads, callbacks, object stores and web radios share.

urllib3 speaks HTTP, TLS and with proxies. Three things are added: connections to addresses that the caller has resolved
and checked, a callback with every connected socket (for deadlines), and the status line of old SHOUTcast servers.
Redirects are not followed and nothing is decompressed.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ProtocolError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

if TYPE_CHECKING:
    from songprint.outside.hosts import Place

Response = urllib3.BaseHTTPResponse
OnConnect = Callable[[socket.socket], None]

ERRORS = (OSError, http.client.HTTPException, HTTPError)  # raised by a request, and while its response is read

_REDIRECTS = (301, 302, 303, 307, 308)


def request(
    method: str,
    place: Place,
    headers: Mapping[str, str],
    body: bytes | None = None,
    *,
    timeout: urllib3.Timeout,
    addresses: Sequence[str] = (),
    through_proxy: bool = False,
    tls: ssl.SSLContext | None = None,
    on_connect: OnConnect | None = None,
) -> Response:
    """Send a request and return the response with its body unread; closing it closes the connection.

    Args:
        timeout: seconds to connect, and seconds without a byte.
        addresses: tried in turn; the host name is not resolved then.
        through_proxy: whether to use the proxy that the environment names; not together with `addresses`.
        tls: trusted authorities, by default those of the system.
        on_connect: called with the socket before TLS and before the request.
    """
    sent = {
        "Host": place.host_header,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": "songprint",
        "Connection": "close",
        **headers,
    }
    options: dict[str, Any] = {
        "headers": sent,
        "body": body,
        "timeout": timeout,
        "retries": False,
        "redirect": False,
        "preload_content": False,
        "decode_content": False,
        "enforce_content_length": False,  # callers report broken connections with the number of bytes
    }
    proxy = _proxy(place) if through_proxy else None
    if proxy:
        return _proxied(proxy, tls).urlopen(method, place.url, **options)
    pinned: dict[str, Any] = {"addresses": addresses, "on_connect": on_connect}
    pool: urllib3.HTTPConnectionPool
    if place.scheme == "https":
        pool = _HttpsPool(place.host, place.port, ssl_context=tls or _system_tls(), **pinned)
    else:
        pool = _HttpPool(place.host, place.port, **pinned)
    return pool.urlopen(method, place.path, assert_same_host=False, **options)


def location(url: str, response: Response) -> str | None:
    """Where a response redirects to: "" for nowhere, None if it is no redirect. ValueError if it is no URL."""
    if response.status not in _REDIRECTS:
        return None
    named = response.headers.get("Location", "")
    return urljoin(url, named.encode("latin-1").decode("utf-8", "replace")) if named else ""


def content_type(response: Response) -> str:
    """The media type of a response in lower case, without parameters; empty if there is none."""
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def cause(error: Exception) -> Exception:
    """The error of the socket, of TLS or of http.client that an error of urllib3 wraps."""
    if isinstance(error, Urllib3TimeoutError):
        return TimeoutError("timed out")
    if isinstance(error, ProtocolError | SSLError) and isinstance(error.args[-1], Exception):
        return error.args[-1]
    return error


class _OldStatusLine:
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

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Response(http.client.HTTPResponse):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.fp = _OldStatusLine(self.fp)  # type: ignore[assignment]


class _HttpConnection(HTTPConnection):
    response_class = _Response

    def __init__(
        self,
        *arguments: Any,
        addresses: Sequence[str] = (),
        on_connect: OnConnect | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._addresses, self._on_connect = addresses, on_connect

    def _new_conn(self) -> socket.socket:
        addresses = self._addresses or [self._dns_host]
        for number, address in enumerate(addresses, 1):
            try:
                opened = socket.create_connection((address, self.port), self.timeout)
                break
            except OSError:
                if number == len(addresses):
                    raise
        if self._on_connect:
            self._on_connect(opened)
        return opened


class _HttpsConnection(_HttpConnection, HTTPSConnection):
    pass


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


def _proxy(place: Place) -> str | None:
    """The URL of the proxy that the environment names for a place."""
    proxy = urllib.request.getproxies().get(place.scheme)
    if not proxy or urllib.request.proxy_bypass(place.host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _proxied(proxy: str, tls: ssl.SSLContext | None) -> urllib3.ProxyManager:
    user, at, host = urlsplit(proxy).netloc.rpartition("@")
    headers = urllib3.make_headers(proxy_basic_auth=unquote(user)) if at else None
    manager = urllib3.ProxyManager(
        f"{urlsplit(proxy).scheme}://{host}", proxy_headers=headers, ssl_context=tls or _system_tls()
    )
    manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
    return manager


@cache
def _system_tls() -> ssl.SSLContext:
    return ssl.create_default_context()
