"""Web radio: streams that stall, end early, redirect or announce titles, and URLs that are not a stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from support import radio
from support.radio import SAMPLE_RATE, Answer, Radio, ToneScanner, outline

from songprint.audio.streams import connect
from songprint.errors import StreamError
from songprint.scan.listen import Listener, follow
from songprint.types import Event, EventType


@pytest.fixture
def station() -> Iterator[Callable[..., Radio]]:
    """A function that starts radios; they stop after the test."""
    started = []

    def make(*answers: Answer, **paths: tuple[Answer, ...]) -> Radio:
        by_path = {f"/{path.replace('__', '.')}": each for path, each in paths.items()}
        started.append(Radio(by_path or answers))
        return started[-1]

    yield make
    for each in started:
        each.close()


def events_of(url: str, *, count: int, **more: object) -> list[Event]:
    """Follow a stream until `count` events other than announcements have occurred."""
    events, stop = [], threading.Event()
    listener = Listener(ToneScanner, SAMPLE_RATE)
    more = {"stall": 5.0, **more}
    for event in follow(
        lambda: connect.connect(url, timeout=5), listener, SAMPLE_RATE, name="radio", stop=stop, **more
    ):
        events.append(event)
        if len(outline(events)) >= count:
            break
    return events


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch):
    monkeypatch.setattr("songprint.scan.listen.FIRST_DELAY", 0.05)
    monkeypatch.setattr("songprint.scan.listen.UPDATE_SECONDS", 1.0)


# Streams


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".opus", ".aac", ".flac", ".ts"])
def test_all_common_formats_are_decoded(station, tmp_path, suffix):
    server = station(Answer(radio.encoded(tmp_path, suffix, (None, 2), (1, 8), (None, 6)), stalls=True))
    events = events_of(server.url, count=3)
    assert outline(events) == ["connected", "started 1", "ended 1"]
    assert events[0].text == "Test FM"
    assert events[-1].seconds == pytest.approx(8, abs=1)


def test_a_broken_stream_is_reconnected_and_the_gap_is_reported(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (None, 2), (1, 8))
    events = events_of(station(Answer(sound)).url, count=7)
    assert outline(events) == ["connected", "started 1", "ended 1", "gap", "reconnected", "started 1", "ended 1"]
    assert "ended the stream" in events[3].text
    assert 0.03 < events[4].seconds < 30


def test_a_stalled_stream_is_reconnected(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (2, 8))
    events = events_of(station(Answer(sound, stalls=True), Answer(sound)).url, count=5, stall=0.6)
    assert outline(events)[:5] == ["connected", "started 2", "ended 2", "gap", "reconnected"]
    assert "no data for 0.6 s" in events[3].text


def test_delays_between_attempts_to_reconnect_double(station, tmp_path, monkeypatch):
    waits = []
    stop = threading.Event()
    monkeypatch.setattr("songprint.scan.listen.MAX_DELAY", 0.3)
    monkeypatch.setattr(stop, "wait", lambda seconds: waits.append(seconds) or (len(waits) >= 6 and stop.set()))
    server = station(Answer(radio.encoded(tmp_path, ".mp3", (1, 3))), Answer(head="HTTP/1.0 503 Later"))
    events = list(
        follow(
            lambda: connect.connect(server.url, timeout=5),
            Listener(ToneScanner, SAMPLE_RATE),
            SAMPLE_RATE,
            name="radio",
            stop=stop,
        )
    )
    assert outline(events) == ["connected", "started 1", "ended 1", "gap", "finished"]
    assert [round(wait, 3) for wait in waits] == [
        pytest.approx(delay, rel=0.21) for delay in (0.05, 0.1, 0.2, 0.3, 0.3, 0.3)
    ]


def test_reconnecting_stops_after_the_requested_time(station, tmp_path):
    server = station(Answer(radio.encoded(tmp_path, ".mp3", (1, 3))), Answer(head="HTTP/1.0 503 Later"))
    with pytest.raises(StreamError, match=r"did not return within 0.2 s: cannot open http.*answers 503 Later"):
        events_of(server.url, count=99, give_up=0.2)


def test_a_file_ends_at_its_length(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (1, 6))
    events = events_of(station(Answer(sound, f"HTTP/1.1 200 OK\r\nContent-Length: {len(sound)}")).url, count=99)
    assert outline(events) == ["connected", "started 1", "ended 1", "finished"]


def test_a_file_that_ends_before_its_length_is_reconnected(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (1, 6))
    events = events_of(station(Answer(sound, f"HTTP/1.1 200 OK\r\nContent-Length: {len(sound) + 9}")).url, count=5)
    assert outline(events)[3:] == ["gap", "reconnected"]
    assert "closed the connection with 9 bytes to go" in events[3].text


def test_titles_are_reported_and_removed_from_the_audio(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (1, 8), (None, 4))
    server = station(Answer(sound, titles=("Band - It's so", "", "Für Elise"), stalls=True))
    events = events_of(server.url, count=3)
    assert outline(events) == ["connected", "started 1", "ended 1"]
    assert [event.text for event in events if event.type == EventType.ANNOUNCED] == ["Band - It's so", "", "Für Elise"]
    assert "Icy-Metadata: 1" in server.requests[0].title()


def test_an_old_shoutcast_status_line_is_accepted(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (1, 6), (None, 4))
    server = station(Answer(sound, "ICY 200 OK\r\nicy-name:Old FM\r\ncontent-type:audio/mpeg", stalls=True))
    events = events_of(server.url, count=2)
    assert outline(events) == ["connected", "started 1"] and events[0].text == "Old FM"


def test_a_chain_of_ogg_streams_is_one_stream(station, tmp_path):
    sound = radio.encoded(tmp_path, ".ogg", (1, 6)) + radio.encoded(tmp_path, ".ogg", (2, 6), (None, 4))
    assert outline(events_of(station(Answer(sound, stalls=True)).url, count=5)) == [
        "connected",
        "started 1",
        "started 2",
        "ended 1",
        "ended 2",
    ]


# URLs, redirects and playlists


def test_redirects_and_playlists_are_followed_to_the_stream(station, tmp_path):
    sound = Answer(radio.encoded(tmp_path, ".mp3", (1, 6)), stalls=True)
    moved = Answer(head="HTTP/1.1 302 Found\r\nLocation: /list.pls\r\nContent-Length: 0")
    pls = Answer(b"[playlist]\nNumberOfEntries=1\nFile1=/radio.m3u\n", "HTTP/1.0 200 OK\r\nContent-Type: audio/x-scpls")
    m3u = Answer(b"#EXTM3U\n#EXTINF:-1,Test\n/stream\n", "HTTP/1.0 200 OK\r\nContent-Type: audio/x-mpegurl")
    server = station(old=(moved,), list__pls=(pls,), radio__m3u=(m3u,), stream=(sound,))
    assert outline(events_of(f"{server.url}/old", count=2)) == ["connected", "started 1"]
    assert [request.split()[1] for request in server.requests] == ["/old", "/list.pls", "/radio.m3u", "/stream"]


@pytest.mark.parametrize(
    "location, message",
    [
        ("file:///etc/passwd", "redirects to file:///etc/passwd, which is not a web radio"),
        ("ftp://host/x", "redirects to ftp://host/x, which is not a web radio"),
        ("{url}/again", "more than 5 redirects"),
    ],
)
def test_redirects_to_other_schemes_and_endless_redirects_are_refused(station, location, message):
    server = station(Answer(head=f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0"))
    with pytest.raises(StreamError, match=f"(?s){message}"):
        connect.connect(server.url, timeout=5)


@pytest.mark.parametrize("entry", ["file:///etc/passwd", "/etc/passwd", "concat:/etc/passwd", "ftp://h/x"])
def test_playlist_entries_that_are_not_http_urls_are_refused(station, entry):
    server = station(
        list__m3u=(Answer(entry.encode(), "HTTP/1.0 200 OK\r\nContent-Type: audio/x-mpegurl"),), etc=(Answer(b"x"),)
    )
    server.answers["/etc/passwd"] = (Answer(head="HTTP/1.0 404 Not Found"),)
    with pytest.raises(StreamError, match=r"it is not a URL of a web radio|the server answers 404"):
        connect.connect(f"{server.url}/list.m3u", timeout=5)


def test_endless_playlists_are_refused(station):
    server = station(a__m3u=(Answer(b"/a.m3u", "HTTP/1.0 200 OK\r\nContent-Type: audio/x-mpegurl"),))
    with pytest.raises(StreamError, match="its playlists name only further playlists"):
        connect.connect(f"{server.url}/a.m3u", timeout=5)


def test_a_password_is_sent_only_to_its_host_and_never_shown(station, tmp_path):
    other = station(Answer(head="HTTP/1.0 404 Not Found"))
    server = station(Answer(head=f"HTTP/1.1 302 Found\r\nLocation: {other.url}/x?key=123\r\nContent-Length: 0"))
    with pytest.raises(StreamError) as caught:
        connect.connect(server.url.replace("//", "//me:secret@"), timeout=5)
    assert "Authorization: Basic bWU6c2VjcmV0" in server.requests[0]
    assert "Authorization" not in other.requests[0]
    assert "secret" not in str(caught.value) and "123" not in str(caught.value)


@pytest.mark.parametrize(
    "url, message",
    [
        ("http://127.0.0.1:1/", "Connection refused"),
        ("http://no.such.host.invalid/", "there is no such host"),
        ("http://host:port/", "it is not a URL"),
        ("ftp://host/", "it is not a URL of a web radio"),
        ("http://", "it is not a URL"),
    ],
)
def test_connection_errors_have_readable_messages(url, message):
    with pytest.raises(StreamError, match=message):
        connect.connect(url, timeout=2)


@pytest.mark.parametrize(
    "body, message",
    [
        (b"<!doctype html><title>Radio</title>", "it is text, not audio"),
        (b"just words", "it is text, not audio"),
        (b"#EXTM3U\nfile:///etc/passwd", "it is a playlist"),
        (bytes(range(256)) * 40, "FFmpeg does not recognise its format"),
        (b"", "no data arrived|ended the stream"),
    ],
)
def test_content_without_audio_is_an_error(station, body, message):
    with pytest.raises(StreamError, match=message):
        events_of(station(Answer(body)).url, count=99)


def test_a_silent_server_is_an_error(station):
    with pytest.raises(StreamError, match=r"no data for 0.5 s"):
        events_of(station(Answer(head="HTTP/1.0 200 OK", stalls=True)).url, count=99, stall=0.5)


# HLS


def hls(*lines: str) -> Answer:
    return Answer("\n".join(["#EXTM3U", *lines]).encode(), "HTTP/1.0 200 OK\r\nContent-Type: application/x-mpegURL")


def test_hls_pieces_are_joined(station, tmp_path):
    pieces = [Answer(radio.encoded(tmp_path, ".ts", plan), "HTTP/1.0 200 OK") for plan in ((1, 5), (2, 5), (None, 5))]
    begin = ("#EXT-X-TARGETDURATION:1", "#EXT-X-MEDIA-SEQUENCE:7", "#EXTINF:5,", "/a.ts", "#EXTINF:5,", "/b.ts")
    server = station(
        live__m3u8=(
            hls(
                '#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="mp4a.40.2"',
                "/high.m3u8",
                "#EXT-X-STREAM-INF:BANDWIDTH=96000",
                "/low.m3u8",
            ),
        ),
        low__m3u8=(hls(*begin), hls(*begin), hls(*begin, "#EXTINF:5,", "/c.ts", "#EXT-X-ENDLIST")),
        a__ts=(pieces[0],),
        b__ts=(pieces[1],),
        c__ts=(pieces[2],),
    )
    events = events_of(f"{server.url}/live.m3u8", count=99)
    assert outline(events) == ["connected", "started 1", "started 2", "ended 1", "ended 2", "finished"]


def test_hls_in_mp4_starts_with_its_header(station, tmp_path):
    import av

    with av.open(
        str(tmp_path / "whole.mp4"),
        "w",
        options={"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "1000000"},
    ) as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        radio.soundfiles._write_audio(container, stream, radio.samples((1, 6), (None, 4)), 44100, "stereo")
    whole = (tmp_path / "whole.mp4").read_bytes()
    cut = whole.index(b"moof") - 4
    server = station(
        live__m3u8=(hls("#EXT-X-TARGETDURATION:9", '#EXT-X-MAP:URI="/head.mp4"', "/rest.m4s", "#EXT-X-ENDLIST"),),
        head__mp4=(Answer(whole[:cut], "HTTP/1.0 200 OK"),),
        rest__m4s=(Answer(whole[cut:], "HTTP/1.0 200 OK"),),
    )
    assert outline(events_of(f"{server.url}/live.m3u8", count=99)) == ["connected", "started 1", "ended 1", "finished"]


@pytest.mark.parametrize(
    "line, message",
    [
        ('#EXT-X-KEY:METHOD=AES-128,URI="/key"', "it is encrypted"),
        ("#EXT-X-BYTERANGE:100@0", "parts of files"),
    ],
)
def test_encrypted_and_byte_range_hls_is_refused(station, line, message):
    server = station(live__m3u8=(hls("#EXT-X-TARGETDURATION:5", line, "/a.ts"),))
    with pytest.raises(StreamError, match=message):
        events_of(f"{server.url}/live.m3u8", count=99)


def test_hls_pieces_are_fetched_over_http_only(station):
    server = station(live__m3u8=(hls("#EXT-X-TARGETDURATION:5", "file:///etc/passwd"),))
    with pytest.raises(StreamError, match="it is not a URL of a web radio"):
        events_of(f"{server.url}/live.m3u8", count=99)


def test_listening_stops_at_once_even_without_data(station, tmp_path):
    stop = threading.Event()
    server = station(Answer(radio.encoded(tmp_path, ".mp3", (1, 5)), stalls=True))
    events = []
    threading.Timer(0.7, stop.set).start()
    for event in follow(
        lambda: connect.connect(server.url, timeout=20),
        Listener(ToneScanner, SAMPLE_RATE),
        SAMPLE_RATE,
        name="radio",
        stop=stop,
        stall=20,
    ):
        events.append(event)
    assert outline(events) == ["connected", "started 1", "ended 1", "finished"]


@pytest.mark.parametrize(
    ("encoding", "name", "title"),
    [
        ("utf-8", "Café", "Ö"),
        ("cp1252", "Café", "Mötley Crüe - Dr. Feelgood"),
        ("cp1251", "Наше радио", "Кино - Группа крови"),
        ("gb18030", "音乐之声", "老狼 - 同桌的你"),
    ],
)
def test_what_a_station_announces_is_decoded_from_its_encoding(station, encoding, name, title):
    def sent(text):
        return text.encode(encoding).decode("utf-8", "surrogateescape")

    head = f"HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\nicy-name: {sent(name)}"
    server = station(Answer(b"\xff\xfb" * radio.TITLES_EVERY, head, titles=(sent(title),)))
    opened = connect.connect(f"{server.url}/stream", timeout=5)
    with pytest.raises(StreamError, match="ended the stream"):
        while True:
            opened.read(4096)
    assert (opened.name, opened.title) == (name, title)


def test_a_station_is_reached_through_the_proxy_of_the_environment(station, monkeypatch):
    audio = Answer(b"\xff\xfb audio", "HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 8")
    proxy, direct = station(audio), station(audio)
    monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:secret@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert connect.connect("http://radio.invalid/stream?a=b", timeout=5).read(99) == b"\xff\xfb audio"
    assert proxy.requests[0].startswith("GET http://radio.invalid/stream?a=b HTTP/1.1\r\n")
    assert "Host: radio.invalid\r\n" in proxy.requests[0]
    assert "proxy-authorization: Basic bWU6c2VjcmV0\r\n" in proxy.requests[0].replace("Proxy-Auth", "proxy-auth")
    assert connect.connect(f"{direct.url}/stream", timeout=5).read(99) == b"\xff\xfb audio"
    assert len(proxy.requests) == len(direct.requests) == 1
