"""Listening: the events of a stream with songs and pauses, input from pipes, and the log."""

from __future__ import annotations

import gc
import io
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import FunctionType, ModuleType

import numpy as np
import pytest
from support import radio, toy
from support.radio import SAMPLE_RATE, ToneScanner, outline

import songprint
from songprint.audio.channels import Block
from songprint.audio.streams import live
from songprint.audio.streams.ahead import Pipe, ReadAhead
from songprint.errors import SongprintError, StreamError
from songprint.formats import objects
from songprint.scan import sounds
from songprint.scan.listen import DailyLog, Listener, follow
from songprint.scan.scan import Scanner
from songprint.types import Event, EventType, Timeline

NOON = datetime(2026, 8, 7, 12, tzinfo=UTC)


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def listened(listener: Listener, clock: Clock, *plan: tuple[int | None, float]) -> list[Event]:
    """Feed a plan of songs and silence in real time, and return the events."""
    events = []
    mono = radio.samples(*plan, sample_rate=SAMPLE_RATE)[0]
    for at in range(0, len(mono), SAMPLE_RATE):
        clock.seconds += 1
        events += listener.feed(Block(mono[at : at + SAMPLE_RATE]))
    return events


def new_listener(clock: Clock, new_scanner: Callable[[], ToneScanner] = ToneScanner) -> Listener:
    listener = Listener(new_scanner, SAMPLE_RATE, clock=clock, now=lambda: NOON)
    listener.event(EventType.CONNECTED)
    return listener


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("songprint.scan.listen.FIRST_DELAY", 0.05)
    monkeypatch.setattr("songprint.scan.listen.UPDATE_SECONDS", 1.0)


# Events


def test_a_song_is_reported_when_it_starts_and_when_it_ends():
    clock = Clock()
    events = listened(new_listener(clock), clock, (None, 5), (1, 20), (None, 10))
    started, ended = events
    assert outline(events) == ["started 1", "ended 1"]
    assert started.position <= 5 + 10
    assert ended.when(ended.segment.interval.start) == NOON + timedelta(seconds=5)
    assert ended.when(ended.segment.interval.end) == NOON + timedelta(seconds=25)
    assert ended.seconds == 20


def test_consecutive_songs_and_a_repetition_are_separate_events():
    clock = Clock()
    events = listened(new_listener(clock), clock, (1, 10), (2, 10), (None, 30), (1, 10), (None, 5))
    assert outline(events) == ["started 1", "started 2", "ended 1", "ended 2", "started 1", "ended 1"]


def test_a_song_between_two_updates_starts_and_ends_together():
    class Late(ToneScanner):
        def current(self):
            return []

    clock = Clock()
    events = listened(new_listener(clock, Late), clock, (None, 3), (3, 4), (None, 8))
    assert outline(events) == ["started 3", "ended 3"]


def test_a_false_detection_is_withdrawn():
    class Hasty(ToneScanner):
        def current(self):
            return [radio._segment(4, 1, 2)] if self._seconds < 4 else []

    clock = Clock()
    assert outline(listened(new_listener(clock, Hasty), clock, (None, 90))) == ["started 4", "withdrawn 4"]


def test_a_song_ends_where_the_audio_breaks_off():
    clock = Clock()
    listener = new_listener(clock)
    assert outline(listened(listener, clock, (2, 10))) == ["started 2"]
    [ended] = listener.pause()
    assert (ended.type, ended.segment.interval.end) == (EventType.ENDED, 10)
    clock.seconds += 50
    [started] = listened(listener, clock, (2, 5))
    assert started.segment.interval.start == pytest.approx(60, abs=2)


def test_the_clock_determines_positions_after_a_pause_of_the_stream():
    clock = Clock()
    listener = new_listener(clock)
    listened(listener, clock, (None, 10))
    clock.seconds += 8  # the stream pauses without breaking
    events = listened(listener, clock, (None, 2), (1, 10), (None, 5))
    assert events[-1].segment.interval.start == pytest.approx(20, abs=1)


def test_audio_determines_positions_if_it_arrives_faster_than_real_time():
    clock, events = Clock(), []
    listener = new_listener(clock)
    mono = radio.samples((None, 30), (1, 20), (None, 10), sample_rate=SAMPLE_RATE)[0]
    for at in range(0, len(mono), SAMPLE_RATE):
        events += listener.feed(Block(mono[at : at + SAMPLE_RATE]))
    assert (events[-1].segment.interval.start, events[-1].segment.interval.end) == (30, 50)


