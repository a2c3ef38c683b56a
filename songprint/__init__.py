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
    from collections.abc import Sequence
    from pathlib import Path

    from songprint.config import Settings
    from songprint.encoders.contract import Encoder
    from songprint.errors import AudioError, LibraryError, SongprintError
    from songprint.kinds import AudioEncoder
    from songprint.library import Library
    from songprint.types import Kind, Match, Recording, Report, Timeline

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
    "Timeline",
    "__version__",
    "encoder",
    "open",
]

_MODULES = {  # public name: the module that defines it
    "Library": "library",
    "Recording": "types",
    "Match": "types",
    "Report": "types",
    "Timeline": "types",
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
    from songprint.errors import LibraryNotFound
    from songprint.library import Library

    settings = settings or config.load()
    path = path or settings.library
    try:
        return Library(path, create=create, encoder=encoder, settings=settings)
    except LibraryNotFound as error:
        raise LibraryNotFound(f"{error}, or in Python with songprint.open({str(path)!r}, create=True)") from error


def encoder(name: str = "fingerprint", threads: int = 1) -> AudioEncoder:
    """Load an encoder, which computes embeddings of audio: one unit vector every `hop` seconds.

    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal(44100 * 10)
    >>> encode = encoder("fingerprint")
    >>> encode(noise, sample_rate=44100).vectors.shape
    (18, 40)
    >>> encode.sample_rate, encode.dim, encode.hop
    (8000, 40, 0.5)

    `name` is "fingerprint" or "cover". Raises EncoderError for another name and for damaged weights.
    """
    from songprint import kinds

    return kinds.AudioEncoder(kinds.load_encoder(name, threads=threads))


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'songprint' has no attribute {name!r}")
    return getattr(import_module(f"songprint.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
