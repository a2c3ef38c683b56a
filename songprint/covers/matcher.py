"""The matcher of kind "cover": another rendition of the same song."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from songprint.covers import identify
from songprint.covers.encoder import CoverEncoder, encoder_of
from songprint.covers.tracker import CoverTracker
from songprint.encoders.contract import WEIGHTS, Answer, EncoderSpec, load_spec, read_weights
from songprint.types import Embeddings, Kind, Segment

if TYPE_CHECKING:
    from songprint.audio.sound import Sound
    from songprint.store.level import Level

OWN_TEMPO = "own_tempo"  # the case of the calibration for queries without tempo search


class CoverMatcher:
    """Identifies songs by what is played: melody, bass and harmony, in any key and tempo."""

    kind = Kind.COVER
    encoder_name = "cover"
    tracking_case = OWN_TEMPO
    companions = ()

    def spec(self) -> EncoderSpec:
        """Read the specification of the encoder that ships."""
        return load_spec(self.encoder_name)

    def open_encoder(self, threads: int = 1, folder: Path = WEIGHTS) -> CoverEncoder:
        """Load the encoder that ships. Raises EncoderError if its files are missing or damaged."""
        spec, (tonal, cover) = read_weights(self.encoder_name, ["tonal", "cover"], folder)
        return CoverEncoder(spec, tonal, cover, threads, folder)

    def query(self, sound: Sound, level: Level) -> Embeddings | None:
        """Encode the query; None if it is too short for a tune."""
        if sound.duration < identify.SHORTEST:
            return None
        return encoder_of(level).encode_stream(sound.blocks())[0]

    def identify(self, query: Embeddings, level: Level, known: set[int]) -> Answer:
        """Find the recordings of which the query is another rendition."""
        case = "" if identify.at_any_tempo(query, known) else OWN_TEMPO
        return Answer(identify.find_matches(query, level, leave_out=known), case)

    def tracker(self, level: Level, accepts: Callable[[Segment], bool], *, remember: bool = False) -> CoverTracker:
        """Make a tracker of covers."""
        return CoverTracker(level, accepts)
