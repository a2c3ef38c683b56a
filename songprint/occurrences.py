"""The nouns of unknown music: what it is, and where it was heard."""

from __future__ import annotations

from dataclasses import dataclass

from songprint.types import Interval


@dataclass(frozen=True)
class Occurrence:
    """Where unknown music was heard."""

    source: str                 # the file or stream; empty if it has no name
    heard: Interval
    heard_at: str               # when it was scanned: UTC, ISO 8601


@dataclass(frozen=True)
class UnknownMusic:
    """Music that nobody knows, and where it was heard, in the order in which it was scanned."""

    id: int
    occurrences: tuple[Occurrence, ...]

    @property
    def duration(self) -> float:
        """Seconds of the longest occurrence."""
        return max(each.heard.duration for each in self.occurrences)
