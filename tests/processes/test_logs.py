"""The log: a logged text cannot forge a line."""

from __future__ import annotations

import logging
import sys

import pytest

from songprint.processes.logs import Formatter


def formatted(message: str, *arguments: object, error: BaseException | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    return Formatter().format(logging.LogRecord("songprint", logging.INFO, "", 0, message, arguments, info))


@pytest.mark.parametrize(
    "path",
    [
        "/a\nsongprint: forged",
        "/a\r\x1b[2Jforged",
        "/a\x85b",
        "/a\u2028b",
        "/a\x00b",
        "/a\u202eb",
        "/a\udcffb",
        "/a\tb",
    ],
)
def test_a_logged_path_stays_on_its_line(path):
    line = formatted("GET %s", path)
    assert line.startswith("songprint: GET /a\\") and line.isprintable()


def test_plain_text_of_any_alphabet_is_unchanged():
    assert formatted("reading %s", "für Elise 日本") == "songprint: reading für Elise 日本"


def test_the_text_of_an_error_cannot_forge_a_line_in_a_traceback():
    try:
        raise ValueError("broken\nsongprint: forged \x1b[2J")
    except ValueError:
        lines = formatted("job", error=sys.exc_info()[1]).splitlines()
    assert lines[0] == "songprint: job" and lines[1] == "    Traceback (most recent call last):"
    assert "    songprint: forged \\x1b[2J" in lines and not any(line.startswith("songprint") for line in lines[1:])
