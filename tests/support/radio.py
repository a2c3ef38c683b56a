"""A local web radio for tests: it can send titles, stall, close the connection early, redirect and recover."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from support import soundfiles

from songprint.types import Event, EventType, Interval, Kind, Recording, Segment, Sound, Tags, Timeline

SAMPLE_RATE = 8000
TONES = (400.0, 700.0, 1000.0, 1300.0)  # Hz; `ToneScanner` identifies them as recordings 1 to 4
TITLES_EVERY = 4096  # bytes of audio


@dataclass
class Answer:
    """The response to one connection: a header, audio, and then silence (`stalls`) or the end of the connection."""

    sound: bytes = b""
    head: str = "HTTP/1.0 200 OK\r\nContent-Type: audio/mpeg\r\nicy-name: Test FM"
    stalls: bool = False
    titles: tuple[str, ...] = ()  # one is sent after every TITLES_EVERY bytes of audio
    seconds: float = 0.0  # time in which the audio is sent


@dataclass
class Radio:
    """A server that sends the answers in order, one per connection, and then repeats the last one.

    A dictionary contains the answers by path.
    """

    answers: tuple[Answer, ...] | dict[str, tuple[Answer, ...]]
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._closed = threading.Event()
        self._count: dict[str, int] = {}
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._closed.set()
        self._socket.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(OSError):
                threading.Thread(target=self._answer, args=(self._socket.accept()[0],), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += connection.recv(1)
            self.requests.append(request.decode())
            path = request.split(b" ")[1].decode()
            answers = self.answers[path] if isinstance(self.answers, dict) else self.answers
            number = self._count[path] = self._count.get(path, -1) + 1
            answer = answers[min(number, len(answers) - 1)]
            self._send(connection, answer)
            if answer.stalls:
                self._closed.wait(30)

    def _send(self, connection: socket.socket, answer: Answer) -> None:
        metaint = f"\r\nicy-metaint: {TITLES_EVERY}" if answer.titles else ""
        connection.sendall(
            (answer.head.replace("{url}", self.url) + metaint + "\r\n\r\n").encode(errors="surrogateescape")
        )
        sound = b"".join(_with_titles(answer.sound, answer.titles)) if answer.titles else answer.sound
        pieces = range(0, len(sound), 1400)
        for at in pieces:
            connection.sendall(sound[at : at + 1400])
            if answer.seconds:
                time.sleep(answer.seconds / len(pieces))


def _with_titles(sound: bytes, titles: tuple[str, ...]) -> Iterator[bytes]:
    for number, at in enumerate(range(0, len(sound), TITLES_EVERY)):
        yield sound[at : at + TITLES_EVERY]
        if at + TITLES_EVERY <= len(sound):
            text = f"StreamTitle='{titles[number]}';StreamUrl='';" if number < len(titles) else ""
            title = text.encode(errors="surrogateescape")
            padded = title + bytes(-len(title) % 16)
            yield bytes([len(padded) // 16]) + padded


def samples(*plan: tuple[int | None, float], sample_rate: int = 44100) -> np.ndarray:
    """Render a plan to (2, n) float32: `(2, 5.0)` is five seconds of song 2, `(None, 5.0)` five seconds of silence."""
    parts = [
        np.zeros((2, round(seconds * sample_rate)), np.float32)
        if song is None
        else soundfiles.tone(TONES[song - 1], seconds, sample_rate, 2)
        for song, seconds in plan
    ]
    return np.concatenate(parts, axis=1)


def encoded(folder: Path, suffix: str, *plan: tuple[int | None, float]) -> bytes:
    """Render a plan, encode it in the format of the suffix, and return the bytes of the file."""
    rate = 48000 if suffix == ".opus" else 44100
    return soundfiles.write(folder / f"sound{suffix}", samples(*plan, sample_rate=rate), rate).read_bytes()


class ToneScanner:
    """A scanner that identifies four songs, each of one tone. Segments settle two seconds after their end."""

    def __init__(self) -> None:
        self._waiting = np.zeros(0, np.float32)
        self._seconds = 0
        self._runs: list[list[int]] = []  # song, start and end in seconds
        self._reported = 0

    @property
    def sounds(self) -> list[tuple[Interval, Sound]]:
        return [(Interval(0.0, float(self._seconds)), Sound.SILENCE)] if self._seconds else []

    @property
    def settled_until(self) -> float:
        return float(max(0, self._seconds - 2))

    def feed(self, block: np.ndarray) -> None:
        self._waiting = np.concatenate([self._waiting, block])
        while len(self._waiting) >= SAMPLE_RATE:
            song = self._song(self._waiting[:SAMPLE_RATE])
            self._waiting = self._waiting[SAMPLE_RATE:]
            if song and self._runs and self._runs[-1][0] == song and self._runs[-1][2] == self._seconds:
                self._runs[-1][2] += 1
            elif song:
                self._runs.append([song, self._seconds, self._seconds + 1])
            self._seconds += 1

    def settled(self) -> list[Segment]:
        done = [run for run in self._runs if run[2] + 2 <= self._seconds]
        new, self._reported = done[self._reported :], len(done)
        return [_segment(*run) for run in new]

    def current(self) -> list[Segment]:
        return [_segment(*run) for run in self._runs[self._reported :]]

    def finish(self) -> Timeline:
        segments = [_segment(*run) for run in self._runs]
        return Timeline(segments, [], float(self._seconds), {}, searched=len(TONES), elapsed=0.0)

    @staticmethod
    def _song(second: np.ndarray) -> int | None:
        spectrum = np.abs(np.fft.rfft(second))
        if spectrum.max() < 200:
            return None
        return next((number for number, tone in enumerate(TONES, start=1) if abs(spectrum.argmax() - tone) < 5), None)


def _segment(song: int, first: int, last: int) -> Segment:
    recording = Recording(song, Tags(title=f"Song {song}", artists=("Band",)), 100.0, f"{song}.mp3", f"hash {song}")
    interval = Interval(float(first), float(last))
    return Segment(recording, Kind.RECORDING, 99.0, interval, Interval(0.0, interval.duration))


def outline(events: list[Event]) -> list[str]:
    """Summarise the events as `started 1`, `gap` and so on, without announcements."""
    return [
        f"{event.type} {event.segment.recording.id}" if event.segment else str(event.type)
        for event in events
        if event.type != EventType.ANNOUNCED
    ]
