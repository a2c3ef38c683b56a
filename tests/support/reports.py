"""A report with one match, for the tests of JSON and of its documentation."""

from __future__ import annotations

from songprint.types import Alignment, Interval, Kind, Match, Recording, Report, Tags

RECORDING = Recording(
    id=7,
    tags=Tags(title="Greensleeves", artists=("Anon", "Other"), album="Old", isrc="GBXXX0000001", track=2, year=1580),
    duration=185.12345,
    source="/music/greensleeves.flac",
    content_hash="abc",
    added_at="2026-01-01T00:00:00Z",
)
ALIGNMENT = Alignment(
    7, query=Interval(0.0, 8.0), reference=Interval(42.31234, 50.3), speed=1.04004, score=0.81234, agreeing=15
)
MATCH = Match(RECORDING, Kind.RECORDING, 98.76543, ALIGNMENT)


def report(**changes):
    fields = {
        "matches": [MATCH],
        "candidates": [],
        "duration": 8.0,
        "thresholds": {Kind.RECORDING: 80.0},
        "searched": 3,
        "elapsed": 0.1234567,
        "source": "clip.wav",
    }
    return Report(**fields | changes)
