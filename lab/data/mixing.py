"""The sound of a programme: mixed item by item and written as it grows, so that its length costs no memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from lab.data import degrade
from lab.data.programmes import MP3_BIT_RATE, Item, Programme
from songprint.audio import files
from songprint.types import Interval

RATE = 22_050  # Hz
LEVEL = 0.1  # root mean square of music and speech: -20 dBFS
SOUNDING = 0.01  # of a file's own level: what is 40 dB below is silence
STEP = 0.05  # seconds, of the look for it
CLICKLESS = 0.005  # seconds in which a cut comes and goes
DUCKING = 0.3  # seconds in which music goes down under talk
PAUSE = (0.2, 0.7)  # seconds between two lines of speech


@cache
def sounding(path: str) -> Interval:
    """Which part of a file sounds: silence at its begin and end is nobody's song."""
    rate = 8000
    samples = files.load(path, rate)
    step = round(STEP * rate)
    if len(samples) < step:
        return Interval(0.0, 0.0)
    levels = np.sqrt(np.square(samples[: len(samples) // step * step].reshape(-1, step)).mean(axis=1))
    loud = np.flatnonzero(levels > SOUNDING * degrade.rms(samples))
    if not len(loud):
        return Interval(0.0, 0.0)
    return Interval(float(loud[0]) * STEP, float(loud[-1] + 1) * STEP)


def write(programme: Programme, speech: Sequence[str], folder: Path) -> Path:
    """Make the programme: a WAV file, or an MP3 file if its condition says so. One that is there is kept."""
    bit_rate = MP3_BIT_RATE.get(programme.condition)
    path = folder / f"{programme.name}{'.mp3' if bit_rate else '.wav'}"
    truth, words = path.with_suffix(".json"), programme.to_json()
    if path.exists() and truth.exists() and truth.read_text(encoding="utf-8") == words:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    truth.unlink(missing_ok=True)
    with _file(path, programme.speed, bit_rate) as put:
        for samples in mixed(programme.items, speech):
            put(samples)
    truth.write_text(words, encoding="utf-8")  # last: it says that the sound is whole
    return path


def mixed(items: Sequence[Item], speech: Sequence[str]) -> Iterator[np.ndarray]:
    """The samples at RATE, one item after the other; what still overlaps the next waits."""
    waiting, position = np.zeros(0, np.float32), 0  # position of the first sample that waits
    for item in items:
        first = round(item.start * RATE)
        yield waiting[: max(0, first - position)].clip(-1, 1)
        waiting = waiting[max(0, first - position) :]
        position = max(position, first)
        samples = played(item, speech)
        longer = max(len(samples), len(waiting))
        waiting = np.pad(waiting, (0, longer - len(waiting))) + np.pad(samples, (0, longer - len(samples)))
    yield waiting.clip(-1, 1)


def played(item: Item, speech: Sequence[str]) -> np.ndarray:
    """(duration * RATE,) float32 of one item, with its fades and the talk over it."""
    count = round(item.end * RATE) - round(item.start * RATE)
    rng = np.random.default_rng(item.seed)
    if item.what == "silence":
        return np.zeros(count, np.float32)
    if item.what == "speech":
        return said(count, speech, rng)
    samples = files.load(item.path, RATE, start=item.begin, duration=item.duration)
    samples = np.resize(samples, count) if item.what == "noise" else np.pad(samples, (0, count))[:count]
    samples = LEVEL * 10 ** (item.level / 20) * degrade.unit(samples)
    if item.talk:
        begin, end = round(item.talk.at.start * RATE), min(count, round(item.talk.at.end * RATE))
        samples *= _ducked(count, begin, end, item.talk.ducked)
        samples[begin:end] += said(end - begin, speech, rng)
    return (samples * _faded(count, item.fade_in, item.fade_out)).astype(np.float32)


def said(count: int, speech: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """(count,) lines of speech one after the other, each as loud as music is."""
    parts, total = [], 0
    while total < count:
        line = files.load(str(rng.choice(speech)), RATE)
        pause = np.zeros(round(float(rng.uniform(*PAUSE)) * RATE), np.float32)
        parts += [LEVEL * degrade.unit(line), pause]
        total += len(line) + len(pause)
    return np.concatenate(parts)[:count].astype(np.float32)


def _ducked(count: int, begin: int, end: int, decibels: float) -> np.ndarray:
    """(count,) gains: down by so many decibels from `begin` to `end`."""
    ramp = DUCKING * RATE
    places = np.arange(count)
    depth = np.clip(np.minimum((places - begin) / ramp + 1, (end - places) / ramp + 1), 0, 1)
    return (10 ** (-decibels * depth / 20)).astype(np.float32)


def _faded(count: int, fade_in: float, fade_out: float) -> np.ndarray:
    """(count,) gains; two that cross have equal power together."""
    gains = np.ones(count, np.float32)
    for length, part in ((fade_in, gains), (fade_out, gains[::-1])):
        steps = min(count, max(1, round(max(length, CLICKLESS) * RATE)))
        part[:steps] *= np.sin(np.pi / 2 * np.arange(steps) / steps)
    return gains


@contextmanager
def _file(path: Path, speed: float, bit_rate: int | None):
    """A function that appends samples at RATE, to be heard `speed` times as fast."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame" if bit_rate else "pcm_s16le", rate=RATE, layout="mono")
        if bit_rate:
            stream.bit_rate = bit_rate
            stream.options = {"compression_level": "7"}  # a third of the time; what is lost is hardly heard
        resampler = None

        def put(samples: np.ndarray | None) -> None:
            nonlocal resampler
            if resampler is None:
                stream.codec_context.open(strict=False)
                resampler = av.AudioResampler(
                    format=stream.codec_context.format,
                    layout="mono",
                    rate=RATE,
                    frame_size=stream.codec_context.frame_size or 4096,
                )
            frame = None
            if samples is not None:
                if not len(samples):
                    return
                frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
                frame.sample_rate = round(RATE * speed)
            for piece in resampler.resample(frame):
                container.mux(stream.encode(piece))

        yield put
        put(None)
        container.mux(stream.encode(None))
