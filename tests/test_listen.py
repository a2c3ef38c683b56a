"""Listening: what is told of a stream that plays, pauses, breaks and comes back."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import radio
from radio import SAMPLE_RATE, Answer, Ears, Radio

from songprint import export
from songprint.errors import SongprintError, StreamError
from songprint.events import Event, Happening
from songprint.listen import DailyLog, Listener, follow
from songprint.streams import http, live
from songprint.streams.ahead import ReadAhead
from songprint.streams.pipe import Pipe
from songprint.types import Timeline

NOON = datetime(2026, 8, 7, 12, tzinfo=UTC)


@pytest.fixture
def station() -> Iterator[Callable[..., Radio]]:
    """Makes radios."""
    made = []

    def make(*answers: Answer, **paths: tuple[Answer, ...]) -> Radio:
        made.append(Radio({f"/{path.replace('__', '.')}": each for path, each in paths.items()} if paths else answers))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def told(events: list[Event]) -> list[str]:
    """`started 1`, `gap`, ... without what the station announces."""
    return [f"{event.what} {event.segment.recording.id}" if event.segment else str(event.what)
            for event in events if event.what != Happening.ANNOUNCED]


def listened(listener: Listener, clock: Clock, *plan: tuple[int | None, float]) -> list[Event]:
    """What is told while this is heard as it is played."""
    events = []
    mono = radio.samples(*plan, sample_rate=SAMPLE_RATE)[0]
    for at in range(0, len(mono), SAMPLE_RATE):
        clock.seconds += 1
        events += listener.hear(mono[at:at + SAMPLE_RATE])
    return events


def new_listener(clock: Clock, new_scanner: Callable[[], Ears] = Ears) -> Listener:
    listener = Listener(new_scanner, SAMPLE_RATE, clock=clock, now=lambda: NOON)
    listener.event(Happening.CONNECTED)
    return listener


def tuned_in(url: str, *, until: int, **more: object) -> list[Event]:
    """The first `until` things that happen at a URL, apart from what is announced."""
    events, stop = [], threading.Event()
    listener = Listener(Ears, SAMPLE_RATE)
    more = {"stall": 5.0, **more}
    for event in follow(lambda: http.connect(url, timeout=5), listener, SAMPLE_RATE, name="radio", stop=stop, **more):
        events.append(event)
        if len(told(events)) >= until:
            break
    return events


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("songprint.listen.FIRST_DELAY", 0.05)
    monkeypatch.setattr("songprint.listen.LOOK_SECONDS", 1.0)


# What a listener tells

def test_a_song_is_told_when_it_is_heard_and_when_it_is_over():
    clock = Clock()
    events = listened(new_listener(clock), clock, (None, 5), (1, 20), (None, 10))
    started, ended = events
    assert told(events) == ["started 1", "ended 1"]
    assert started.position <= 5 + 10
    assert ended.when(ended.segment.heard.start) == NOON + timedelta(seconds=5)
    assert ended.when(ended.segment.heard.end) == NOON + timedelta(seconds=25)
    assert ended.seconds == 20


def test_songs_that_follow_each_other_and_a_repeat():
    clock = Clock()
    events = listened(new_listener(clock), clock, (1, 10), (2, 10), (None, 30), (1, 10), (None, 5))
    assert told(events) == ["started 1", "started 2", "ended 1", "ended 2", "started 1", "ended 1"]


def test_a_song_shorter_than_two_looks_is_started_and_ended_at_once():
    class Late(Ears):
        def current(self):
            return []

    clock = Clock()
    events = listened(new_listener(clock, Late), clock, (None, 3), (3, 4), (None, 8))
    assert told(events) == ["started 3", "ended 3"]


def test_a_name_that_did_not_hold_is_withdrawn():
    class Hasty(Ears):
        def current(self):
            return [radio._segment(4, 1, 2)] if self._seconds < 4 else []

    clock = Clock()
    assert told(listened(new_listener(clock, Hasty), clock, (None, 90))) == ["started 4", "withdrawn 4"]


def test_what_is_heard_when_the_sound_breaks_off_ends_there():
    clock = Clock()
    listener = new_listener(clock)
    assert told(listened(listener, clock, (2, 10))) == ["started 2"]
    [ended] = listener.pause()
    assert (ended.what, ended.segment.heard.end) == (Happening.ENDED, 10)
    clock.seconds += 50
    [started] = listened(listener, clock, (2, 5))
    assert started.segment.heard.start == pytest.approx(60, abs=2)


def test_a_stream_that_lags_behind_the_clock_is_told_by_the_clock():
    clock = Clock()
    listener = new_listener(clock)
    listened(listener, clock, (None, 10))
    clock.seconds += 8                      # nothing comes, nothing breaks
    events = listened(listener, clock, (None, 2), (1, 10), (None, 5))
    assert events[-1].segment.heard.start == pytest.approx(20, abs=1)


def test_sound_that_comes_faster_than_it_is_played_is_told_by_its_own_seconds():
    clock, events = Clock(), []
    listener = new_listener(clock)
    mono = radio.samples((None, 30), (1, 20), (None, 10), sample_rate=SAMPLE_RATE)[0]
    for at in range(0, len(mono), SAMPLE_RATE):
        events += listener.hear(mono[at:at + SAMPLE_RATE])
    assert (events[-1].segment.heard.start, events[-1].segment.heard.end) == (30, 50)


def test_after_an_hour_fresh_ears_are_taken_when_no_song_is_heard(monkeypatch):
    made = []
    monkeypatch.setattr("songprint.listen.EARS_SECONDS", 60.0)
    monkeypatch.setattr("songprint.listen.EARS_SECONDS_AT_MOST", 200.0)
    clock = Clock()
    listener = new_listener(clock, lambda: made.append(Ears()) or made[-1])
    events = listened(listener, clock, (None, 55), (1, 20), (None, 15), (2, 20), (None, 10))
    assert len(made) == 2
    assert told(events) == ["started 1", "ended 1", "started 2", "ended 2"]
    assert events[-1].segment.heard.start == 90
    assert told(listened(listener, clock, (3, 250))) == ["started 3", "ended 3", "started 3"]     # 200 s at most


# The shape of what is told

def test_events_have_these_json_keys():
    clock = Clock()
    listener = new_listener(clock)
    started, ended = listened(listener, clock, (None, 5), (1, 20), (None, 10))
    value = export.event_object(ended)
    assert value["event"] == "ended" and value["at"] == "2026-08-07T12:00:27.000Z"
    assert (value["started_at"], value["ended_at"]) == ("2026-08-07T12:00:05.000Z", "2026-08-07T12:00:25.000Z")
    assert set(value) == {"event", "at", "position", "started_at", "ended_at", "seconds",
                          *export.segment_object(ended.segment)}
    assert "ended_at" not in export.event_object(started)
    assert export.event_object(Event(Happening.GAP, NOON, 3.0, text="it stalled")) == {
        "event": "gap", "at": "2026-08-07T12:00:03.000Z", "position": 3.0, "reason": "it stalled"}
    assert export.event_object(Event(Happening.RECONNECTED, NOON, 9.5, text="FM", seconds=6.5)) == {
        "event": "reconnected", "at": "2026-08-07T12:00:09.500Z", "position": 9.5, "station": "FM", "seconds": 6.5}
    assert export.event_object(Event(Happening.ANNOUNCED, NOON, 0.0, text="A - B"))["title"] == "A - B"


# Over the air

@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".opus", ".aac", ".flac", ".ts"])
def test_every_usual_format_is_listened_to(station, tmp_path, suffix):
    tuned = station(Answer(radio.encoded(tmp_path, suffix, (None, 2), (1, 8), (None, 6)), stalls=True))
    events = tuned_in(tuned.url, until=3)
    assert told(events) == ["connected", "started 1", "ended 1"]
    assert events[0].text == "Test FM"
    assert events[-1].seconds == pytest.approx(8, abs=1)


def test_a_stream_that_breaks_off_is_connected_again_and_the_gap_is_told(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (None, 2), (1, 8))
    events = tuned_in(station(Answer(sound)).url, until=7)
    assert told(events) == ["connected", "started 1", "ended 1", "gap", "reconnected", "started 1", "ended 1"]
    assert "ended the stream" in events[3].text
    assert 0.03 < events[4].seconds < 30


def test_a_stream_that_stalls_is_connected_again(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (2, 8))
    events = tuned_in(station(Answer(sound, stalls=True), Answer(sound)).url, until=5, stall=0.6)
    assert told(events)[:5] == ["connected", "started 2", "ended 2", "gap", "reconnected"]
    assert "nothing came for 0.6 s" in events[3].text


def test_attempts_to_connect_again_are_further_and_further_apart(station, tmp_path, monkeypatch):
    waits = []
    stop = threading.Event()
    monkeypatch.setattr("songprint.listen.LONGEST_DELAY", 0.3)
    monkeypatch.setattr(stop, "wait", lambda seconds: waits.append(seconds) or (len(waits) >= 6 and stop.set()))
    tuned = station(Answer(radio.encoded(tmp_path, ".mp3", (1, 3))), Answer(head="HTTP/1.0 503 Later"))
    events = list(follow(lambda: http.connect(tuned.url, timeout=5), Listener(Ears, SAMPLE_RATE), SAMPLE_RATE,
                         name="radio", stop=stop))
    assert told(events) == ["connected", "started 1", "ended 1", "gap", "finished"]
    assert [round(wait, 3) for wait in waits] == [pytest.approx(delay, rel=0.21)
                                                  for delay in (0.05, 0.1, 0.2, 0.3, 0.3, 0.3)]


def test_a_station_that_does_not_come_back_is_given_up_if_that_was_wanted(station, tmp_path):
    tuned = station(Answer(radio.encoded(tmp_path, ".mp3", (1, 3))), Answer(head="HTTP/1.0 503 Later"))
    with pytest.raises(StreamError, match=r"did not come back for 0.2 s: cannot open http.*answers 503 Later"):
        tuned_in(tuned.url, until=99, give_up=0.2)


def test_a_file_that_was_heard_to_its_end_is_finished(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (1, 6))
    events = tuned_in(station(Answer(sound, f"HTTP/1.1 200 OK\r\nContent-Length: {len(sound)}")).url, until=99)
    assert told(events) == ["connected", "started 1", "ended 1", "finished"]


def test_a_file_that_breaks_off_before_its_length_is_connected_again(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (1, 6))
    events = tuned_in(station(Answer(sound, f"HTTP/1.1 200 OK\r\nContent-Length: {len(sound) + 9}")).url, until=5)
    assert told(events)[3:] == ["gap", "reconnected"]
    assert "broke off with 9 bytes to go" in events[3].text


def test_what_the_station_announces_is_told_and_the_sound_stays_whole(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (1, 8), (None, 4))
    tuned = station(Answer(sound, titles=("Band - It's so", "", "Für Elise"), stalls=True))
    events = tuned_in(tuned.url, until=3)
    assert told(events) == ["connected", "started 1", "ended 1"]
    assert [event.text for event in events if event.what == Happening.ANNOUNCED] == ["Band - It's so", "", "Für Elise"]
    assert "Icy-Metadata: 1" in tuned.requests[0].title()


def test_an_old_shoutcast_answer_is_understood(station, tmp_path):
    sound = radio.encoded(tmp_path, ".mp3", (1, 6), (None, 4))
    tuned = station(Answer(sound, "ICY 200 OK\r\nicy-name:Old FM\r\ncontent-type:audio/mpeg", stalls=True))
    events = tuned_in(tuned.url, until=2)
    assert told(events) == ["connected", "started 1"] and events[0].text == "Old FM"


def test_a_chain_of_ogg_streams_is_one_stream(station, tmp_path):
    sound = radio.encoded(tmp_path, ".ogg", (1, 6)) + radio.encoded(tmp_path, ".ogg", (2, 6), (None, 4))
    assert told(tuned_in(station(Answer(sound, stalls=True)).url, until=5)) == [
        "connected", "started 1", "started 2", "ended 1", "ended 2"]


# Where the sound is

def test_redirections_and_playlists_lead_to_the_stream(station, tmp_path):
    sound = Answer(radio.encoded(tmp_path, ".mp3", (1, 6)), stalls=True)
    moved = Answer(head="HTTP/1.1 302 Found\r\nLocation: /list.pls\r\nContent-Length: 0")
    pls = Answer(b"[playlist]\nNumberOfEntries=1\nFile1=/radio.m3u\n", "HTTP/1.0 200 OK\r\nContent-Type: audio/x-scpls")
    m3u = Answer(b"#EXTM3U\n#EXTINF:-1,Test\n/stream\n", "HTTP/1.0 200 OK\r\nContent-Type: audio/x-mpegurl")
    tuned = station(old=(moved,), list__pls=(pls,), radio__m3u=(m3u,), stream=(sound,))
    assert told(tuned_in(f"{tuned.url}/old", until=2)) == ["connected", "started 1"]
    assert [request.split()[1] for request in tuned.requests] == ["/old", "/list.pls", "/radio.m3u", "/stream"]


@pytest.mark.parametrize("location, said", [
    ("file:///etc/passwd", "file:///etc/passwd' is not allowed"),
    ("ftp://host/x", "leads to ftp://host/x, which is no web radio"),
    ("{url}/again", "redirect error that would lead to an infinite loop"),
])
def test_a_redirection_leads_only_to_another_web_radio_and_not_in_circles(station, location, said):
    tuned = station(Answer(head=f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0"))
    with pytest.raises(StreamError, match=f"(?s){said}"):
        http.connect(tuned.url, timeout=5)


@pytest.mark.parametrize("named", ["file:///etc/passwd", "/etc/passwd", "concat:/etc/passwd", "ftp://h/x"])
def test_a_playlist_names_only_web_radios(station, named):
    tuned = station(list__m3u=(Answer(named.encode(), "HTTP/1.0 200 OK\r\nContent-Type: audio/x-mpegurl"),),
                    etc=(Answer(b"x"),))
    tuned.answers["/etc/passwd"] = (Answer(head="HTTP/1.0 404 Not Found"),)
    with pytest.raises(StreamError, match=r"it is no URL of a web radio|the server answers 404"):
        http.connect(f"{tuned.url}/list.m3u", timeout=5)


def test_playlists_that_name_each_other_come_to_an_end(station):
    tuned = station(a__m3u=(Answer(b"/a.m3u", "HTTP/1.0 200 OK\r\nContent-Type: audio/x-mpegurl"),))
    with pytest.raises(StreamError, match="its playlists name nothing but playlists"):
        http.connect(f"{tuned.url}/a.m3u", timeout=5)


def test_a_password_is_sent_to_the_station_alone_and_never_shown(station, tmp_path):
    there = station(Answer(head="HTTP/1.0 404 Not Found"))
    tuned = station(Answer(head=f"HTTP/1.1 302 Found\r\nLocation: {there.url}/x?key=123\r\nContent-Length: 0"))
    with pytest.raises(StreamError) as caught:
        http.connect(tuned.url.replace("//", "//me:secret@"), timeout=5)
    assert "Authorization: Basic bWU6c2VjcmV0" in tuned.requests[0]
    assert "Authorization" not in there.requests[0]
    assert "secret" not in str(caught.value) and "123" not in str(caught.value)


@pytest.mark.parametrize("url, said", [
    ("http://127.0.0.1:1/", "Connection refused"), ("http://no.such.host.invalid/", "there is no such host"),
    ("http://host:port/", "it is no URL"), ("ftp://host/", "it is no URL of a web radio"), ("http://", "it is no URL"),
])
def test_what_cannot_be_opened_is_said_in_words(url, said):
    with pytest.raises(StreamError, match=said):
        http.connect(url, timeout=2)


@pytest.mark.parametrize("body, said", [
    (b"<!doctype html><title>Radio</title>", "it is text, not sound"), (b"just words", "it is text, not sound"),
    (b"#EXTM3U\nfile:///etc/passwd", "it is a playlist"), (bytes(range(256)) * 40, "FFmpeg does not know its format"),
    (b"", "nothing came|ended the stream"),
])
def test_what_is_no_sound_is_an_error_at_the_first_time(station, body, said):
    with pytest.raises(StreamError, match=said):
        tuned_in(station(Answer(body)).url, until=99)


def test_a_server_that_never_answers_is_an_error_after_a_while(station):
    with pytest.raises(StreamError, match=r"nothing came for 0.5 s"):
        tuned_in(station(Answer(head="HTTP/1.0 200 OK", stalls=True)).url, until=99, stall=0.5)


# HLS

def hls(*lines: str) -> Answer:
    return Answer("\n".join(["#EXTM3U", *lines]).encode(), "HTTP/1.0 200 OK\r\nContent-Type: application/x-mpegURL")


def test_hls_is_listened_to_piece_by_piece(station, tmp_path):
    pieces = [Answer(radio.encoded(tmp_path, ".ts", plan), "HTTP/1.0 200 OK") for plan in ((1, 5), (2, 5), (None, 5))]
    begin = ("#EXT-X-TARGETDURATION:1", "#EXT-X-MEDIA-SEQUENCE:7", "#EXTINF:5,", "/a.ts", "#EXTINF:5,", "/b.ts")
    tuned = station(
        live__m3u8=(hls('#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="mp4a.40.2"', "/high.m3u8",
                        "#EXT-X-STREAM-INF:BANDWIDTH=96000", "/low.m3u8"),),
        low__m3u8=(hls(*begin), hls(*begin), hls(*begin, "#EXTINF:5,", "/c.ts", "#EXT-X-ENDLIST")),
        a__ts=(pieces[0],), b__ts=(pieces[1],), c__ts=(pieces[2],))
    events = tuned_in(f"{tuned.url}/live.m3u8", until=99)
    assert told(events) == ["connected", "started 1", "started 2", "ended 1", "ended 2", "finished"]


def test_hls_in_mp4_has_its_header_first(station, tmp_path):
    import av

    with av.open(str(tmp_path / "whole.mp4"), "w", options={"movflags": "frag_keyframe+empty_moov+default_base_moof",
                                                            "frag_duration": "1000000"}) as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        radio.soundfiles._write_audio(container, stream, radio.samples((1, 6), (None, 4)), 44100, "stereo")
    whole = (tmp_path / "whole.mp4").read_bytes()
    cut = whole.index(b"moof") - 4
    tuned = station(
        live__m3u8=(hls("#EXT-X-TARGETDURATION:9", '#EXT-X-MAP:URI="/head.mp4"', "/rest.m4s", "#EXT-X-ENDLIST"),),
        head__mp4=(Answer(whole[:cut], "HTTP/1.0 200 OK"),), rest__m4s=(Answer(whole[cut:], "HTTP/1.0 200 OK"),))
    assert told(tuned_in(f"{tuned.url}/live.m3u8", until=99)) == ["connected", "started 1", "ended 1", "finished"]


@pytest.mark.parametrize("line, said", [
    ('#EXT-X-KEY:METHOD=AES-128,URI="/key"', "it is encrypted"), ("#EXT-X-BYTERANGE:100@0", "parts of files"),
])
def test_hls_that_cannot_be_read_safely_is_refused(station, line, said):
    tuned = station(live__m3u8=(hls("#EXT-X-TARGETDURATION:5", line, "/a.ts"),))
    with pytest.raises(StreamError, match=said):
        tuned_in(f"{tuned.url}/live.m3u8", until=99)


def test_hls_pieces_come_over_http_alone(station):
    tuned = station(live__m3u8=(hls("#EXT-X-TARGETDURATION:5", "file:///etc/passwd"),))
    with pytest.raises(StreamError, match="it is no URL of a web radio"):
        tuned_in(f"{tuned.url}/live.m3u8", until=99)


# From a pipe

def piped(sound: bytes, raw: str | None = None) -> list[Event]:
    return list(follow(lambda: Pipe(io.BytesIO(sound)), Listener(Ears, SAMPLE_RATE), SAMPLE_RATE, name="the input",
                       stall=None, reconnect=False, raw=raw and live.Raw.parsed(raw)))


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".ogg", ".flac"])
def test_encoded_sound_comes_through_a_pipe(tmp_path, suffix):
    events = piped(radio.encoded(tmp_path, suffix, (None, 3), (1, 8), (None, 5)))
    assert told(events) == ["connected", "started 1", "ended 1", "finished"]
    assert events[2].segment.heard.start == pytest.approx(3, abs=1)
    assert events[3].position == pytest.approx(16, abs=1)


@pytest.mark.parametrize("form, kind, scale",
                         [("s16le", "<i2", 32767), ("f32be", ">f4", 1), ("s32le", "<i4", 2**31 - 256)])
def test_samples_come_through_a_pipe_without_a_header(form, kind, scale):
    sound = (radio.samples((None, 3), (2, 8), (None, 5)).T * scale).astype(kind).tobytes()
    events = piped(sound, f"44100:2:{form}")
    assert told(events) == ["connected", "started 2", "ended 2", "finished"]
    assert events[2].segment.heard.start == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize("raw, said", [
    ("44100", "is not RATE:CHANNELS:FORMAT"), ("44100:0:s16le", "is not RATE"), ("1:2:s16le", "is not RATE"),
    ("44100:2:mp3", "mp3 is no format of samples; known are u8"), ("44100:2:concat", "is no format"),
])
def test_a_form_of_samples_that_makes_no_sense_is_an_error(raw, said):
    with pytest.raises(StreamError, match=said):
        live.Raw.parsed(raw)


def test_an_mp4_that_cannot_be_read_from_a_pipe_says_why(tmp_path, random):
    noise = random.normal(0, 0.2, 30 * 44100)
    with pytest.raises(StreamError, match="index is at its end"):
        piped(radio.soundfiles.write(tmp_path / "noise.m4a", noise).read_bytes())


# Stopping, reading ahead

def test_listening_stops_at_once_when_it_is_told_to_also_while_nothing_comes(station, tmp_path):
    stop = threading.Event()
    tuned = station(Answer(radio.encoded(tmp_path, ".mp3", (1, 5)), stalls=True))
    events = []
    threading.Timer(0.7, stop.set).start()
    for event in follow(lambda: http.connect(tuned.url, timeout=20), Listener(Ears, SAMPLE_RATE), SAMPLE_RATE,
                        name="radio", stop=stop, stall=20):
        events.append(event)
    assert told(events) == ["connected", "started 1", "ended 1", "finished"]


def test_reading_ahead_never_raises_and_says_why_it_ended():
    class Broken(Pipe):
        def read(self, size: int) -> bytes:
            raise StreamError("it broke")

    with ReadAhead(lambda: Broken(io.BytesIO()), stop=threading.Event(), patience=5) as ahead:
        ahead.opened()
        assert ahead.read(100) == b"" == ahead.read(100)
        assert str(ahead.failure) == "it broke" and ahead.ended


def test_reading_ahead_gives_every_byte_in_its_order():
    sent = np.random.default_rng(3).bytes(300_000)
    with ReadAhead(lambda: Pipe(io.BytesIO(sent)), stop=threading.Event(), patience=5) as ahead:
        ahead.opened()
        assert b"".join(iter(lambda: ahead.read(777), b"")) == sent
        assert ahead.failure is None and ahead.ended


# The log

def test_the_log_has_a_file_for_each_day_of_utc(tmp_path):
    log = DailyLog(tmp_path / "log")
    for hours in (0, 11.5, 12.5, 40):
        log.write(Event(Happening.GAP, NOON, hours * 3600, text="a\nb"))
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [
        "2026-08-07.jsonl", "2026-08-08.jsonl", "2026-08-09.jsonl"]
    lines = (tmp_path / "log/2026-08-07.jsonl").read_text().splitlines()
    assert [json.loads(line)["at"] for line in lines] == ["2026-08-07T12:00:00.000Z", "2026-08-07T23:30:00.000Z"]


def test_a_log_that_cannot_be_kept_is_an_error_and_a_full_disk_is_said_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with pytest.raises(SongprintError, match="cannot keep a log in"):
        DailyLog(tmp_path / "file")
    log = DailyLog(tmp_path / "log")
    (tmp_path / "log/2026-08-07.jsonl").mkdir()
    for _ in range(3):
        log.write(Event(Happening.FINISHED, NOON, 0.0))
    assert caplog.text.count("cannot write the log") == 1


def test_the_ears_of_these_tests_hear(tmp_path):
    ears = Ears()
    ears.hear(radio.samples((None, 2), (3, 4), sample_rate=SAMPLE_RATE)[0])
    assert isinstance(ears.finish(), Timeline)
    assert [each.recording.id for each in ears.current()] == [3]
