"""A recording as a row of the catalogue, and back."""

from __future__ import annotations

import json
from dataclasses import fields

from sqlalchemy import Row

from songprint.database.columns import storable
from songprint.schema import recordings
from songprint.types import Recording, Tags


def to_row(tags: Tags) -> dict[str, object]:
    """The columns of a recording that its tags fill."""
    row = {field.name: getattr(tags, field.name) for field in fields(Tags)}
    row["artists"] = json.dumps([storable(name) for name in tags.artists], ensure_ascii=False)
    return {name: storable(value, recordings.c[name].type.length) if isinstance(value, str) else value
            for name, value in row.items()}


def to_recording(row: Row) -> Recording:
    """The recording that a row tells of."""
    tags = {field.name: getattr(row, field.name) for field in fields(Tags)}
    tags["artists"] = tuple(json.loads(row.artists))
    return Recording(id=row.id, tags=Tags(**tags), duration=row.duration, source=row.source,
                     content_hash=row.content_hash, added_at=row.added_at, original=bool(row.original))
