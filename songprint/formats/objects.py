"""Values -> JSON objects: the one place that fixes the JSON keys.

A key is the name of the field in `songprint.types`; times are seconds, rounded to the millisecond.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

from songprint.types import (
    AddReport,
    Event,
    EventType,
    Gap,
    Interval,
    Kind,
    Match,
    PlayedSong,
    RebuildReport,
    Recording,
    Report,
    Section,
    Segment,
    Song,
    Sound,
    Stats,
    Tags,
    Timeline,
    UnknownMusic,
)

if TYPE_CHECKING:
    from songprint.covers.explain import Explanation

Object = dict[str, object]


def report_object(report: Report) -> Object:
    """What one clip is; `matches` is empty when nothing was found, and `reason` says why."""
    return {
        "source": report.source,
        "duration": _round(report.duration),
        "matches": [match_object(match) for match in report.matches],
        "songs": [song_object(song, report.matches) for song in report.songs],
        "candidates": [match_object(match) for match in report.candidates],
        "thresholds": {str(kind): _round(threshold) for kind, threshold in report.thresholds.items()},
        "searched": report.searched,
        "elapsed": _round(report.elapsed),
        "reason": report.reason,
        "warnings": list(report.warnings),
    }


def match_object(match: Match) -> Object:
    return {
        "recording": recording_object(match.recording),
        "original": recording_object(match.original) if match.original else None,
        "kind": str(match.kind),
        "confidence": _round(match.confidence),
        "query": interval_object(match.query),
        "reference": interval_object(match.reference),
        "speed": _round(match.speed, 4),
        "key_shift": _round(match.key_shift, 2),
        "agreeing": int(match.alignment.agreeing),
        "score": _round(match.alignment.score, 4),
        "sections": sections_list(match.sections),
    }


def song_object(song: Song, matches: list[Match]) -> Object:
    """One song in an answer; `matches` are positions in the list of all matches."""
    return {
        "work": song.work,
        "name": song.original.name,
        "original": song.original.id,
        "matches": [matches.index(match) for match in song.matches],
    }


def timeline_object(timeline: Timeline) -> Object:
    """The songs of a long recording; `segments` is empty when none was found."""
    return {
        "source": timeline.source,
        "duration": _round(timeline.duration),
        "complete": timeline.complete,
        "searched": timeline.searched,
        "elapsed": _round(timeline.elapsed),
        "thresholds": {str(kind): _round(threshold) for kind, threshold in timeline.thresholds.items()},
        "warnings": list(timeline.warnings),
        "segments": [segment_object(segment) for segment in timeline.segments],
        "songs": [played_object(song, timeline.segments) for song in timeline.songs],
        "gaps": [gap_object(gap) for gap in timeline.gaps],
    }


def segment_object(segment: Segment) -> Object:
    return {
        "recording": recording_object(segment.recording),
        "kind": str(segment.kind),
        "confidence": _round(segment.confidence),
        **interval_object(segment.interval),
        "reference_start": _round(segment.reference.start),
        "reference_end": _round(segment.reference.end),
        "speed": _round(segment.speed, 4),
        "key_shift": _round(segment.key_shift, 2),
        "original": recording_object(segment.original) if segment.original else None,
    }


def played_object(song: PlayedSong, segments: list[Segment]) -> Object:
    """One song of a long recording; `segments` are positions in the list of all segments."""
    return {
        "work": song.work,
        "name": song.original.name,
        "original": song.original.id,
        "segments": [segments.index(segment) for segment in song.segments],
        "seconds": _round(song.seconds),
        "share": _round(song.share, 4),
    }


def gap_object(gap: Gap) -> Object:
    return {**interval_object(gap.interval), "sound": str(gap.sound), "unknown": gap.unknown}


def unknown_object(music: UnknownMusic) -> Object:
    """Music that nobody knows, and where it was heard."""
    return {
        "id": music.id,
        "duration": _round(music.duration),
        "occurrences": [
            {"source": each.source, **interval_object(each.interval), "heard_at": each.heard_at}
            for each in music.occurrences
        ],
    }


def timeline_from_object(value: Object) -> Timeline:
    """The timeline that `timeline_object` was made of, to the millisecond."""
    return Timeline(
        segments=[segment_from_object(each) for each in value["segments"]],
        gaps=[Gap(_interval(each), Sound(each["sound"]), each["unknown"]) for each in value["gaps"]],
        duration=value["duration"],
        thresholds={Kind(kind): each for kind, each in value["thresholds"].items()},
        searched=value["searched"],
        elapsed=value["elapsed"],
        source=value["source"],
        complete=value["complete"],
        warnings=tuple(value["warnings"]),
    )


def segment_from_object(value: Object) -> Segment:
    original = value["original"]
    return Segment(
        recording_from_object(value["recording"]),
        Kind(value["kind"]),
        value["confidence"],
        _interval(value),
        Interval(value["reference_start"], value["reference_end"]),
        value["speed"],
        value["key_shift"],
        recording_from_object(original) if original else None,
    )


def recording_from_object(value: Object) -> Recording:
    tags = {field.name: value[field.name] for field in fields(Tags)}
    return Recording(
        value["id"],
        Tags(**tags | {"artists": tuple(tags["artists"])}),
        value["duration"],
        value["source"],
        value["content_hash"],
        value["added_at"],
    )


def _interval(value: Object) -> Interval:
    return Interval(value["start"], value["end"])


def event_object(event: Event) -> Object:
    """What happens in a stream; the keys that are there depend on what."""
    value: Object = {"event": str(event.type), "at": _time(event.at), "position": _round(event.position)}
    if event.segment:
        value["started_at"] = _time(event.when(event.segment.interval.start))
        if event.type == EventType.ENDED:
            value |= {"ended_at": _time(event.when(event.segment.interval.end)), "seconds": _round(event.seconds)}
        value |= segment_object(event.segment)
    if event.type in (EventType.CONNECTED, EventType.RECONNECTED):
        value["station"] = event.text
    if event.type == EventType.RECONNECTED:
        value["seconds"] = _round(event.seconds)
    if event.type == EventType.ANNOUNCED:
        value["title"] = event.text
    if event.type == EventType.GAP:
        value["reason"] = event.text
    return value


def explanation_object(explanation: Explanation) -> Object:
    """How two renditions correspond."""
    found = explanation.alignment
    return {
        "query": explanation.query,
        "reference": explanation.reference,
        "key_shift": found.key_shift if found else None,
        "speed": _round(found.tempo, 4) if found else None,
        "score": _round(found.score, 4) if found else None,
        "sections": sections_list(found.sections if found else ()),
    }


def sections_list(sections: Iterable[Section]) -> list[Object]:
    return [
        {"query": interval_object(section.query), "reference": interval_object(section.reference)}
        for section in sections
    ]


def interval_object(interval: Interval) -> Object:
    return {"start": _round(interval.start), "end": _round(interval.end)}


def recording_object(recording: Recording) -> Object:
    return {
        "id": recording.id,
        **asdict(recording.tags),
        "duration": _round(recording.duration),
        "source": recording.source,
        "content_hash": recording.content_hash,
        "added_at": recording.added_at,
    }


def stats_object(stats: Stats) -> Object:
    return asdict(stats) | {"duration": _round(stats.duration), "index_bytes": stats.index_bytes}


def add_objects(report: AddReport) -> Iterator[Object]:
    """An object for every file, then one with the totals."""
    for recording in report.added:
        yield {"outcome": "added", "path": recording.source, "recording": recording_object(recording)}
    for known in report.known:
        yield {"outcome": "known", **asdict(known)}
    for skipped in report.skipped:
        yield {"outcome": "skipped", **asdict(skipped)}
    yield {
        "outcome": "finished",
        "added": len(report.added),
        "known": len(report.known),
        "skipped": len(report.skipped),
        "audio_seconds": _round(report.audio_seconds),
        "elapsed": _round(report.elapsed),
        "warnings": list(report.warnings),
    }


def rebuild_objects(report: RebuildReport) -> Iterator[Object]:
    """An object for every recording that could not be read again, then one with the totals."""
    for skipped in report.skipped:
        yield {"outcome": "skipped", **asdict(skipped)}
    yield {"outcome": "finished", "reencoded": report.reencoded, "skipped": len(report.skipped)}


def without_places(value: object) -> object:
    """The same for strangers: of where a recording was added from, the name of the file alone.

    >>> without_places({"recording": {"id": 1, "source": "/srv/music/a.mp3"}})
    {'recording': {'id': 1, 'source': 'a.mp3'}}
    """
    if isinstance(value, dict):
        return {
            key: PurePath(inner).name if key == "source" and isinstance(inner, str) else without_places(inner)
            for key, inner in value.items()
        }
    return [without_places(each) for each in value] if isinstance(value, list) else value


def to_json(value: Object) -> str:
    """One line of JSON that any UTF-8 stream takes.

    A file name with bytes that are no text holds lone surrogates; they are written as JSON escapes.

    >>> to_json({"source": "a\\udcff.mp3"})
    '{"source": "a\\\\udcff.mp3"}'
    """
    return readable(json.dumps(value, ensure_ascii=False, allow_nan=False))


def readable(json_text: str) -> str:
    """JSON whose lone surrogates are JSON escapes, so that any UTF-8 stream takes it."""
    return json_text.encode("utf-8", "backslashreplace").decode("utf-8")


def _time(moment: datetime) -> str:
    """UTC, ISO 8601, to the millisecond."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _round(number: float, digits: int = 3) -> float:
    """A Python number, also of NumPy's, which JSON does not know."""
    return round(float(number), digits)
