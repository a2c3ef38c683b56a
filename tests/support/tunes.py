"""Files of synthesised tunes, for tests with the encoders that ship."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lab.data import synth
from lab.data.tunes import Tune


def write_tunes(folder: Path, tunes: Iterable[Tune]) -> Path:
    """Write `0.flac`, `1.flac`, ... of the tunes in their order, with tags, to a new folder; return the folder."""
    folder.mkdir()
    for number, tune in enumerate(tunes):
        synth.write(folder / f"{number}.flac", synth.render(tune, seed=1), title=tune.title, artist=tune.artist)
    return folder
