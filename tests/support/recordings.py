"""Adds recordings with random embeddings to a catalogue, without files and encoders."""

from __future__ import annotations

import numpy as np

from songprint.store.catalog import Catalog
from songprint.types import Embeddings, Kind, KnownFile, Recording, Tags


def unit_vectors(random: np.random.Generator, count: int = 10, dim: int = 16) -> np.ndarray:
    vectors = random.normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def add(
    catalog: Catalog,
    random: np.random.Generator,
    title: str = "Song",
    count: int = 10,
    encoder_id: str = "toy-1",
    **tags,
) -> Recording | KnownFile:
    vectors = Embeddings(unit_vectors(random, count), hop=0.5, encoder_id=encoder_id)
    return catalog.add(
        tags=Tags(title=title, **tags),
        duration=count / 2,
        source=f"/music/{title}.wav",
        content_hash=ascii(title)[:100],
        embeddings={Kind.RECORDING: vectors},
    )
