"""Room impulse responses simulated with pyroomacoustics (image sources), by seed.

Training uses seeds below 10,000; measurements use seeds from 10,000 on, in rooms of other sizes.
"""

from __future__ import annotations

import numpy as np


def simulate(count: int, sample_rate: int, seed: int) -> list[np.ndarray]:
    """`count` responses, float32, direct sound first at peak near 1; RT60 0.15 to 1.1 s."""
    import pyroomacoustics as pra

    rng = np.random.default_rng(seed)
    unseen = seed >= 10_000
    responses = []
    while len(responses) < count:
        size = rng.uniform([4, 4, 2.6], [14, 11, 5]) if unseen else rng.uniform([2.5, 2.5, 2.3], [12, 9, 4.5])
        rt60 = rng.uniform(0.15, 1.1)
        try:
            absorption, order = pra.inverse_sabine(rt60, size)
        except ValueError:  # no wall is hard enough for this RT60 in a room of this size
            continue
        model = pra.ShoeBox(size, fs=sample_rate, materials=pra.Material(absorption), max_order=min(order, 17))
        model.add_source(rng.uniform(0.4, size - 0.4))
        model.add_microphone(rng.uniform(0.4, size - 0.4))
        model.compute_rir()
        response = model.rir[0][0].astype(np.float32)
        direct = int(np.argmax(np.abs(response) > 0.3 * np.abs(response).max()))
        response = response[max(0, direct - 4) :]
        responses.append(response / np.abs(response).max())
    return responses
