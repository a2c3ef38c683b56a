"""The log: one format for all processes, in which no logged text can look like a line of its own.

Logged texts contain what strangers chose: paths of requests, names of files, addresses. Control characters in them are
escaped, so a line break cannot forge a line, and an escape sequence cannot change a terminal.
"""

from __future__ import annotations

import logging

PREFIX = "songprint: "


class Formatter(logging.Formatter):
    """Formats a record as one line; the lines of a traceback follow it, indented.

    >>> record = logging.LogRecord("songprint", logging.INFO, "", 0, "GET %s", ("/a\\nsongprint: b\\x1b[2J",), None)
    >>> print(Formatter().format(record))
    songprint: GET /a\\nsongprint: b\\x1b[2J
    """

    def format(self, record: logging.LogRecord) -> str:
        lines = [PREFIX + escaped(record.getMessage())]
        if record.exc_info:
            lines += _indented(self.formatException(record.exc_info))
        if record.stack_info:
            lines += _indented(self.formatStack(record.stack_info))
        return "\n".join(lines)


def set_up(level: str) -> None:
    """Log to standard error: Songprint at this level, libraries their warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(Formatter())
    logging.basicConfig(level="WARNING", handlers=[handler])
    logging.getLogger("songprint").setLevel(level.upper())
    logging.getLogger("urllib3").setLevel("ERROR")  # its warnings contain whole URLs, with the keys in them


def escaped(text: str) -> str:
    """Text without control characters, line separators and lone surrogates, which are escaped as in Python."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter == " " or letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def _indented(text: str) -> list[str]:
    return [f"    {escaped(line)}" for line in text.split("\n")]
