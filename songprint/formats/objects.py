"""Values -> JSON objects, and back for timelines. `songprint.formats.schema` declares the keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar, cast

from songprint.formats import schema
from songprint.types import (
    AddReport,
    Change,
    Event,
    EventType,
    Fields,
    FileChange,
    Gap,
    Interval,
    Kind,
    Match,
    MetadataReport,
    PlayedSong,
    RebuildReport,
    Recording,
    Report,
    Section,
    Segment,
    Song,
    Sound,
    Stats,
    SyncReport,
    Tags,
    Timeline,
    UnknownMusic,
)

if TYPE_CHECKING:
    from songprint.covers.explain import Explanation

Value = TypeVar("Value")


def report_object(report: Report) -> schema.Report:
    """The answer to one query. `matches` is empty when nothing was found; `reason` then gives the cause."""
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


def match_object(match: Match) -> schema.Match:
    return {
        "recording": recording_object(match.recording),
        "original": recording_object(match.original) if match.original else None,
        "kind": cast(schema.Kind, str(match.kind)),
        "confidence": _round(match.confidence),
        "query": interval_object(match.query),
        "reference": interval_object(match.reference),
        "speed": _round(match.speed, 4),
        "key_shift": _round(match.key_shift, 2),
        "agreeing": int(match.alignment.agreeing),
        "score": _round(match.alignment.score, 4),
        "sections": sections_list(match.sections),
        **_part_object(match),
        **_copies_object(match),
    }


def _copies_object(found: Match | Segment) -> schema.Copies:
    return {"alternatives": list(found.alternatives)} if found.alternatives else {}


def _part_object(found: Match | Segment) -> schema.Part:
    """The audio track of a file with several, and the channels if the mono mix does not contain the match."""
    part: schema.Part = {}
    if found.track is not None:
        part["track"] = found.track
    if found.channel:
        part["channel"] = found.channel
    return part


def song_object(song: Song, matches: list[Match]) -> schema.Song:
    """One song of a report; its `matches` are positions in the list of all matches."""
    return {
        "work": song.work,
        "name": song.original.name,
        "original": song.original.id,
        "matches": [matches.index(match) for match in song.matches],
    }


def timeline_object(timeline: Timeline) -> schema.Timeline:
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


def segment_object(segment: Segment) -> schema.Segment:
    return {
        "recording": recording_object(segment.recording),
        "kind": cast(schema.Kind, str(segment.kind)),
        "confidence": _round(segment.confidence),
        **interval_object(segment.interval),
        "reference_start": _round(segment.reference.start),
        "reference_end": _round(segment.reference.end),
        "speed": _round(segment.speed, 4),
        "key_shift": _round(segment.key_shift, 2),
        "original": recording_object(segment.original) if segment.original else None,
        **_part_object(segment),
        **_copies_object(segment),
    }


def played_object(song: PlayedSong, segments: list[Segment]) -> schema.PlayedSong:
    """One song of a long recording; its `segments` are positions in the list of all segments."""
    return {
        "work": song.work,
        "name": song.original.name,
        "original": song.original.id,
        "segments": [segments.index(segment) for segment in song.segments],
        "seconds": _round(song.seconds),
        "share": _round(song.share, 4),
    }


def gap_object(gap: Gap) -> schema.Gap:
    return {
        **interval_object(gap.interval),
        "sound": cast(schema.Sound, str(gap.sound)),
        "unknown": gap.unknown,
    }


def unknown_object(music: UnknownMusic) -> schema.UnknownMusic:
    """Music that is not in the library, with its occurrences."""
    return {
        "id": music.id,
        "duration": _round(music.duration),
        "occurrences": [
            {"source": each.source, **interval_object(each.interval), "heard_at": each.heard_at}
            for each in music.occurrences
        ],
    }


def timeline_from_object(value: schema.Timeline) -> Timeline:
    """The timeline from which `timeline_object` made this object, to the millisecond."""
    return Timeline(
        segments=[segment_from_object(each) for each in value["segments"]],
        gaps=[
            Gap(Interval(each["start"], each["end"]), Sound(each["sound"]), each["unknown"]) for each in value["gaps"]
        ],
        duration=value["duration"],
        thresholds={Kind(kind): each for kind, each in value["thresholds"].items()},
        searched=value["searched"],
        elapsed=value["elapsed"],
        source=value["source"],
        complete=value["complete"],
        warnings=tuple(value["warnings"]),
    )


def segment_from_object(value: schema.Segment) -> Segment:
    original = value["original"]
    return Segment(
        recording_from_object(value["recording"]),
        Kind(value["kind"]),
        value["confidence"],
        Interval(value["start"], value["end"]),
        Interval(value["reference_start"], value["reference_end"]),
        value["speed"],
        value["key_shift"],
        recording_from_object(original) if original else None,
        value.get("track"),
        value.get("channel", ""),
        tuple(value.get("alternatives", ())),
    )


def recording_from_object(value: schema.Recording) -> Recording:
    """The recording, except for whether it is the original of its work, which the object does not contain."""
    tags = Tags(
        title=value["title"],
        artists=tuple(value["artists"]),
        album=value["album"],
        isrc=value["isrc"],
        track=value["track"],
        year=value["year"],
        musicbrainz_recording_id=value["musicbrainz_recording_id"],
        musicbrainz_release_id=value["musicbrainz_release_id"],
        work=value["work"],
    )
    return Recording(
        value["id"],
        tags,
        value["duration"],
        value["source"],
        value["content_hash"],
        value["added_at"],
        missing_since=value.get("missing_since", ""),
        fields=Fields(value.get("fields")),
    )


def event_object(event: Event) -> dict[str, object]:
    """An event of a stream; its keys depend on its type."""
    value: dict[str, object] = {"event": str(event.type), "at": _time(event.at), "position": _round(event.position)}
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


def explanation_object(explanation: Explanation) -> schema.Explanation:
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


def sections_list(sections: Iterable[Section]) -> list[schema.Section]:
    return [
        {"query": interval_object(section.query), "reference": interval_object(section.reference)}
        for section in sections
    ]


def interval_object(interval: Interval) -> schema.Interval:
    return {"start": _round(interval.start), "end": _round(interval.end)}


def recording_object(recording: Recording) -> schema.Recording:
    tags = recording.tags
    return {
        "id": recording.id,
        "title": tags.title,
        "artists": list(tags.artists),
        "album": tags.album,
        "isrc": tags.isrc,
        "track": tags.track,
        "year": tags.year,
        "musicbrainz_recording_id": tags.musicbrainz_recording_id,
        "musicbrainz_release_id": tags.musicbrainz_release_id,
        "work": tags.work,
        "duration": _round(recording.duration),
        "source": recording.source,
        "content_hash": recording.content_hash,
        "added_at": recording.added_at,
        "missing_since": recording.missing_since,
        "fields": dict(recording.fields),
    }


def stats_object(stats: Stats) -> dict[str, object]:
    return asdict(stats) | {
        "duration": _round(stats.duration),
        "index_bytes": stats.index_bytes,
        "companion_bytes": stats.companion_bytes,
    }


def add_objects(report: AddReport) -> Iterator[dict[str, object]]:
    """An object for every file, then one with the totals."""
    for recording in report.added:
        yield {"outcome": "added", "path": recording.source, "recording": recording_object(recording)}
    for known in report.known:
        yield {"outcome": "known", **asdict(known)}
    for skipped in report.skipped:
        yield {"outcome": "skipped", **asdict(skipped)}
    for change in report.changes:
        yield change_object(change)
    yield {
        "outcome": "finished",
        "added": len(report.added),
        "known": len(report.known),
        "skipped": len(report.skipped),
        "audio_seconds": _round(report.audio_seconds),
        "elapsed": _round(report.elapsed),
        "warnings": list(report.warnings),
    }


def change_object(change: FileChange) -> dict[str, object]:
    """A change of a file, without the keys that do not apply."""
    keys = {"outcome": change.change.value, "path": change.path, "recording_id": change.recording_id}
    return keys | {name: value for name in ("before", "reason") if (value := getattr(change, name))}


def sync_objects(report: SyncReport) -> Iterator[dict[str, object]]:
    """An object for every change, then one with the totals."""
    for change in report.changes:
        yield change_object(change)
    yield {
        "outcome": "finished",
        **{change.value: len(report[change]) for change in Change},
        "unchanged": report.unchanged,
        "dry_run": report.dry_run,
        "elapsed": _round(report.elapsed),
        "warnings": list(report.warnings),
    }


def metadata_objects(report: MetadataReport) -> Iterator[dict[str, object]]:
    """An object for every row that changes a recording or is wrong, then one with the totals."""
    for change in report.changed:
        yield {
            "outcome": "changed",
            "line": change.line,
            "recording_id": change.recording_id,
            "columns": list(change.columns),
        }
    for wrong in report.wrong:
        yield {"outcome": "wrong", **asdict(wrong)}
    yield {
        "outcome": "finished",
        "rows": report.rows,
        "changed": len(report.changed),
        "wrong": len(report.wrong),
        "written": report.written,
    }


def rebuild_objects(report: RebuildReport) -> Iterator[dict[str, object]]:
    """An object for every recording that could not be read again, then one with the totals."""
    for skipped in report.skipped:
        yield {"outcome": "skipped", **asdict(skipped)}
    yield {"outcome": "finished", "reencoded": report.reencoded, "skipped": len(report.skipped)}


def object_of(value: object) -> Mapping[str, object]:
    """The object of a value of one of the types in _BUILDERS. Mappings are returned as they are."""
    return value if isinstance(value, Mapping) else _BUILDERS[type(value)](value)


_BUILDERS: dict[type, Callable[..., Mapping[str, object]]] = {
    Recording: recording_object,
    Match: match_object,
    Report: report_object,
    Timeline: timeline_object,
    Event: event_object,
    UnknownMusic: unknown_object,
    Stats: stats_object,
    FileChange: change_object,
}


def without_places(value: Value) -> Value:
    """A copy in which every `source` is a file name without its folder, for readers who may not see server paths.

    User fields stay as they are.

    >>> without_places({"recording": {"id": 1, "source": "/srv/music/a.mp3"}})
    {'recording': {'id': 1, 'source': 'a.mp3'}}
    """
    copy: Any = value
    if isinstance(value, dict):
        copy = {
            key: PurePath(inner).name
            if key == "source" and isinstance(inner, str)
            else inner
            if key == "fields"
            else without_places(inner)
            for key, inner in value.items()
        }
    elif isinstance(value, list):
        copy = [without_places(each) for each in value]
    return cast(Value, copy)


def to_json(value: Mapping[str, object]) -> str:
    """One line of JSON that can be encoded as UTF-8.

    A file name with undecodable bytes contains lone surrogates; they become JSON escapes.

    >>> to_json({"source": "a\\udcff.mp3"})
    '{"source": "a\\\\udcff.mp3"}'
    """
    return readable(json.dumps(value, ensure_ascii=False, allow_nan=False))


def readable(json_text: str) -> str:
    """The same JSON with lone surrogates as JSON escapes, so that it can be encoded as UTF-8."""
    return json_text.encode("utf-8", "backslashreplace").decode("utf-8")


def _time(moment: datetime) -> str:
    """UTC, ISO 8601, to the millisecond."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _round(number: float, digits: int = 3) -> float:
    """A rounded Python float. NumPy numbers cannot be written as JSON."""
    return round(float(number), digits)
