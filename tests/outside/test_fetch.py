"""Fetching what strangers name: what arrives, and how each trick is refused."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import web
from support.hostile_urls import LOOPBACK, MALFORMED, METADATA, PRIVATE
from support.web import PUBLIC, PUBLIC6, Web

from songprint.config import ServerSettings
from songprint.errors import FetchError
from songprint.outside import fetch, hosts
from songprint.outside.fetch import Rules

SONG = b"\xff\xfb\x90\x64" + bytes(range(256)) * 40


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A public host with a song, names that lead inside, and pages that send you there."""
    with web.running(monkeypatch) as net:
        net.serve("/song.mp3", SONG, Content_Type="audio/mpeg")
        for name in ("files.example", "evil.example"):
            net.name(name, [PUBLIC])
        yield net


@pytest.fixture
def fetched(net: Web, tmp_path: Path) -> Callable[..., fetch.Downloaded]:
    def download(url: str, stop: threading.Event | None = None, **rules: object) -> fetch.Downloaded:
        rules = {"resolve": net.resolve, "timeout": 5.0, "max_bytes": 100_000, **rules}
        return fetch.download(url, tmp_path / "fetched", Rules(**rules), stop=stop)

    return download


def refused(call: Callable[[], object], target: Path | None = None) -> FetchError:
    with pytest.raises(FetchError) as caught:
        call()
    assert target is None or not target.exists()
    return caught.value


def test_a_file_is_downloaded_unchanged(fetched, net):
    got = fetched("http://files.example/song.mp3#part")
    assert (got.path.read_bytes(), got.bytes, got.content_type) == (SONG, len(SONG), "audio/mpeg")
    ((_, _, headers, _),) = net.requests
    assert (headers["Host"], headers["Accept-Encoding"]) == ("files.example", "identity")
    assert net.connected == [PUBLIC]


def test_the_path_is_sent_unchanged(net):
    net.serve("//callback?a=%2F&b=%C3%BC&c=%20d", b"fine", 202)
    rules = Rules.of_callbacks(ServerSettings(allow_callbacks=("127.0.0.1",)))
    answer = fetch.send("POST", f"http://127.0.0.1:{net.port}//callback?a=%2F&b=ü&c= d", b"{}", {"X-Test": "1"}, rules)
    assert (answer.status, answer.body) == (202, b"fine")
    ((method, _, headers, body),) = net.requests
    assert (method, headers["X-Test"], body) == ("POST", "1", b"{}")
    assert headers["Host"] == f"127.0.0.1:{net.port}"


def test_progress_is_reported(net, tmp_path):
    progress = []
    fetch.download(
        "http://files.example/song.mp3",
        tmp_path / "a",
        Rules(resolve=net.resolve),
        on_progress=lambda done, total: progress.append((done, total)),
    )
    assert progress[-1] == (len(SONG), len(SONG))


def test_redirects_between_public_hosts_are_followed(fetched, net):
    net.serve("/a", b"", 302, Location="http://evil.example/b")
    net.serve("/b", b"", 307, Location="song.mp3")
    assert fetched("http://files.example/a").url == "http://evil.example/song.mp3"
    assert [headers["Host"] for _, _, headers, _ in net.requests] == ["files.example", "evil.example", "evil.example"]


def test_the_server_may_leave_the_connection_open(fetched, net):
    def lingering(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(SONG)))
        handler.end_headers()
        handler.wfile.write(SONG + b"what does not belong to it")
        handler.wfile.flush()
        time.sleep(3)

    net.pages["/lingering"] = lingering
    started = time.monotonic()
    assert fetched("http://files.example/lingering").bytes == len(SONG)
    assert time.monotonic() - started < 2


