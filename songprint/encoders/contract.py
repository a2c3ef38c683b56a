"""The contract between the program and a kind of match, and the specification of an encoder.

A kind of match ("recording", "cover") is a `Matcher`: it opens the encoder that turns sound into embeddings, finds
the references that a query matches, and makes the `Tracker` that follows a long recording or a stream.
`songprint.kinds` lists the matchers; `songprint.identify` and `songprint.scan` loop over them and name none.

An encoder is two or more files in `weights/`: its networks (`NAME.onnx`) and its specification (`NAME.json`), which
holds everything that would invalidate stored vectors or thresholds if it changed. Training code is in `lab/`; nothing
here needs PyTorch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from songprint.errors import EncoderError
from songprint.types import Embeddings, Interval, Kind, Match, Segment

if TYPE_CHECKING:
    from songprint.audio.sound import Sound
    from songprint.store.level import Level

WEIGHTS = Path(__file__).with_name("weights")


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder produces and how. `id` changes with every weight: vectors of two ids cannot be compared."""

    name: str
    id: str
    kind: Kind
    sample_rate: int  # Hz
    window: float  # seconds that one vector describes
    hop: float  # seconds between the vectors of a reference
    query_hop: float  # seconds between the vectors of a query: denser, for more evidence
    dim: int  # numbers in a vector
    calibration: dict[str, Any] = field(default_factory=dict)  # see songprint.confidence
    training: dict[str, Any] = field(default_factory=dict)  # how the weights were made
    # Hashes of the networks that verification uses. They may change while stored vectors stay valid.
    motifs: str = ""  # finds what moments of two renditions have in common
    verifier: str = ""  # classifies alignments


class Encoder(Protocol):
    """Turns samples into embeddings. Safe to use from several threads."""

    @property
    def spec(self) -> EncoderSpec:
        """Sample rate, window, hop and calibration."""

    def encode(self, samples: np.ndarray) -> Embeddings:
        """Encode (n,) float32 mono samples at `spec.sample_rate`."""

    def encode_stream(self, blocks: Iterable[np.ndarray]) -> tuple[Embeddings, float]:
        """Encode consecutive blocks of samples; return the embeddings of the whole and its duration in seconds."""


@dataclass(frozen=True)
class Answer:
    """What a matcher finds for one query."""

    matches: list[Match]  # every match, most confident first, also below the threshold
    case: str = ""  # the case of the calibration that gives the threshold; see `songprint.confidence.Calibration`
    reason: str = ""  # why nothing may match, in words


@dataclass(frozen=True)
class Settled:
    """What a tracker can report at one moment."""

    until: float  # seconds up to which nothing changes any more
    segments: list[Segment]  # final, and not reported before
    current: list[Segment]  # may still grow


class History(Protocol):
    """The vectors of everything that a tracker has processed."""

    def between(self, interval: Interval) -> Embeddings:
        """Return the embeddings of an interval."""


class Tracker(Protocol):
    """Tracks references in a long recording, block by block, and reports the segments in which references are present.

    Times are seconds since the first sample.
    """

    @property
    def min_segment(self) -> float:
        """Seconds. A segment is dropped if less of it remains outside the segments of earlier kinds."""

    @property
    def history(self) -> History | None:
        """The vectors of all audio so far, if the tracker was created with `remember`."""

    @property
    def duration(self) -> float:
        """Seconds of audio that have been processed."""

    def feed(self, block: np.ndarray) -> None:
        """Process the next (n,) float32 mono samples at the sample rate of the encoder."""

    def settle(self, known: Sequence[Segment], until: float, *, last: bool = False, growing: bool = True) -> Settled:
        """Return the results that are final up to `until` seconds, and drop the data that only they needed.

        `known` are the segments of earlier kinds; with `last`, no more audio follows. Without `growing`, segments that
        may still grow may be left out of the result, which saves work.
        """

    def current(self, known: Sequence[Segment]) -> list[Segment]:
        """Return the segments that may still grow, including the very last seconds."""

    def finish(self) -> None:
        """Process what is buffered: no more audio follows."""


class Companion(Protocol):
    """Data that a kind derives from the embeddings of a level and keeps beside its index."""

    @property
    def bytes_on_disk(self) -> int:
        """The size of its files. Reads none of them."""

    def tidy(self) -> None:
        """Write what is not on disk yet, if it is much. Adding calls this from time to time."""

    def rebuild(self) -> None:
        """Write everything again."""


@runtime_checkable
class Matcher(Protocol):
    """One kind of match: how references are encoded, identified in a query, and tracked in a long recording."""

    @property
    def kind(self) -> Kind:
        """The kind of match."""

    @property
    def encoder_name(self) -> str:
        """The name of the encoder that ships."""

    @property
    def tracking_case(self) -> str:
        """The case of the calibration that gives the threshold of tracked segments."""

    @property
    def companions(self) -> Sequence[Callable[[Level], Companion]]:
        """What the kind keeps beside the index of its level; see `Level.companion`."""

    def spec(self) -> EncoderSpec:
        """Read the specification of the encoder that ships; no weights are loaded."""

    def open_encoder(self, threads: int = 1, folder: Path = WEIGHTS) -> Encoder:
        """Load the encoder that ships. Raises EncoderError if its files are missing or damaged."""

    def query(self, sound: Sound, level: Level) -> Any:
        """Encode the query, or return None if it is too short for this kind. May run in its own thread."""

    def identify(self, query: Any, level: Level, known: set[int]) -> Answer:
        """Find the references that match. `known` are the ids that earlier kinds have already identified."""

    def tracker(self, level: Level, accepts: Callable[[Segment], bool], *, remember: bool = False) -> Tracker:
        """Make a tracker.

        `accepts` returns whether a segment is confident and long enough to be reported. With `remember`, a tracker of
        the first kind keeps a history.
        """


def load_spec(name: str = "fingerprint", folder: Path = WEIGHTS) -> EncoderSpec:
    """Read the specification alone: cheap, no weights are read. Raises EncoderError for an unknown name."""
    try:
        fields = json.loads((folder / f"{name}.json").read_text())
    except FileNotFoundError as error:
        known = ", ".join(sorted(path.stem for path in folder.glob("*.json"))) or "none"
        raise EncoderError(f"no encoder {name!r} (there is: {known})") from error
    return EncoderSpec(**{**fields, "kind": Kind(fields["kind"])})


def read_weights(name: str, networks: Sequence[str], folder: Path = WEIGHTS) -> tuple[EncoderSpec, list[bytes]]:
    """Read an encoder's specification and networks, and check them against the hash in its id.

    Raises EncoderError if the files are missing or damaged.
    """
    spec = load_spec(name, folder)
    files = [folder / f"{network}.onnx" for network in networks]
    try:
        contents = [file.read_bytes() for file in files]
    except OSError as error:
        raise EncoderError(
            f"cannot read the weights of encoder {name!r}: {error.strerror}. "
            "Reinstall Songprint: pip install --force-reinstall songprint"
        ) from error
    if weights_hash(b"".join(contents)) not in spec.id:
        raise EncoderError(
            f"the weights of encoder {name!r} are damaged ({files[-1]}). "
            "Reinstall Songprint: pip install --force-reinstall songprint"
        )
    return spec, contents


def ships(name: str, folder: Path = WEIGHTS) -> bool:
    """Whether this installation contains the encoder."""
    return (folder / f"{name}.json").is_file()


def weights_hash(network: bytes) -> str:
    """12 hex digits that name a set of weights."""
    return hashlib.sha256(network).hexdigest()[:12]
