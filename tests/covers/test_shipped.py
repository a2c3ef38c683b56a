"""Covers found by the shipped networks."""

from __future__ import annotations

import numpy as np
import pytest
from support.tunes import write_tunes

import songprint
from lab.data import degrade, synth
from lab.data.tunes import TUNES, invent
from songprint.types import Kind

KNOWN = TUNES[:8]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library of eight tunes."""
    folder = tmp_path_factory.mktemp("covers")
    write_tunes(folder / "music", KNOWN)
    with songprint.open(folder / "library", create=True) as library:
        library.add(folder / "music", workers=1)
        yield library


def other_take(tune, key: int) -> np.ndarray:
    """Another rendition, at another tempo, `key` semitones higher."""
    return degrade.stretch(synth.render(tune, seed=40), synth.SAMPLE_RATE, pitch=2 ** (key / 12))


@pytest.mark.parametrize(("number", "key"), [(4, 0), (1, 3), (2, -4), (5, 5)])
def test_another_rendition_is_identified_as_a_cover_with_its_key(library, number, key):
    report = library.identify(other_take(KNOWN[number], key), sample_rate=synth.SAMPLE_RATE)
    assert [match.recording.title for match in report.matches][:1] == [KNOWN[number].title]
    match = report.matches[0]
    assert match.kind is Kind.COVER
    assert match.key_shift == key
    assert sum(section.query.duration for section in match.sections) > 20


def test_a_recording_is_not_its_own_cover(library):
    report = library.identify(synth.render(KNOWN[3], seed=1), sample_rate=synth.SAMPLE_RATE)
    assert [(match.kind, match.recording.title) for match in report.matches] == [(Kind.RECORDING, KNOWN[3].title)]


@pytest.mark.parametrize("number", [101, 102, 103])
def test_an_unknown_tune_has_no_match(library, number):
    assert library.identify(synth.render(invent(number), seed=2), sample_rate=synth.SAMPLE_RATE).matches == []


def test_short_queries_of_unknown_tunes_have_no_match(library):
    """Ten seconds contain few chords, which many songs share. The false-accept rate is 1%, not 10%."""
    named = []
    for number in range(101, 109):
        whole = synth.render(invent(number), seed=2)
        for start, length in ((2, 8), (6, 10), (9, 12)):
            query = whole[start * synth.SAMPLE_RATE : (start + length) * synth.SAMPLE_RATE]
            named += [
                (number, start, match) for match in library.identify(query, sample_rate=synth.SAMPLE_RATE).matches
            ]
    assert len(named) <= 1, named