def test_after_an_hour_a_new_scanner_starts_between_two_songs(monkeypatch):
    made = []
    monkeypatch.setattr("songprint.scan.listen.SCANNER_SECONDS", 60.0)
    monkeypatch.setattr("songprint.scan.listen.MAX_SCANNER_SECONDS", 200.0)
    clock = Clock()
    listener = new_listener(clock, lambda: made.append(ToneScanner()) or made[-1])
    events = listened(listener, clock, (None, 55), (1, 20), (None, 15), (2, 20), (None, 10))
    assert len(made) == 2
    assert outline(events) == ["started 1", "ended 1", "started 2", "ended 2"]
    assert events[-1].segment.interval.start == 90
    assert outline(listened(listener, clock, (3, 250))) == ["started 3", "ended 3", "started 3"]  # 200 s at most


# JSON


def test_events_have_these_json_keys():
    clock = Clock()
    listener = new_listener(clock)
    started, ended = listened(listener, clock, (None, 5), (1, 20), (None, 10))
    value = objects.event_object(ended)
    assert value["event"] == "ended" and value["at"] == "2026-08-07T12:00:27.000Z"
    assert (value["started_at"], value["ended_at"]) == ("2026-08-07T12:00:05.000Z", "2026-08-07T12:00:25.000Z")
    assert set(value) == {
        "event",
        "at",
        "position",
        "started_at",
        "ended_at",
        "seconds",
        *objects.segment_object(ended.segment),
    }
    assert "ended_at" not in objects.event_object(started)
    assert objects.event_object(Event(EventType.GAP, NOON, 3.0, text="it stalled")) == {
        "event": "gap",
        "at": "2026-08-07T12:00:03.000Z",
        "position": 3.0,
        "reason": "it stalled",
    }
    assert objects.event_object(Event(EventType.RECONNECTED, NOON, 9.5, text="FM", seconds=6.5)) == {
        "event": "reconnected",
        "at": "2026-08-07T12:00:09.500Z",
        "position": 9.5,
        "station": "FM",
        "seconds": 6.5,
    }
    assert objects.event_object(Event(EventType.ANNOUNCED, NOON, 0.0, text="A - B"))["title"] == "A - B"


# Pipes


def piped(sound: bytes, raw: str | None = None) -> list[Event]:
    return list(
        follow(
            lambda: Pipe(io.BytesIO(sound)),
            Listener(ToneScanner, SAMPLE_RATE),
            SAMPLE_RATE,
            name="the input",
            stall=None,
            reconnect=False,
            raw=raw and live.Raw.parsed(raw),
        )
    )


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".ogg", ".flac"])
def test_encoded_audio_is_read_from_a_pipe(tmp_path, suffix):
    events = piped(radio.encoded(tmp_path, suffix, (None, 3), (1, 8), (None, 5)))
    assert outline(events) == ["connected", "started 1", "ended 1", "finished"]
    assert events[2].segment.interval.start == pytest.approx(3, abs=1)
    assert events[3].position == pytest.approx(16, abs=1)


@pytest.mark.parametrize(
    "form, kind, scale", [("s16le", "<i2", 32767), ("f32be", ">f4", 1), ("s32le", "<i4", 2**31 - 256)]
)
def test_samples_without_a_header_are_read_from_a_pipe(form, kind, scale):
    sound = (radio.samples((None, 3), (2, 8), (None, 5)).T * scale).astype(kind).tobytes()
    events = piped(sound, f"44100:2:{form}")
    assert outline(events) == ["connected", "started 2", "ended 2", "finished"]
    assert events[2].segment.interval.start == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize(
    "raw, message",
    [
        ("44100", "is not RATE:CHANNELS:FORMAT"),
        ("44100:0:s16le", "is not RATE"),
        ("1:2:s16le", "is not RATE"),
        ("44100:2:mp3", "mp3 is not a sample format. Use one of u8"),
        ("44100:2:concat", "concat is not a sample format"),
    ],
)
def test_an_invalid_sample_format_is_an_error(raw, message):
    with pytest.raises(StreamError, match=message):
        live.Raw.parsed(raw)


