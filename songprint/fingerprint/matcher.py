"""The matcher of kind "recording": the same recording, however degraded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from songprint.encoders.contract import WEIGHTS, Answer, EncoderSpec, load_spec, read_weights
from songprint.fingerprint import identify, speed_search
from songprint.fingerprint.encoder import Encoder, encoder_of
from songprint.fingerprint.peak_search import LibraryPeaks
from songprint.fingerprint.query import Query
from songprint.fingerprint.tracker import RecordingTracker
from songprint.types import Kind, Segment

if TYPE_CHECKING:
    from songprint.audio.sound import Sound
    from songprint.store.level import Level


class FingerprintMatcher:
    """Identifies recordings by vectors of one second and by the landmarks of their spectrum."""

    kind = Kind.RECORDING
    encoder_name = "fingerprint"
    tracking_case = ""
    companions = (LibraryPeaks,)

    def spec(self) -> EncoderSpec:
        """Read the specification of the encoder that ships."""
        return load_spec(self.encoder_name)

    def open_encoder(self, threads: int = 1, folder: Path = WEIGHTS) -> Encoder:
        """Load the encoder that ships. Raises EncoderError if its files are missing or damaged."""
        spec, (network,) = read_weights(self.encoder_name, ["fingerprint"], folder)
        return Encoder(spec, network, threads)

    def query(self, sound: Sound, level: Level) -> Query:
        """Encode the query, with vectors at the hop of queries."""
        return Query.from_sound(sound, encoder_of(level))

    def identify(self, query: Query, level: Level, known: set[int]) -> Answer:
        """Find the recordings that are present in the query, at other speeds and keys too."""
        case = "peak_search" if identify.uses_peak_search(query, level) else ""
        return Answer(speed_search.find_matches(query, level), case, identify.reason(query, level))

    def tracker(self, level: Level, accepts: Callable[[Segment], bool], *, remember: bool = False) -> RecordingTracker:
        """Make a tracker of recordings."""
        return RecordingTracker(level, accepts, remember=remember)
