"""Damage to audio: noise, rooms, phones, codecs, speech, changes of speed, pitch and tempo.

Every function takes and returns float32 mono samples, and takes its randomness from the generator passed in.
Evaluations and the demo use it; training damages whole batches at once (`lab.data.batches`).
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt

from songprint.audio.samples import stretch

QUIETEST = 1e-9  # added to every root mean square, so that silence can be divided by it


def rms(samples: np.ndarray) -> float:
    """Return the root mean square, never zero."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) + QUIETEST


def unit(samples: np.ndarray) -> np.ndarray:
    """Scale the samples to a root mean square of 1."""
    return np.asarray(samples / np.float32(rms(samples)))


def mix(samples: np.ndarray, other: np.ndarray, snr_db: float) -> np.ndarray:
    """Add `other` (repeated or cut to length) at `snr_db` below the samples."""
    other = np.resize(other, len(samples)).astype(np.float32)
    return samples + other * np.float32(rms(samples) / rms(other) * 10 ** (-snr_db / 20))


def add_noise(
    samples: np.ndarray, snr_db: float, rng: np.random.Generator, noise: np.ndarray | None = None
) -> np.ndarray:
    """Add noise at `snr_db`: a random excerpt of `noise`, or pink noise when none is given."""
    if noise is None:
        return mix(samples, pink_noise(len(samples), rng), snr_db)
    start = rng.integers(max(1, len(noise) - len(samples)))
    return mix(samples, noise[start : start + len(samples)], snr_db)


def pink_noise(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return (count,) noise with equal power per octave."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    return np.fft.irfft(spectrum, count).astype(np.float32)


def room(samples: np.ndarray, sample_rate: int, rt60: float, rng: np.random.Generator) -> np.ndarray:
    """Add reverberation: the direct sound, and noise that decays exponentially (`rt60` in seconds)."""
    return convolve(samples, decaying_noise(sample_rate, rt60, rng))


def decaying_noise(sample_rate: int, rt60: float, rng: np.random.Generator) -> np.ndarray:
    """Return the impulse response of a room without a model of its walls: a peak of 1, then decaying noise."""
    times = np.arange(int(rt60 * 1.2 * sample_rate)) / sample_rate
    response = rng.standard_normal(len(times)) * 10 ** (-3 * times / rt60) * rng.uniform(0.05, 0.2)
    response[: int(rng.integers(1, int(0.006 * sample_rate)))] = 0
    response[0] = 1
    return response


def simulate_rooms(count: int, sample_rate: int, seed: int) -> list[np.ndarray]:
    """Simulate `count` room impulse responses with pyroomacoustics (image sources), float32.

    The direct sound comes first, with a peak near 1. RT60 is 0.15 to 1.1 s. Training uses seeds below 10,000;
    measurements use seeds from 10,000 on, which give rooms of other sizes.
    """
    import pyroomacoustics as pra

    rng = np.random.default_rng(seed)
    unseen = seed >= 10_000
    responses: list[np.ndarray] = []
    while len(responses) < count:
        size = rng.uniform([4, 4, 2.6], [14, 11, 5]) if unseen else rng.uniform([2.5, 2.5, 2.3], [12, 9, 4.5])
        rt60 = rng.uniform(0.15, 1.1)
        try:
            absorption, order = pra.inverse_sabine(rt60, size)
        except ValueError:  # even the hardest walls give a shorter RT60 in a room of this size
            continue
        model = pra.ShoeBox(size, fs=sample_rate, materials=pra.Material(absorption), max_order=min(order, 17))
        model.add_source(rng.uniform(0.4, size - 0.4))
        model.add_microphone(rng.uniform(0.4, size - 0.4))
        model.compute_rir()
        response = model.rir[0][0].astype(np.float32)
        direct = int(np.argmax(np.abs(response) > 0.3 * np.abs(response).max()))
        response = response[max(0, direct - 4) :]
        responses.append(response / np.abs(response).max())
    return responses


def convolve(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve the samples with an impulse response. Length and level stay the same."""
    wet = fftconvolve(samples, response)[: len(samples)]
    return np.asarray(wet * (rms(samples) / rms(wet)), np.float32)


def phone(samples: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Simulate a phone call: a band of 300 to 3,400 Hz, automatic gain and clipping."""
    high = min(3400, 0.45 * sample_rate)
    narrow = sosfilt(butter(4, [300, high], "bandpass", fs=sample_rate, output="sos"), samples)
    level = np.sqrt(sosfilt(butter(1, 2.0, fs=sample_rate, output="sos"), narrow**2).clip(0)) + 1e-4
    gained = narrow / level * 0.3
    return np.clip(gained * rng.uniform(1.5, 2.5), -0.7, 0.7).astype(np.float32)


def code(samples: np.ndarray, sample_rate: int, codec: str, bit_rate: int) -> np.ndarray:
    """Encode and decode with a lossy codec of FFmpeg ("libmp3lame", "libopus", "aac", "libopencore_amrnb").

    The delay of the codec is removed. AMR narrow-band needs samples at 8 kHz.
    """
    import av

    containers = {"libmp3lame": "mp3", "libopus": "ogg", "aac": "mp4", "libopencore_amrnb": "amr"}
    rate = sample_rate
    if codec == "libopus":
        rate = 48000 if sample_rate not in (8000, 12000, 16000, 24000, 48000) else sample_rate
    file = io.BytesIO()
    with av.open(file, "w", format=containers[codec]) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono", bit_rate=bit_rate)
        peak = max(1.0, float(np.abs(samples).max(initial=0)))
        frame = av.AudioFrame.from_ndarray((samples / peak)[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = sample_rate
        resampler = av.AudioResampler(
            format=stream.codec_context.format, layout="mono", rate=rate, frame_size=stream.codec_context.frame_size
        )
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(part))
    file.seek(0)
    from songprint.audio import files

    return aligned(files.load(file, sample_rate), samples) * np.float32(peak)


def drop_out(samples: np.ndarray, sample_rate: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Silence `share` of the samples in packets of 20 to 80 ms, as in a bad call."""
    kept = samples.copy()
    start = 0.0
    while start < len(kept):
        length = rng.uniform(0.02, 0.08) * sample_rate
        gap = length * (1 / share - 1) * rng.uniform(0.5, 1.5)  # on average, this makes the share correct
        kept[int(start + gap) : int(start + gap + length)] = 0
        start += gap + length
    return kept


def aligned(decoded: np.ndarray, original: np.ndarray, most: int = 4000) -> np.ndarray:
    """Remove the delay of a codec, at most `most` samples in either direction, found by cross-correlation."""
    count = min(len(original), len(decoded), 1 << 17)
    size = 2 * count
    product = np.fft.irfft(np.fft.rfft(decoded[:count], size) * np.conj(np.fft.rfft(original[:count], size)), size)
    lags = np.concatenate([product[:most], product[-most:]])
    lag = int(np.argmax(lags))
    delay = lag if lag < most else lag - 2 * most
    shifted = decoded[delay:] if delay >= 0 else np.concatenate([np.zeros(-delay, np.float32), decoded])
    return np.pad(shifted, (0, max(0, len(original) - len(shifted))))[: len(original)].astype(np.float32)


def speed(samples: np.ndarray, sample_rate: int, factor: float) -> np.ndarray:
    """Play faster and higher by `factor` (1.04 is 4% faster), as a turntable does."""
    return stretch(samples, sample_rate, tempo=factor, pitch=factor)
