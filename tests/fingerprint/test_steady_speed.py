"""The speed of a match in several windows is one that explains where all of them lie in the recording."""

from __future__ import annotations

import numpy as np
import pytest

from songprint.fingerprint.align import LineAlignment
from songprint.fingerprint.candidates import VerifiedAlignment
from songprint.fingerprint.identify import _hit, _Scored, _steady
from songprint.fingerprint.landmarks import Verification
from songprint.fingerprint.tracks import Track
from songprint.types import Interval

WINDOWS = ((0.0, 10.0), (20.0, 30.0), (40.0, 50.0), (60.0, 70.0))


def windows(speeds: list[float], true_speed: float = 1.0) -> tuple[list[_Scored], Track]:
    """Windows of a recording played at `true_speed`, most probable first, each with the speed that it found."""
    scored, hits = [], []
    for number, ((start, end), speed) in enumerate(zip(WINDOWS, speeds, strict=True)):
        middle = (start + end) / 2
        line = LineAlignment(7, speed, true_speed * middle - speed * middle, np.ones(10), np.arange(10), 0, 10)
        alignment = VerifiedAlignment(line, np.linspace(start, end, 10), Verification(pitch=speed), {})
        scored.append(_Scored(alignment, 9.0 - number))
        hits.append(_hit(scored[-1], Interval(start, end)))
    return scored, Track(tuple(hits))


def test_a_window_that_fits_a_beat_later_does_not_decide():
    alignment, speed = _steady(*windows([0.988, 1.0, 1.0, 1.001]))
    assert (speed, alignment.verification.pitch) == (1.0, 1.0)


def test_the_most_probable_window_decides_if_it_fits():
    assert _steady(*windows([1.0401, 1.04, 1.02, 1.04], true_speed=1.04))[1] == 1.0401


def test_the_line_through_all_windows_decides_if_none_fits():
    assert _steady(*windows([0.98, 1.02, 0.97, 1.03]))[1] == pytest.approx(1.0)
