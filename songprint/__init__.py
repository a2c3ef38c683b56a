"""Self-hosted music identification.

>>> import songprint
>>> with songprint.open("my-library", create=True) as library:      # doctest: +SKIP
...     library.add("Music")
...     print(library.identify("clip.mp3").matches)

Importing the package is instant: NumPy, FFmpeg, model runtimes and databases are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from songprint.config import Settings
    from songprint.encoders.contract import Encoder
    from songprint.errors import AudioError, LibraryError, SongprintError
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

_MODULES = {  # public name: the module that defines it
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
    """Open the library at `path`, by default that of the settings ($SONGPRINT_LIBRARY or a folder in the home folder).

    With `create`, a missing library is created; otherwise LibraryNotFound is raised.
    """
    from songprint import config
    from songprint.library import Library

    settings = settings or config.load()
    return Library(path or settings.library, create=create, encoder=encoder, settings=settings)


def encoder(name: str = "fingerprint", threads: int = 1) -> Callable[..., Embeddings]:
    """Return a function that computes embeddings of audio: one unit vector per half second.

    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal(44100 * 10)
    >>> len(encoder("fingerprint")(noise, sample_rate=44100).vectors)
    18

    Its samples are float, shape (n,) or (n, channels). Without `sample_rate`, the rate of the encoder is assumed.
    """
    from songprint import kinds
    from songprint.audio.samples import at_rate

    loaded = kinds.load_encoder(name, threads=threads)

    def encode(samples: np.ndarray, *, sample_rate: int = loaded.spec.sample_rate) -> Embeddings:
        return loaded.encode(at_rate(samples, sample_rate, loaded.spec.sample_rate))

    return encode


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'songprint' has no attribute {name!r}")
    return getattr(import_module(f"songprint.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
