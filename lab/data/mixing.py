"""Audio of a programme: mixed item by item and written as it grows, so that memory does not depend on the length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from lab.data import degrade
from lab.data.programmes import MP3_BIT_RATE, Item, Programme
from lab.data.surroundings import NOISES
from songprint.audio import files
from songprint.types import Interval

RATE = 22_050  # Hz
LEVEL = 0.1  # root mean square of an item whose level is 0 dB: -20 dBFS
SOUNDING = 0.01  # relative to the level of the whole file: anything more than 40 dB below it is silence
STEP = 0.05  # seconds; resolution of the search for leading and trailing silence
CLICKLESS = 0.005  # seconds; fade of a cut, so that it does not click
DUCKING = 0.3  # seconds in which music is lowered under speech
PAUSE = (0.2, 0.7)  # seconds between two lines of speech


@cache
def sounding(path: str) -> Interval:
    """Return the part of a file without leading and trailing silence, in seconds."""
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


def write(programme: Programme, speech: Mapping[str, Sequence[str]], folder: Path) -> Path:
    """Render the programme as WAV, or as MP3 if its condition asks for it, and keep a file that exists already.

    The ground truth is written to the same folder as JSON.
    """
    bit_rate = MP3_BIT_RATE.get(programme.condition)
    path = folder / f"{programme.name}{'.mp3' if bit_rate else '.wav'}"
    truth, text = path.with_suffix(".json"), programme.to_json()
    if path.exists() and truth.exists() and truth.read_text(encoding="utf-8") == text:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    truth.unlink(missing_ok=True)
    with _writer(path, programme.speed, bit_rate) as append:
        for samples in mixed(programme.items, speech):
            append(samples)
    truth.write_text(text, encoding="utf-8")  # last: it marks the audio as complete
    return path


def mixed(items: Sequence[Item], speech: Mapping[str, Sequence[str]]) -> Iterator[np.ndarray]:
    """Yield the samples at RATE, item by item. Samples that the next item overlaps are held back."""
    waiting, position = np.zeros(0, np.float32), 0  # position of the first sample held back
    for item in items:
        first = round(item.start * RATE)
        yield waiting[: max(0, first - position)].clip(-1, 1)
        waiting = waiting[max(0, first - position) :]
        position = max(position, first)
        samples = played(item, speech)
        longer = max(len(samples), len(waiting))
        waiting = np.pad(waiting, (0, longer - len(waiting))) + np.pad(samples, (0, longer - len(samples)))
    yield waiting.clip(-1, 1)


def played(item: Item, speech: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Return (duration * RATE,) float32: one item with its fades and the speech over it."""
    count = round(item.end * RATE) - round(item.start * RATE)
    rng = np.random.default_rng(item.seed)
    if item.what == "silence":
        return np.zeros(count, np.float32)
    if item.what == "dither":  # triangular, of one step of 16 bits: its level is not a matter of choice
        return np.asarray((rng.random(count) - rng.random(count)) / 32_768, np.float32)
    gain = LEVEL * 10 ** (item.level / 20)
    if item.what == "speech":
        samples = spoken(count, _lines(speech, item.language), rng) * (gain / LEVEL)
    elif item.what in NOISES:
        samples = gain * degrade.unit(NOISES[item.what](count, RATE, rng))
    else:
        samples = files.load(item.path, RATE, start=item.begin, duration=item.duration)
        samples = np.resize(samples, count) if item.what == "noise" else np.pad(samples, (0, count))[:count]
        samples = gain * degrade.unit(samples)
    if item.talk:
        begin, end = round(item.talk.at.start * RATE), min(count, round(item.talk.at.end * RATE))
        samples *= _ducked(count, begin, end, item.talk.ducked)
        samples[begin:end] += spoken(end - begin, _lines(speech, ""), rng)
    return np.asarray(samples * _faded(count, item.fade_in, item.fade_out), np.float32)


def _lines(speech: Mapping[str, Sequence[str]], language: str) -> list[str]:
    return list(speech[language]) if language else [path for paths in speech.values() for path in paths]


def spoken(count: int, lines: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Return (count,) lines of speech one after the other, each at the level of music."""
    parts: list[np.ndarray] = []
    total = 0
    while total < count:
        line = files.load(str(rng.choice(list(lines))), RATE)
        pause = np.zeros(round(float(rng.uniform(*PAUSE)) * RATE), np.float32)
        parts += [LEVEL * degrade.unit(line), pause]
        total += len(line) + len(pause)
    return np.concatenate(parts)[:count].astype(np.float32)


def _ducked(count: int, begin: int, end: int, decibels: float) -> np.ndarray:
    """Return (count,) gains that lower the music by `decibels` from `begin` to `end`."""
    ramp = DUCKING * RATE
    places = np.arange(count)
    depth = np.clip(np.minimum((places - begin) / ramp + 1, (end - places) / ramp + 1), 0, 1)
    return (10 ** (-decibels * depth / 20)).astype(np.float32)


def _faded(count: int, fade_in: float, fade_out: float) -> np.ndarray:
    """Return (count,) gains of the fades. The power of a cross-fade is constant."""
    gains = np.ones(count, np.float32)
    for length, part in ((fade_in, gains), (fade_out, gains[::-1])):
        steps = min(count, max(1, round(max(length, CLICKLESS) * RATE)))
        part[:steps] *= np.sin(np.pi / 2 * np.arange(steps) / steps)
    return gains


@contextmanager
def _writer(path: Path, speed: float, bit_rate: int | None) -> Iterator[Callable[[np.ndarray | None], None]]:
    """Open the file and give a function that appends samples at RATE, to be played `speed` times as fast."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame" if bit_rate else "pcm_s16le", rate=RATE, layout="mono")
        if bit_rate:
            stream.bit_rate = bit_rate
            stream.options = {"compression_level": "7"}  # takes a third of the time for hardly lower quality
        resampler: av.AudioResampler | None = None

        def append(samples: np.ndarray | None) -> None:
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

        yield append
        append(None)
        container.mux(stream.encode(None))