def test_a_chunked_body_is_downloaded(fetched, net):
    def chunked(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(SONG), 1000):
            piece = SONG[start : start + 1000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    net.pages["/chunked"] = chunked
    assert fetched("http://files.example/chunked").path.read_bytes() == SONG


def test_the_next_address_is_tried_after_one_that_does_not_answer(fetched, net, monkeypatch):
    net.name("two.example", [PUBLIC6, PUBLIC])
    connect = socket.create_connection

    def unreachable(address, *more):
        if address[0] == PUBLIC6:
            raise OSError("no route")
        return connect(address, *more)

    monkeypatch.setattr(socket, "create_connection", unreachable)
    assert fetched("http://two.example/song.mp3").bytes == len(SONG)


@pytest.mark.parametrize("entry", ["nas.lan", "*.lan", "10.1.2.3", "10.0.0.0/8", "nas.lan:8000", "10.0.0.0/8:8000"])
def test_a_listed_private_host_is_allowed_at_every_port_or_the_given_one(fetched, net, entry, monkeypatch):
    net.name("nas.lan", ["10.1.2.3"])
    connections = []
    monkeypatch.setattr(socket, "create_connection", lambda address, *more: connections.append(address) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fetched("http://nas.lan:8000/a", allow_hosts=(entry,))
    assert connections == [("10.1.2.3", 8000)]
    if entry.endswith(":8000"):
        assert refused(lambda: fetched("http://nas.lan:8001/a", allow_hosts=(entry,))).code == "input_refused"


def test_a_metadata_address_needs_its_own_entry(net):
    place = "http://169.254.169.254/latest/meta-data"
    for rules in (Rules(allow_private=True), Rules(allow_hosts=("0.0.0.0/0", "*", "::/0", "169.254.0.0/16"))):
        assert refused(lambda rules=rules: fetch.check(place, rules)).code == "input_refused"
    assert fetch.check(place, Rules(allow_hosts=("169.254.169.254",))).port == 80


def test_inputs_and_callbacks_have_separate_lists():
    settings = ServerSettings(allow_hosts=("10.0.0.1",), allow_callbacks=("10.0.0.2",))
    inputs, callbacks = Rules.of_inputs(settings), Rules.of_callbacks(settings)
    assert fetch.check("http://10.0.0.1/", inputs)
    assert fetch.check("http://10.0.0.2/", callbacks)
    assert refused(lambda: fetch.check("http://10.0.0.2/", inputs))
    assert refused(lambda: fetch.check("http://10.0.0.1/", callbacks))
    assert refused(lambda: fetch.check(f"http://{PUBLIC}:5000/", inputs))
    assert fetch.check(f"http://{PUBLIC}:5000//callback", callbacks).path == "//callback"
    assert refused(lambda: fetch.check(f"http://{PUBLIC}:25/", callbacks))


@pytest.mark.parametrize(
    ("entry", "deferred"),
    [("10.0.0.0/8", True), ("*.lan", True), ("10.0.0.1:25", True), ("10.0.0.1:8080", False), ("*.home", False)],
)
def test_an_unusual_port_is_refused_at_once_unless_the_address_may_be_on_the_list(entry, deferred):
    rules = Rules(allow_hosts=(entry,))
    if deferred:
        assert fetch.check("http://nas.lan:25/", rules).port == 25
    else:
        assert "port 25" in str(refused(lambda: fetch.check("http://nas.lan:25/", rules)))


NAMES = {  # the answers of the name server
    "http://inside.evil.example/": [["127.0.0.1"]],
    "http://lan.evil.example/": [["192.168.0.10"]],
    "http://six.evil.example/": [["::1"]],
    "http://mapped.evil.example/": [["::ffff:10.0.0.1"]],
    "http://mixed.evil.example/song.mp3": [[PUBLIC, "10.0.0.1"]],
    "http://mixed6.evil.example/song.mp3": [[PUBLIC6, "fe80::1%eth0"]],
    "http://metadata.google.internal/": [["169.254.169.254"]],
    "http://metadata.tencentyun.com/": [["169.254.0.23"]],
    "http://none.evil.example/": [[]],
}


@pytest.mark.parametrize("url", LOOPBACK + PRIVATE + METADATA + MALFORMED)
def test_a_hostile_url_is_refused_without_a_connection(fetched, net, tmp_path, url):
    error = refused(lambda: fetched(url), tmp_path / "fetched")
    assert error.code == "input_refused" and not error.retry
    assert not net.connected and not net.resolved
    assert "refused" in str(error) and len(str(error)) < 200


@pytest.mark.parametrize("url", NAMES)
def test_a_name_with_a_private_address_is_refused_without_a_connection(fetched, net, tmp_path, url):
    host = url.split("/")[2]
    net.name(host, *NAMES[url])
    error = refused(lambda: fetched(url), tmp_path / "fetched")
    assert error.code == ("input_refused" if NAMES[url] != [[]] else "input_not_found")
    assert not net.connected
    assert not any(address in str(error) for address in ("127.0.0.1", "10.0.0.1", "169.254", "192.168"))


def test_a_name_that_changes_is_resolved_once(fetched, net):
    """The second answer, which a check and a connection of their own would get, leads inside."""
    net.name("rebinding.example", [PUBLIC], ["127.0.0.1"])
    assert fetched("http://rebinding.example/song.mp3").bytes == len(SONG)
    assert (net.connected, net.resolved) == ([PUBLIC], ["rebinding.example"])
    assert refused(lambda: fetched("http://rebinding.example/song.mp3")).code == "input_refused"
    assert net.connected == [PUBLIC]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "//10.0.0.1/a",
        "http://inside.evil.example/",
        "http://2130706433/",
        "gopher://a/",
        "http://user@files.example/",
        "http://[x",
        "http://files.example:25/",
    ],
)
def test_a_redirect_is_checked_like_the_url_itself(fetched, net, tmp_path, location):
    net.name("inside.evil.example", ["127.0.0.1"])
    net.serve("/redirect", b"", 302, Location=location)
    net.serve("/detour", b"", 301, Location="/redirect")
    error = refused(lambda: fetched("http://evil.example/detour"), tmp_path / "fetched")
    assert error.code in ("input_refused", "input_not_found")
    assert net.connected == [PUBLIC, PUBLIC]


