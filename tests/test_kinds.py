"""A kind of match is a value of `Kind`, a matcher, and a line in `songprint.kinds.MATCHERS`; nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from support import toy

import songprint
from songprint import config, kinds
from songprint.audio.sound import Sound
from songprint.encoders.contract import WEIGHTS, Answer, EncoderSpec, Settled
from songprint.store.index import split_ids
from songprint.store.level import Level
from songprint.types import Alignment, Embeddings, Interval, Kind, Match, Segment

CONFIDENCE = 90.0


class ReversedEncoder(toy.ToyEncoder):
    """Encodes recordings as the toy encoder does, for a kind of its own."""

    @property
    def spec(self) -> EncoderSpec:
        calibration = {"features": [], "weights": [], "bias": 0.0, "thresholds": {"0.01": 50.0}}
        return replace(super().spec, kind=Kind("reversed"), calibration=calibration)


class ReversedMatcher:
    """Identifies recordings that are played backwards: a complete kind of match in a few lines."""

    encoder_name = "reversed"
    tracking_case = ""
    companions = ()

    @property
    def kind(self) -> Kind:
        return Kind("reversed")

    def spec(self) -> EncoderSpec:
        return self.open_encoder().spec

    def open_encoder(self, threads: int = 1, folder: Path = WEIGHTS) -> ReversedEncoder:
        return ReversedEncoder("reversed-1")

    def query(self, sound: Sound, level: Level) -> Embeddings:
        backwards = np.concatenate(list(sound.blocks()))[::-1]
        return level.encoder.encode(backwards)

    def identify(self, query: Embeddings, level: Level, known: set[int]) -> Answer:
        ids, cosines = level.index.search(query.vectors, 1)
        recording_ids, counts = np.unique(split_ids(ids[cosines > 0.95])[0], return_counts=True)
        recordings = level.catalog.recordings_with(recording_ids.tolist())
        whole = Interval(0.0, len(query) * query.hop)
        return Answer(
            [
                Match(recordings[number], self.kind, CONFIDENCE, Alignment(number, whole, whole, -1.0, 1.0, int(count)))
                for number, count in zip(recording_ids.tolist(), counts, strict=True)
                if count > len(query) / 2 and number not in known
            ]
        )

    def tracker(self, level: Level, accepts: Callable[[Segment], bool], *, remember: bool = False) -> ReversedTracker:
        return ReversedTracker(self, level)


@dataclass
class ReversedTracker:
    """Identifies everything that was fed as one query, when no more follows."""

    matcher: ReversedMatcher
    level: Level
    min_segment = 0.0
    history = None

    def __post_init__(self) -> None:
        self._blocks: list[np.ndarray] = []

    @property
    def duration(self) -> float:
        return sum(map(len, self._blocks)) / self.level.spec.sample_rate

    def feed(self, block: np.ndarray) -> None:
        self._blocks.append(block)

    def settle(self, known: list[Segment], until: float, *, last: bool = False, growing: bool = True) -> Settled:
        if not last:
            return Settled(0.0, [], [])
        sound = Sound(self._blocks, self.level.spec.sample_rate)
        answer = self.matcher.identify(self.matcher.query(sound, self.level), self.level, set())
        return Settled(
            until,
            [
                Segment(each.recording, each.kind, each.confidence, each.query, each.reference)
                for each in answer.matches
            ],
            [],
        )

    def current(self, known: list[Segment]) -> list[Segment]:
        return []

    def finish(self) -> None:
        pass


@pytest.fixture
def reversed_kind(monkeypatch) -> Kind:
    """The value "reversed" of `Kind`, as if the enumeration had a third line, and its matcher."""
    kind = str.__new__(Kind, "reversed")
    kind._name_, kind._value_ = "REVERSED", "reversed"
    monkeypatch.setitem(Kind._value2member_map_, "reversed", kind)
    monkeypatch.setitem(Kind._member_map_, "REVERSED", kind)
    monkeypatch.setattr(Kind, "_member_names_", [*Kind._member_names_, "REVERSED"])
    monkeypatch.setattr(config, "KINDS", tuple(map(str, Kind)))
    monkeypatch.setitem(kinds.MATCHERS, kind, ReversedMatcher())
    return kind


@pytest.fixture
def library(reversed_kind, tmp_path):
    encoders = [toy.DecisiveToyEncoder(), ReversedEncoder("reversed-1")]
    settings = config.Settings(kinds=("recording", "reversed"))
    with songprint.open(tmp_path / "library", create=True, encoder=encoders, settings=settings) as library:
        library.add(toy.write_songs(tmp_path / "music", 4, 20.0), workers=1)
        yield library


def test_a_third_kind_identifies_what_the_others_do_not(library, reversed_kind):
    backwards = toy.song(2, 20.0)[4 * toy.SAMPLE_RATE : 14 * toy.SAMPLE_RATE][::-1].copy()
    report = library.identify(backwards, sample_rate=toy.SAMPLE_RATE)
    assert [(match.kind, match.recording.title) for match in report.matches] == [(reversed_kind, "Song 02")]
    assert report.thresholds.keys() == {Kind.RECORDING, reversed_kind}


def test_a_recording_that_an_earlier_kind_identified_is_not_reported_again(library):
    report = library.identify(toy.song(2, 20.0), sample_rate=toy.SAMPLE_RATE)
    assert [(match.kind, match.recording.title) for match in report.matches] == [(Kind.RECORDING, "Song 02")]


def test_a_third_kind_is_scanned_for_beside_the_others(library, reversed_kind, tmp_path):
    programme = toy.write(tmp_path / "programme.wav", toy.song(1, 20.0)[::-1])
    timeline = library.scan(programme)
    assert [(each.kind, each.recording.title) for each in timeline.segments] == [(reversed_kind, "Song 01")]


def test_a_library_counts_what_each_kind_takes(library, reversed_kind):
    assert [level.kind for level in library.stats().levels] == [Kind.RECORDING, reversed_kind]
