"""Frozen answers: a fixed set of synthesised queries must be reported exactly as in `frozen.json`.

The queries cover every path through identification and scanning: clean, degraded, sped-up and unknown queries, covers
in another key, a query that holds two songs, and one programme. A change of code that is not meant to change answers
leaves this file as it is. A change that is meant to (new weights, a better method) writes it again:

    SONGPRINT_TEST_FREEZE=1 python -m pytest tests/test_frozen.py

Numbers are compared to the last reported digit on the kind of processor that wrote the file. Other processors sum in
another order (and without VNNI, saturate in int8), so there the numbers are compared within `TOLERANCES`.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import numpy as np
import pytest
from support.tunes import write_tunes
from threadpoolctl import threadpool_limits

import songprint
from lab.data import degrade, synth
from lab.data.tunes import TUNES, invent
from songprint.formats.objects import report_object, timeline_object

FROZEN = Path(__file__).with_name("frozen.json")
RATE = synth.SAMPLE_RATE
KNOWN = TUNES[:6]
# Differ from run to run, or with the FLAC encoder, or say something about files.
VOLATILE = ("elapsed", "added_at", "source", "content_hash", "missing_since", "fields")
TOLERANCES = {"confidence": 3.0, "score": 0.02, "agreeing": 3, "speed": 0.003, "key_shift": 0.1}
OTHER_TOLERANCE = 0.3  # seconds; every other number is a time


@pytest.fixture(scope="module", autouse=True)
def _two_threads():
    """`frozen.json` was written with two threads for linear algebra, which sum in another order than one."""
    with threadpool_limits(2, "blas"):
        yield


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library of six tunes, encoded by the networks that ship."""
    folder = tmp_path_factory.mktemp("frozen")
    write_tunes(folder / "music", KNOWN)
    with songprint.open(folder / "library", create=True) as library:
        library.add(folder / "music", workers=1)
        yield library


def original(number: int, start: float, seconds: float) -> np.ndarray:
    return cut(synth.render(KNOWN[number], seed=1), start, seconds)


def cut(samples: np.ndarray, start: float, seconds: float) -> np.ndarray:
    return samples[round(start * RATE) : round((start + seconds) * RATE)]


def telephone(samples: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(1)
    samples = degrade.room(samples, RATE, rt60=0.4, rng=random)
    return degrade.phone(degrade.add_noise(samples, snr_db=5, rng=random), RATE, random)


def other_rendition(number: int, key: int) -> np.ndarray:
    return degrade.stretch(synth.render(KNOWN[number], seed=40), RATE, pitch=2 ** (key / 12))


def unknown(number: int, seconds: float) -> np.ndarray:
    return cut(synth.render(invent(number), seed=2), 5, seconds)


QUERIES = {
    "clean, 8 s": lambda: original(0, 20, 8),
    "telephone in a noisy room, 6 s": lambda: telephone(original(1, 12, 6)),
    "noise at 0 dB, 5 s": lambda: degrade.add_noise(original(2, 15, 5), 0, np.random.default_rng(2)),
    "16 % faster, 8 s": lambda: degrade.speed(original(3, 10, 10), RATE, 1.16),
    "two semitones higher, 10 s": lambda: degrade.stretch(original(4, 10, 10), RATE, pitch=2 ** (2 / 12)),
    "the whole recording": lambda: synth.render(KNOWN[5], seed=1),
    "two songs, 12 s each": lambda: np.concatenate([original(0, 10, 12), original(3, 20, 12)]),
    "another rendition, same key": lambda: other_rendition(4, 0),
    "another rendition, three semitones higher": lambda: other_rendition(1, 3),
    "30 s of another rendition": lambda: cut(other_rendition(2, -4), 10, 30),
    "unknown tune, 8 s": lambda: unknown(101, 8),
    "unknown tune, 25 s": lambda: unknown(102, 25),
    "white noise, 5 s": lambda: np.random.default_rng(3).normal(0, 0.1, 5 * RATE).astype(np.float32),
    "silence, 5 s": lambda: np.zeros(5 * RATE, np.float32),
    "half a second": lambda: original(0, 20, 0.4),
}


def programme() -> np.ndarray:
    """Noise, a song, an unknown tune, silence, a cover, another song."""
    noise = np.random.default_rng(4).normal(0, 0.02, 15 * RATE)
    parts = [
        noise,
        original(0, 8, 25),
        unknown(103, 20),
        np.zeros(5 * RATE),
        cut(other_rendition(4, 0), 0, 45),
        original(2, 5, 20),
    ]
    return np.concatenate(parts).astype(np.float32)


@pytest.fixture(scope="module")
def frozen() -> dict:
    return json.loads(FROZEN.read_text(encoding="utf-8")) if FROZEN.exists() else {"processor": "", "answers": {}}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_answered_as_before(library, frozen, query):
    check(query, report_object(library.identify(QUERIES[query](), sample_rate=RATE, top=3)), frozen)


def test_a_programme_is_answered_as_before(library, frozen, tmp_path):
    path = tmp_path / "programme.wav"
    synth.write(path, programme(), RATE)
    check("programme", timeline_object(library.scan(path)), frozen)


def check(name: str, answer: dict, frozen: dict) -> None:
    answer = without_volatile(json.loads(json.dumps(answer)))
    if os.environ.get("SONGPRINT_TEST_FREEZE"):
        kept = json.loads(FROZEN.read_text(encoding="utf-8")) if FROZEN.exists() else {"answers": {}}
        kept |= {"processor": processor()}
        kept["answers"][name] = answer
        FROZEN.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    expected = frozen["answers"][name]
    if frozen["processor"] == processor():
        assert answer == expected
    else:
        assert_close(answer, expected, name)


def without_volatile(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_volatile(inner) for key, inner in value.items() if key not in VOLATILE}
    return [without_volatile(each) for each in value] if isinstance(value, list) else value


def assert_close(answer: object, expected: object, where: str) -> None:
    """The same names in the same order, numbers within their tolerance."""
    if isinstance(expected, dict):
        assert list(answer) == list(expected), where
        for key in expected:
            if key != "candidates":  # what is below the threshold may change places
                assert_close(answer[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(answer) == len(expected), where
        for number, each in enumerate(expected):
            assert_close(answer[number], each, f"{where}[{number}]")
    elif isinstance(expected, float):
        tolerance = TOLERANCES.get(where.rpartition(".")[2], OTHER_TOLERANCE)
        assert answer == pytest.approx(expected, abs=tolerance), where
    elif where.endswith(".agreeing"):
        assert abs(answer - expected) <= TOLERANCES["agreeing"], where
    else:
        assert answer == expected, where


def processor() -> str:
    """The machine and those vector instructions that change the order in which a network sums."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        flags = set()
    relevant = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8")
    return " ".join(
        [platform.machine(), os.environ.get("OPENBLAS_CORETYPE", "any"), *(each for each in relevant if each in flags)]
    )