def test_the_number_of_redirects_is_limited(fetched, net):
    net.serve("/round", b"", 302, Location="/round")
    assert "more than 3 redirects" in str(refused(lambda: fetched("http://evil.example/round")))
    assert len(net.requests) == 4
    net.serve("/nowhere", b"", 302)
    assert refused(lambda: fetched("http://evil.example/nowhere")).code == "input_not_found"


def test_a_callback_follows_no_redirect(net):
    net.serve("/hook", b"", 302, Location="http://127.0.0.1/")
    rules = Rules.of_callbacks(ServerSettings(allow_callbacks=("127.0.0.1",)))
    assert fetch.send("POST", f"http://127.0.0.1:{net.port}/hook", b"", {}, rules).status == 302
    assert len(net.requests) == 1


@pytest.mark.parametrize(
    "playlist",
    [
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"\xef\xbb\xbf \r\n#EXTM3U\nhttp://127.0.0.1/",
        b"#EXT-X-VERSION:3\n",
        b"ffconcat version 1.0\nfile /etc/passwd",
        b"[playlist]\nFile1=/etc/passwd",
        b"<MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>",
        b'<?xml version="1.0"?>\n<!-- -->\n<MPD xmlns="a">',
        b'<?xml version="1.0"?><playlist xmlns="http://xspf.org/ns/0/">',
        b"<ASX version='3'>",
        b"<smil>",
    ],
)
def test_playlists_are_refused(fetched, net, tmp_path, playlist):
    net.serve("/list", playlist, Content_Type="audio/mpeg")
    error = refused(lambda: fetched("http://evil.example/list"), tmp_path / "fetched")
    assert (error.code, "playlist" in str(error)) == ("input_refused", True)


def test_a_playlist_may_name_itself_in_the_header_only(fetched, net):
    net.serve("/list", SONG, Content_Type="application/vnd.apple.mpegurl")
    assert "playlist" in str(refused(lambda: fetched("http://evil.example/list")))


def test_a_file_that_is_too_large_is_not_kept(fetched, net, tmp_path):
    net.pages["/endless"] = web.endless
    net.serve("/long", SONG, Content_Length="99999999999")
    for path in ("endless", "long"):
        error = refused(lambda path=path: fetched(f"http://evil.example/{path}"), tmp_path / "fetched")
        assert error.code == "input_too_large" and "100000 bytes" in str(error)


def test_a_compressed_answer_is_refused(fetched, net, tmp_path):
    net.serve("/bomb", gzip.compress(bytes(10_000_000)), Content_Encoding="gzip")
    assert refused(lambda: fetched("http://evil.example/bomb"), tmp_path / "fetched").code == "input_refused"
    net.serve("/coded", SONG, Transfer_Encoding="gzip")
    assert refused(lambda: fetched("http://evil.example/coded"), tmp_path / "fetched").code == "input_refused"


@pytest.mark.parametrize("page", [web.dripping, web.dripping_headers])
def test_a_slow_drip_ends_at_the_deadline(fetched, net, tmp_path, page):
    net.pages["/drip"] = page
    started = time.monotonic()
    error = refused(lambda: fetched("http://evil.example/drip", timeout=0.5), tmp_path / "fetched")
    assert (error.code, error.retry) == ("input_timeout", True)
    assert time.monotonic() - started < 2


def test_a_silent_server_times_out(fetched, net):
    net.pages["/mute"] = lambda handler: time.sleep(2)
    error = refused(lambda: fetched("http://evil.example/mute", read_timeout=0.3))
    assert (error.code, error.retry) == ("input_timeout", True)


def test_a_download_can_be_stopped(fetched, net, tmp_path):
    net.pages["/drip"] = web.dripping
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    assert refused(lambda: fetched("http://evil.example/drip", stop), tmp_path / "fetched").code == "cancelled"


