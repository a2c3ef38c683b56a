"""How two renditions correspond, and the picture of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from songprint.audio import files
from songprint.covers import align, tempo_search
from songprint.covers.align import TonalAlignment
from songprint.covers.rows import SHORTEST, STEP, Rendition
from songprint.covers.tonal import FRAMES_PER_SECOND, PITCH_CLASSES
from songprint.covers.within_library import cover_level, stored
from songprint.errors import AudioError, MissingExtra, SongprintError
from songprint.store.store import Store


@dataclass(frozen=True)
class Explanation:
    """Two renditions, and how they correspond."""

    query: str  # what they are called
    reference: str
    query_rendition: Rendition | None  # None if it is too short, or silent
    reference_rendition: Rendition | None
    alignment: TonalAlignment | None  # None if no part corresponds

    @classmethod
    def of(
        cls,
        query: str,
        query_frames: np.ndarray,
        reference: str,
        reference_frames: np.ndarray,
        ready: Callable[[np.ndarray], Rendition | None] = Rendition.of,
    ) -> Explanation:
        """Lay tonal frames (n, 48) uint8 along others, made `ready` as for a search, in every key and tempo."""
        one, other = ready(query_frames), ready(reference_frames)
        [alignment] = align.align(one, [other], PITCH_CLASSES)
        for tempo in tempo_search.TEMPI:
            [laid] = align.align(ready(tempo_search.change_tempo(query_frames, tempo)), [other], PITCH_CLASSES)
            if laid and (not alignment or laid.score > alignment.score):
                alignment = tempo_search.undo_tempo(laid, tempo, len(query_frames) / FRAMES_PER_SECOND)
        return cls(query, reference, one, other, alignment)

    def similarity(self) -> np.ndarray:
        """(n, m) how alike the moments of both are, STEP seconds apart; AudioError where there is too little."""
        for name, rendition in ((self.query, self.query_rendition), (self.reference, self.reference_rendition)):
            if rendition is None:
                raise AudioError(f"{name} is too short to be compared, or silent: {SHORTEST:g} s are needed")
        key = self.alignment.key_shift if self.alignment else 0
        return align.similarity(self.query_rendition, self.reference_rendition, key)

    def paths(self) -> list[np.ndarray]:
        """(k, 2) seconds in the query and in the reference along each part that corresponds."""
        if self.alignment is None:
            return []
        path = self.alignment.path
        return [
            path[(path[:, 0] >= section.query.start) & (path[:, 0] <= section.query.end)]
            for section in self.alignment.sections
        ]

    def draw(self, path: str | Path) -> None:
        """Write the cross-similarity as a picture, with the path along which they correspond."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtra("drawing needs matplotlib: pip install 'songprint[plot]'") from error
        alike = self.similarity()
        figure = Figure(figsize=(8, 8 * min(2, max(0.4, alike.shape[0] / alike.shape[1])) + 1), layout="constrained")
        axes = figure.add_subplot()
        axes.imshow(
            alike,
            origin="lower",
            aspect="auto",
            cmap="Greys",
            interpolation="nearest",
            extent=(0, alike.shape[1] * STEP, 0, alike.shape[0] * STEP),
        )
        for part in self.paths():
            axes.plot(part[:, 1], part[:, 0], color="tab:red", linewidth=1.5)
        found = self.alignment
        title = (
            f"{found.key_shift:+} semitones, tempo {100 * (found.tempo - 1):+.0f} %, score {found.score:.2f}"
            if found
            else "no part corresponds"
        )
        axes.set(title=title, xlabel=f"{_shown(self.reference)} (s)", ylabel=f"{_shown(self.query)} (s)")
        try:
            figure.savefig(path, dpi=150)
        except ValueError as error:  # a format that matplotlib does not know
            raise SongprintError(f"cannot draw {path}: {error}") from error


def explain(store: Store, query: str | Path | int, recording_id: int) -> Explanation:
    """Lay a file, or the recording with that id, along another recording of the library."""
    level = cover_level(store)
    store.check_encoders()
    reference = stored(level, recording_id)
    if isinstance(query, int):
        name, frames = store.catalog.recording(query).name, stored(level, query).evidence
    else:
        name, frames = str(query), level.encoder.encode_stream(files.blocks(query, store.sample_rate))[0].evidence
    return Explanation.of(
        name, frames, store.catalog.recording(recording_id).name, reference.evidence, level.encoder.networks.prepare
    )


def _shown(name: str) -> str:
    """A file is called by its name alone; a dollar sign would be read as the start of a formula."""
    return (Path(name).name or name).replace("$", r"\$")
