"""The kinds of match. The only module that refers to all of them.

A new kind is a member of `songprint.types.Kind`, a folder with a `songprint.encoders.contract.Matcher`, and a line in
`MATCHERS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from songprint.config import Settings
from songprint.covers.matcher import CoverMatcher
from songprint.encoders.contract import WEIGHTS, Encoder, Matcher, load_spec
from songprint.fingerprint.matcher import FingerprintMatcher
from songprint.store.store import Store
from songprint.types import Kind

# In the order in which kinds are searched and reported. The first one identifies the very recording.
MATCHERS: dict[Kind, Matcher] = {Kind.RECORDING: FingerprintMatcher(), Kind.COVER: CoverMatcher()}


def load_encoder(name: str = "fingerprint", threads: int = 1, folder: Path = WEIGHTS) -> Encoder:
    """Load an encoder that ships, by name. Raises EncoderError for an unknown name and for damaged weights."""
    return MATCHERS[load_spec(name, folder).kind].open_encoder(threads, folder)


def open_store(
    path: Path,
    *,
    create: bool = False,
    encoder: Encoder | Sequence[Encoder] | None = None,
    settings: Settings | None = None,
) -> Store:
    """Open the store of a library with all kinds; see `songprint.store.store.Store`."""
    return Store(path, MATCHERS.values(), create=create, encoder=encoder, settings=settings)