@pytest.mark.parametrize(
    ("status", "code", "retry"),
    [
        (404, "input_not_found", False),
        (403, "input_not_found", False),
        (401, "input_not_found", False),
        (500, "input_not_found", True),
        (503, "input_not_found", True),
        (206, "input_not_found", False),
    ],
)
def test_an_error_of_the_server_is_reported_by_its_status_only(fetched, net, status, code, retry):
    net.serve("/a", b"secret of the inside", status)
    error = refused(lambda: fetched("http://files.example/a"))
    assert (error.code, error.retry) == (code, retry)
    assert str(status) in str(error) and "secret" not in str(error)


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH\r\n"), "input_not_found"),
        (lambda handler: handler.connection.close(), "input_not_found"),
        (
            lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"),
            "input_unreadable",
        ),
        (
            lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab"),
            "input_not_found",
        ),
        (lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"), "input_not_found"),
        (lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n"), "input_unreadable"),
        (
            lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n<!DOCTYPE html><title>Sign in"),
            "input_unreadable",
        ),
    ],
)
def test_an_invalid_answer_is_reported(fetched, net, tmp_path, page, code):
    net.pages["/a"] = page
    assert refused(lambda: fetched("http://files.example/a"), tmp_path / "fetched").code == code


def test_unknown_names_and_closed_ports_are_reported(fetched):
    assert "no such host name" in str(refused(lambda: fetched("http://gone.example/")))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{taken.getsockname()[1]}/"
    error = refused(lambda: fetched(closed, allow_private=True))
    assert (error.code, error.retry, "cannot be reached" in str(error)) == ("input_not_found", True, True)


def test_a_full_disk_is_an_internal_error(net, disk):
    net.serve("/big", bytes(4 << 20))
    target = disk.path / "fetched"
    error = refused(lambda: fetch.download("http://files.example/big", target, Rules(resolve=net.resolve)), target)
    assert (error.code, error.retry) == ("internal", True)


def test_a_missing_folder_is_an_internal_error(net, tmp_path):
    rules = Rules(resolve=net.resolve)
    error = refused(lambda: fetch.download("http://files.example/song.mp3", tmp_path / "no" / "a", rules))
    assert error.code == "internal"


def test_tls_certificates_are_verified_against_the_host_name(monkeypatch, tmp_path):
    certificate, key = web.certificate("files.example", tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with web.running(monkeypatch, serving) as net:
        net.serve("/song.mp3", SONG)
        net.name("files.example", [PUBLIC])
        net.name("other.example", [PUBLIC])
        trusted = Rules(resolve=net.resolve, tls=trusting)
        assert fetch.download("https://files.example/song.mp3", tmp_path / "a", trusted).bytes == len(SONG)
        for url, rules in (
            ("https://other.example/song.mp3", trusted),
            ("https://files.example/song.mp3", Rules(resolve=net.resolve)),
        ):
            error = refused(lambda url=url, rules=rules: fetch.download(url, tmp_path / "b", rules), tmp_path / "b")
            assert error.code == "input_not_found" and "certificate" in str(error)


def test_the_deadline_holds_during_the_tls_handshake(tmp_path):
    ended = threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00")  # a record of 16 KB, which follows byte by byte
            while not ended.wait(0.05):
                connection.sendall(b"\0")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=drip, args=(listening,))
        server.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        started = time.monotonic()
        error = refused(lambda: fetch.download(url, tmp_path / "a", Rules(allow_private=True, timeout=0.5)))
        assert (error.code, error.retry) == ("input_timeout", True)
        assert time.monotonic() - started < 3
        ended.set()
        server.join()


def test_a_server_without_tls_is_reported(fetched):
    assert refused(lambda: fetched("https://files.example/song.mp3")).code == "input_not_found"


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_is_public_or_not_in_all_its_ipv6_forms(number):
    plain = ipaddress.IPv4Address(number)
    mapped = ipaddress.IPv6Address(0xFFFF << 32 | number)
    through_nat64 = ipaddress.IPv6Address(0x0064FF9B << 96 | number)
    assert hosts.is_public(plain) == hosts.is_public(mapped) == hosts.is_public(through_nat64)
    if hosts.is_public(plain):
        assert plain.is_global and not plain.is_multicast


@given(st.integers(0, 2**128 - 1))
def test_a_public_ipv6_address_is_allocated(number):
    address = ipaddress.IPv6Address(number)
    if hosts.is_public(address) and address.ipv4_mapped is None:
        assert address.is_global or address in ipaddress.ip_network("64:ff9b::/96")
        assert not address.is_multicast


@given(st.text(max_size=60) | st.from_regex(r"https?://[\w.:@\[\]%/\\#?-]{0,40}", fullmatch=True))
def test_any_text_is_parsed_or_refused(url):
    try:
        place = hosts.read(url)
    except hosts.RefusedURL:
        return
    assert place.path.isascii() and " " not in place.path and place.path.startswith("/")
    assert place.host == place.host.lower() and "@" not in place.host
