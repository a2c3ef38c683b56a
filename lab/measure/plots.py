"""Plots of an evaluation as small SVG files. The same answers give the same files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.data import queries
from lab.measure import answers as kept
from lab.measure.answers import SONGPRINT, Answer, Run, thresholds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0b6e4f", "#c8553d", "#3d5a80", "#8d6a9f")
REPRODUCIBLE: Any = {
    "svg.hashsalt": "songprint",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
SIZE = (5.2, 3.2)  # inches


def draw(run: Run, answers: Sequence[Answer], folder: Path) -> dict[str, str]:
    """Write all plots of recordings into the folder and return their captions by file name."""
    levels = thresholds(run, answers)
    known = [a for a in answers if a.known]
    plots = {
        "recall-by-noise.svg": (
            "Recall at FAR 1% by signal-to-noise ratio",
            lambda axes: by_noise(axes, known, levels),
        ),
        "recall-by-length.svg": (
            "Recall at FAR 1% by length of the clip",
            lambda axes: by_length(axes, known, levels),
        ),
        "reliability.svg": ("Share of correct matches by confidence", lambda axes: reliability(axes, answers)),
    }
    for name, (_, plot) in plots.items():
        save(folder / name, plot, top=103)
    return {name: caption for name, (caption, _) in plots.items()}


def save(path: Path, plot: Callable[[Axes], None], *, top: float | None = None) -> None:
    """Write one plot with a legend. Its vertical axis begins at 0, and ends at `top` or above the highest value."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(REPRODUCIBLE):
        figure, axes = pyplot.subplots(figsize=SIZE, layout="constrained")
        plot(axes)
        axes.set_ylim(0, top)
        axes.grid(axis="y", linewidth=0.4)
        axes.legend(loc="best")
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)


def by_noise(axes: Axes, known: Sequence[Answer], levels: dict[str, float]) -> None:
    """Recall by signal-to-noise ratio, over the lengths of the main grid; clean music is at the right end."""
    chosen = [a for a in known if a.length in queries.LENGTHS]
    ratios = {queries.NOISES[a.condition] for a in chosen if a.condition in queries.NOISES}
    clean = max(ratios, default=0) + 5
    place = {name: ratio for name, ratio in queries.NOISES.items() if ratio in ratios} | {"clean": clean}
    for (system, level), colour in zip(levels.items(), COLOURS, strict=False):
        _line(
            axes,
            [a for a in kept.of(chosen, system) if a.condition in place],
            lambda a: place[a.condition],
            level,
            label=system,
            color=colour,
        )
    axes.set_xticks(sorted(place.values()), [*(f"{ratio}" for ratio in sorted(ratios)), "clean"])
    axes.set(xlabel="signal to noise, dB", ylabel="recall, %")


def by_length(axes: Axes, known: Sequence[Answer], levels: dict[str, float]) -> None:
    """Recall by length of the query, clean and in noise."""
    for (system, level), colour in zip(levels.items(), COLOURS, strict=False):
        for condition, style in (("clean", "--"), ("noise 10 dB", "-")):
            chosen = [a for a in kept.of(known, system) if a.condition == condition]
            _line(
                axes, chosen, lambda a: a.length, level, label=f"{system}, {condition}", color=colour, linestyle=style
            )
    axes.set(xlabel="length of the clip, s", ylabel="recall, %", xticks=sorted({a.length for a in known}))


def _line(axes: Axes, answers: Sequence[Answer], place: Callable[[Answer], float], level: float, **style: Any) -> None:
    """Recall along x, with 95% intervals."""
    places = sorted({place(a) for a in answers})
    groups = [[a for a in answers if place(a) == x] for x in places]
    recalls = [kept.recall(group, level) for group in groups]
    ends = [kept.wilson(sum(a.correct for a in kept.accepted(group, level)), len(group)) for group in groups]
    spread = [
        [max(0.0, r - low) for r, (low, _) in zip(recalls, ends, strict=True)],
        [max(0.0, high - r) for r, (_, high) in zip(recalls, ends, strict=True)],
    ]
    axes.errorbar(places, recalls, yerr=spread, marker="o", markersize=3, elinewidth=0.6, capsize=2, **style)


def reliability(axes: Axes, answers: Sequence[Answer]) -> None:
    """For Songprint only: scores of the peers are not probabilities."""
    parts = [part for _, _, part in kept.reliability([a for a in kept.of(answers, SONGPRINT) if a.main], 10) if part]
    axes.plot([0, 100], [0, 100], color="#999999", linewidth=0.8, label="perfect calibration")
    axes.plot(
        [np.mean([a.score for a in part]) for part in parts],
        [kept.share(a.correct for a in part) for part in parts],
        marker="o",
        markersize=3,
        color=COLOURS[0],
        label=SONGPRINT,
    )
    axes.set(xlabel="confidence", ylabel="correct matches, %", xlim=(0, 100))
