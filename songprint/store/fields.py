"""User fields: what users store with a recording, such as the rights holder or the id in another system.

A field has a name and a string, a number or a boolean. Every answer about the recording contains its fields.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from songprint.errors import MetadataError
from songprint.store.database import storable
from songprint.store.text import composed
from songprint.types import Fields, FieldValue

MAX_FIELDS = 50  # per recording
MAX_NAME = 64  # characters
MAX_TEXT = 1000  # characters of one value
MAX_TOTAL = 16_000  # characters of all fields of a recording as JSON: every answer contains them
MAX_INTEGER = 2**53 - 1  # readers of JSON that have only floating-point numbers are exact up to here


def changed(present: Fields, changes: Mapping[str, object] | None) -> Fields:
    """Return the fields after a change, as JSON Merge Patch (RFC 7396) defines it.

    Fields that `changes` does not name stay, None removes a field, and None for all of `changes` removes all fields.
    Raises MetadataError for an invalid name or value, and for too many fields.
    """
    if changes is None:
        return Fields()
    if not isinstance(changes, Mapping):
        raise MetadataError("user fields must be an object of names and values")
    values: dict[str, FieldValue] = dict(present)
    for name, value in changes.items():
        name = checked_name(name)
        values.pop(name, None)
        if value is not None:
            values[name] = _checked_value(name, value)
    if len(values) > MAX_FIELDS:
        raise MetadataError(f"a recording can have at most {MAX_FIELDS} user fields, not {len(values)}")
    fields = Fields(values)
    if len(to_json(fields) or "") > MAX_TOTAL:
        raise MetadataError(f"the user fields of a recording can have at most {MAX_TOTAL:,} characters together")
    return fields


def checked_name(name: object) -> str:
    """Return the name of a field as it is stored. Raises MetadataError if it is not valid."""
    if not isinstance(name, str):
        raise MetadataError(f"the name of a user field must be text, not {name!r}")
    name = composed(storable(name))
    if not 0 < len(name) <= MAX_NAME or name != name.strip() or "=" in name or not name.isprintable():
        raise MetadataError(
            f"{name[:MAX_NAME]!r} cannot be the name of a user field: a name has 1 to {MAX_NAME} printable characters,"
            " no '=' and no blank at its ends"
        )
    return name


def _checked_value(name: str, value: object) -> FieldValue:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        value = composed(storable(value))
        if len(value) > MAX_TEXT:
            raise MetadataError(f"the user field {name!r} can have at most {MAX_TEXT:,} characters, not {len(value):,}")
        return value
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise MetadataError(f"the user field {name!r} can be at most {MAX_INTEGER}; store a larger number as text")
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise MetadataError(f"the user field {name!r} must be text, a finite number, true or false")


def to_json(fields: Fields) -> str | None:
    """Return the column `fields` of a recording: null without fields."""
    return json.dumps(dict(fields), ensure_ascii=False) if fields else None


def from_json(stored: str | None) -> Fields:
    """Reverse `to_json`."""
    return Fields(json.loads(stored)) if stored else Fields()


def parsed(text: str) -> FieldValue:
    """Convert the text of a command or of a table to a value.

    A number and a string in double quotes, written as JSON writes them, have these types, and so do `true` and `false`
    in any case, because spreadsheet programs write TRUE. Everything else is text: `007` and `1.50` keep their zeros,
    and `"7"` in quotes is text too.

    >>> parsed("Nina Simone"), parsed("7"), parsed("007"), parsed("true"), parsed('"7"')
    ('Nina Simone', 7, '007', True, '7')
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text[:1] not in _JSON_STARTS:
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, str):
        return value
    if not isinstance(value, int | float) or json.dumps(value) != text:
        return text
    return value if math.isfinite(value) and (isinstance(value, float) or abs(value) <= MAX_INTEGER) else text


_JSON_STARTS = tuple('"-0123456789')  # of strings and numbers


def written(value: FieldValue) -> str:
    """Convert a value to text from which `parsed` returns the same value.

    >>> written("Nina Simone"), written("7"), written(7), written(True)
    ('Nina Simone', '"7"', '7', 'true')
    """
    if isinstance(value, str):
        return value if value and parsed(value) == value else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
