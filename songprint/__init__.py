"""Music identification that you run yourself.

>>> import songprint
>>> with songprint.open("my-library", create=True) as library:      # doctest: +SKIP
...     library.add("Music")
...     print(library.identify("clip.mp3").matches)

Importing this is instant: what needs NumPy, FFmpeg, a model runtime or a database is loaded when it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from songprint.config import Settings
    from songprint.errors import AudioError, LibraryError, SongprintError
    from songprint.fingerprint.encoder import Encoder
    from songprint.library import Library
    from songprint.types import Embeddings, Kind, Match, Recording, Report

__version__ = "0.2.0"

__all__ = [
    "AudioError",
    "Kind",
    "Library",
    "LibraryError",
    "Match",
    "Recording",
    "Report",
    "SongprintError",
    "__version__",
    "encoder",
    "open",
]

_HOMES = {
    "Library": "library",
    "Recording": "types",
    "Match": "types",
    "Report": "types",
    "Kind": "types",
    "SongprintError": "errors",
    "AudioError": "errors",
    "LibraryError": "errors",
}


def open(
    path: str | Path | None = None,
    *,
    create: bool = False,
    encoder: Encoder | Sequence[Encoder] | None = None,
    settings: Settings | None = None,
) -> Library:
    """Open the library in a folder; with `create`, make it if there is none.

    Without a path, the one in the settings ($SONGPRINT_LIBRARY, or a folder in your home).
    """
    from songprint import config
    from songprint.library import Library

    settings = settings or config.load()
    return Library(path or settings.library, create=create, encoder=encoder, settings=settings)


def encoder(name: str = "fingerprint", threads: int = 1) -> Callable[..., Embeddings]:
    """The function that turns any audio into embeddings: one unit vector for each half second.

    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal(44100 * 10)
    >>> len(encoder("fingerprint")(noise, sample_rate=44100).vectors)
    18

    Samples are float, mono (n,) or (n, channels), at the encoder's own rate unless you say otherwise.
    """
    from songprint import kinds
    from songprint.audio.samples import at_rate

    loaded = kinds.load_encoder(name, threads=threads)

    def encode(samples: np.ndarray, *, sample_rate: int = loaded.spec.sample_rate) -> Embeddings:
        return loaded.encode(at_rate(samples, sample_rate, loaded.spec.sample_rate))

    return encode


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'songprint' has no attribute {name!r}")
    return getattr(import_module(f"songprint.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