def test_an_mp4_with_its_index_at_the_end_cannot_be_read_from_a_pipe(tmp_path, random):
    noise = random.normal(0, 0.2, 30 * 44100)
    with pytest.raises(StreamError, match="with its index at the end"):
        piped(radio.soundfiles.write(tmp_path / "noise.m4a", noise).read_bytes())


# Reading ahead


def test_reading_ahead_stores_the_error_instead_of_raising_it():
    class Broken(Pipe):
        def read(self, size: int) -> bytes:
            raise StreamError("it broke")

    with ReadAhead(lambda: Broken(io.BytesIO()), stop=threading.Event(), patience=5) as ahead:
        ahead.opened()
        assert ahead.read(100) == b"" == ahead.read(100)
        assert str(ahead.failure) == "it broke" and ahead.ended


def test_reading_ahead_returns_every_byte_in_order():
    sent = np.random.default_rng(3).bytes(300_000)
    with ReadAhead(lambda: Pipe(io.BytesIO(sent)), stop=threading.Event(), patience=5) as ahead:
        ahead.opened()
        assert b"".join(iter(lambda: ahead.read(777), b"")) == sent
        assert ahead.failure is None and ahead.ended


# The log


def test_the_log_has_one_file_per_utc_day(tmp_path):
    log = DailyLog(tmp_path / "log")
    for hours in (0, 11.5, 12.5, 40):
        log.write(Event(EventType.GAP, NOON, hours * 3600, text="a\nb"))
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [
        "2026-08-07.jsonl",
        "2026-08-08.jsonl",
        "2026-08-09.jsonl",
    ]
    lines = (tmp_path / "log/2026-08-07.jsonl").read_text().splitlines()
    assert [json.loads(line)["at"] for line in lines] == ["2026-08-07T12:00:00.000Z", "2026-08-07T23:30:00.000Z"]


def test_an_unusable_log_folder_is_an_error_and_later_failures_are_logged_once(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with pytest.raises(SongprintError, match="cannot write a log in"):
        DailyLog(tmp_path / "file")
    log = DailyLog(tmp_path / "log")
    (tmp_path / "log/2026-08-07.jsonl").mkdir()
    for _ in range(3):
        log.write(Event(EventType.FINISHED, NOON, 0.0))
    assert caplog.text.count("cannot write the log") == 1


def test_the_tone_scanner_recognises_tones(tmp_path):
    scanner = ToneScanner()
    scanner.feed(radio.samples((None, 2), (3, 4), sample_rate=SAMPLE_RATE)[0])
    assert isinstance(scanner.finish(), Timeline)
    assert [each.recording.id for each in scanner.current()] == [3]


def test_the_memory_of_a_listener_does_not_grow_with_the_stream(tmp_path, monkeypatch):
    monkeypatch.setattr("songprint.scan.listen.UPDATE_SECONDS", 30.0)
    clock, sizes = Clock(), []
    with songprint.open(tmp_path / "library", create=True, encoder=toy.DecisiveToyEncoder()) as library:
        library.add([toy.write_song(tmp_path / "Band - Song.wav", 1, 30.0)], workers=1)
        listener = Listener(lambda: Scanner(library.store), toy.SAMPLE_RATE, clock=clock, now=lambda: NOON)
        # Silence is not searched, which takes most of the time.
        programme = np.concatenate([toy.cut(1, 0, 10), toy.silence(200)])
        events = []
        for _ in range(3):
            for second in np.split(programme, 210):
                clock.seconds += 1
                events += listener.feed(Block(second))
            sizes.append(kept(listener))
    assert outline(events) == ["started 1", "ended 1"] * 3
    _, (objects, arrays), (objects_later, arrays_later) = sizes
    # A song that has ended is kept until the scanner is replaced, and 16 bytes per second: the classes of its sound.
    # These are joined to one array now and then.
    assert objects_later - objects < 100 + sounds.JOINED
    assert arrays_later - arrays < 210 * 20


def kept(root: object) -> tuple[int, int]:
    """The number of objects that are reachable from an object, and the bytes of their arrays."""
    seen: dict[int, object] = {}
    found = [root]
    while found:
        each = found.pop()
        if id(each) not in seen and not isinstance(each, type | ModuleType | FunctionType):
            seen[id(each)] = each
            found += gc.get_referents(each)
            if isinstance(each, np.ndarray):
                found.append(each.base)
    arrays = [each for each in seen.values() if isinstance(each, np.ndarray) and each.base is None]
    return len(seen), sum(each.nbytes for each in arrays)
