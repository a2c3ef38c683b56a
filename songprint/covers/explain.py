"""Explanation of a cover: how two renditions correspond, and a picture of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from songprint.audio import files
from songprint.covers import align, tempo_search
from songprint.covers.encoder import cover_level, encoder_of, stored
from songprint.covers.rows import SHORTEST, STEP, Rendition
from songprint.covers.tonal import FRAMES_PER_SECOND, PITCH_CLASSES
from songprint.errors import AudioError, MissingExtra, SongprintError

if TYPE_CHECKING:
    from songprint.covers.align import TonalAlignment
    from songprint.store.store import Store


@dataclass(frozen=True)
class Explanation:
    """Two renditions, and how they correspond."""

    query: str  # name
    reference: str  # name
    query_rendition: Rendition | None  # None if it is too short, or silent
    reference_rendition: Rendition | None
    alignment: TonalAlignment | None  # None if no section corresponds

    @classmethod
    def of(
        cls,
        query: str,
        query_frames: np.ndarray,
        reference: str,
        reference_frames: np.ndarray,
        prepare: Callable[[np.ndarray], Rendition | None] = Rendition.of,
    ) -> Explanation:
        """Align tonal frames (n, 48) uint8 with others in every key and tempo. `prepare` is that of the search."""
        one, other = prepare(query_frames), prepare(reference_frames)
        [alignment] = align.align(one, [other], PITCH_CLASSES)
        for tempo in tempo_search.TEMPOS:
            [changed] = align.align(prepare(tempo_search.change_tempo(query_frames, tempo)), [other], PITCH_CLASSES)
            if changed and (not alignment or changed.score > alignment.score):
                alignment = tempo_search.undo_tempo(changed, tempo, len(query_frames) / FRAMES_PER_SECOND)
        return cls(query, reference, one, other, alignment)

    def similarity(self) -> np.ndarray:
        """(n, m) similarity of the moments of both, STEP seconds apart. Raises AudioError if one is too short."""
        key = self.alignment.key_shift if self.alignment else 0
        query = _present(self.query, self.query_rendition)
        return align.similarity(query, _present(self.reference, self.reference_rendition), key)

    def paths(self) -> list[np.ndarray]:
        """For each section (k, 2) seconds in the query and in the reference along the path."""
        if self.alignment is None:
            return []
        path = self.alignment.path
        return [
            path[(path[:, 0] >= section.query.start) & (path[:, 0] <= section.query.end)]
            for section in self.alignment.sections
        ]

    def draw(self, path: str | Path) -> None:
        """Write a picture of the cross-similarity with the path. Raises MissingExtra without matplotlib."""
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingExtra("drawing needs matplotlib: pip install 'songprint[plot]'") from error
        similarity = self.similarity()
        figure = Figure(
            figsize=(8, 8 * min(2, max(0.4, similarity.shape[0] / similarity.shape[1])) + 1), layout="constrained"
        )
        axes = figure.add_subplot()
        axes.imshow(
            similarity,
            origin="lower",
            aspect="auto",
            cmap="Greys",
            interpolation="nearest",
            extent=(0, similarity.shape[1] * STEP, 0, similarity.shape[0] * STEP),
        )
        for part in self.paths():
            axes.plot(part[:, 1], part[:, 0], color="tab:red", linewidth=1.5)
        found = self.alignment
        title = (
            f"{found.key_shift:+} semitones, tempo {100 * (found.tempo - 1):+.0f}%, score {found.score:.2f}"
            if found
            else "no section corresponds"
        )
        axes.set(title=title, xlabel=f"{_shown(self.reference)} (s)", ylabel=f"{_shown(self.query)} (s)")
        try:
            figure.savefig(path, dpi=150)
        except ValueError as error:  # matplotlib does not support the format
            raise SongprintError(f"cannot draw {path}: {error}") from error


def explain(store: Store, query: str | Path | int, recording_id: int) -> Explanation:
    """Align a file, or the recording with that id, with another recording of the library."""
    level = cover_level(store)
    store.check_encoders()
    reference = stored(level, recording_id)
    if isinstance(query, int):
        name, frames = store.catalog.recording(query).name, stored(level, query).evidence
    else:
        name, frames = str(query), level.encoder.encode_stream(files.blocks(query, store.sample_rate))[0].evidence
    return Explanation.of(
        name, frames, store.catalog.recording(recording_id).name, reference.evidence, encoder_of(level).networks.prepare
    )


def _present(name: str, rendition: Rendition | None) -> Rendition:
    if rendition is None:
        raise AudioError(f"{name} is too short to be compared, or silent: {SHORTEST:g} s are needed")
    return rendition


def _shown(name: str) -> str:
    """The name of a file without its folder. A dollar sign would start a formula."""
    return (Path(name).name or name).replace("$", r"\$")
