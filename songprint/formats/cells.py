"""Cells of tables that spreadsheet programs open."""

from __future__ import annotations

FIELD_PREFIX = "field:"  # of the names of columns with user fields
MATCH_COLUMNS = (  # of every table with a row for each match
    "start",
    "end",
    "kind",
    "artists",
    "title",
    "album",
    "isrc",
    "confidence",
    "reference_start",
    "reference_end",
    "speed",
    "key_shift",
    "recording_id",
    "song",
    "work",
)

# Characters that start a formula in some spreadsheet program, including full-width forms and leading white space.
FORMULA_STARTS = "=+-@＝＋－＠\t\r\n"


def guarded(text: str) -> str:
    """Prefix a text that a spreadsheet would interpret as a formula with an apostrophe; `unguarded` removes it.

    >>> guarded("=1+1"), guarded("'=1+1"), guarded("Don't")
    ("'=1+1", "''=1+1", "Don't")
    """
    return f"'{text}" if _is_formula(text.lstrip("'")) else text


def unguarded(text: str) -> str:
    """Reverse `guarded`.

    >>> unguarded("'=1+1"), unguarded("'Tis")
    ('=1+1', "'Tis")
    """
    return text[1:] if text.startswith("'") and _is_formula(text.lstrip("'")) else text


def _is_formula(text: str) -> bool:
    return text[:1] != "" and text[0] in FORMULA_STARTS
