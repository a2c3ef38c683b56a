"""What happens in a stream that is listened to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from songprint.types import Segment


class Happening(StrEnum):
    """What an event tells."""

    CONNECTED = "connected"         # sound comes, for the first time
    ANNOUNCED = "announced"         # the station says what it plays; shown and never believed
    STARTED = "started"             # a song is heard
    ENDED = "ended"                 # it is over; what is told of it is final
    WITHDRAWN = "withdrawn"         # it was not that song after all
    GAP = "gap"                     # the stream stalled or broke; nothing is heard
    RECONNECTED = "reconnected"     # sound comes again
    FINISHED = "finished"           # there is nothing more to come


@dataclass(frozen=True)
class Event:
    """One thing that happens. Positions are seconds since the first sound, gaps included."""

    what: Happening
    begun: datetime                 # UTC: when position was 0
    position: float                 # of the stream when this is told
    segment: Segment | None = None  # of started, ended, withdrawn: the song; it is heard at these positions
    text: str = ""                  # of connected the station's name, of announced the title, of gap why
    seconds: float = 0.0            # of ended how long the song was heard, of reconnected how long nothing was

    @property
    def at(self) -> datetime:
        """UTC: when this is told."""
        return self.when(self.position)

    def when(self, position: float) -> datetime:
        """UTC: when a position was."""
        return self.begun + timedelta(seconds=position)
