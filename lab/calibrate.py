"""Fit the judge of `songprint.confidence` on music that no weight was trained on, and choose thresholds.

    python -m lab.calibrate --data data --noise NOISE_DIR

Clips of the calibration music are asked against two libraries that hold it: a small one, and one with all the
training music beside it. Each clip is also asked as if its own recording were not there, so that whatever
is found is wrong: the hardest unknowns, by the same composers. Probabilities hold for one known clip in
two. The result is written into the encoder's spec.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lab import clips, corpus
from songprint import align, confidence
from songprint.encoders import WEIGHTS, Encoder, load_encoder
from songprint.matching.recordings import Hypothesis, Query, hypotheses, windows_of
from songprint.store import Store
from songprint.types import Kind, Tags

RATES = (0.05, 0.01, 0.001, 0.0001)     # false-accept rates that get a threshold,
COUNTED = 0.01                          # those below this by the shape of the tail: too few clips to count them
TAIL = 0.05                             # share of the unknown clips that the shape is taken from
SHORTEST_FOR_THRESHOLD = 5.0            # seconds: shorter unknown clips do not raise the threshold
WITNESSES = {                           # what `ablations` leaves out
    "the second witness": ("prominence", "excess", "excess_length", "contrast", "background", "plain"),
    "the lead over rivals": ("lead", "lead_length"),
    "hits, length, sameness, library": ("hits", "length", "sameness", "library"),
    "similarity": ("score", "score_length"),
}
LENGTHS = (1.0, 2.0, *clips.LENGTHS)    # seconds
FITTED = 2                              # lines of a clip that the judge learns from: the first is not always right
RIDGE = 0.02                            # keeps weights of features that say the same apart and small


@dataclass(frozen=True)
class Question:
    """What the search said of one clip: features of its best lines, and which of them are right."""

    features: list[dict[str, float]]
    right: list[bool]
    length: float


def fill(folder: Path, data: Path, tracks: list[corpus.Track], encoder: Encoder) -> tuple[Store, dict[str, int]]:
    """A library of tracks decoded earlier -> the store, and the recording id of each path."""
    store = Store(folder, create=True, encoder=encoder)
    ids = {}
    for number, track in enumerate(tracks, 1):
        samples = np.asarray(corpus.load_pcm(data, track)).astype(np.float32) / 32768
        ids[track.path] = store.catalog.add(
            tags=Tags(title=track.name), duration=track.duration, source=track.path,
            content_hash=f"{track.id:032x}", embeddings={Kind.RECORDING: encoder.encode(samples)}).id
        if number % 50 == 0 or number == len(tracks):
            print(f"{number}/{len(tracks)} tracks", file=sys.stderr)
    store.refresh()
    return store, ids


def ask(query: Query, store: Store, length: float, truth: int | None = None, leave_out: Collection[int] = ()
        ) -> tuple[Question, list[Hypothesis]]:
    """The three most likely lines of a clip's only window."""
    level = store.levels[Kind.RECORDING]
    found = [h for window in windows_of(query) for h in hypotheses(query, level, window, leave_out)][:3]
    return Question([h.features for h in found], [h.line.recording_id == truth for h in found], length), found


def ask_both_ways(query: Query, store: Store, length: float, truth: int) -> tuple[Question, Question | None]:
    """The clip as it is, and as if its recording were not there.

    Other files in which the very same sound occurs are left out with it: naming those would be no mistake.
    """
    known, found = ask(query, store, length, truth)
    right = next((h.line for h in found if h.line.recording_id == truth), None)
    if right is None:
        return known, None
    rows = {h.line.recording_id: store.catalog.embeddings(Kind.RECORDING, h.line.recording_id).vectors for h in found}
    same = {h.line.recording_id for h in found
            if align.likeness(right, h.line, rows[truth], rows[h.line.recording_id]) > align.SAME}
    return known, ask(query, store, length, leave_out={truth} | same)[0]


def fit(questions: list[Question]) -> tuple[np.ndarray, float]:
    """Logistic regression (Newton's method) on each clip's best lines -> weights of the features, and the bias."""
    best = [line for q in questions for line in zip(q.features[:FITTED], q.right[:FITTED], strict=True)]
    rows = [[values[name] for name in confidence.FEATURES] for values, _ in best]
    labels = np.array([float(right) for _, right in best])
    matrix = np.array(rows)
    mean, scale = matrix.mean(axis=0), matrix.std(axis=0) + 1e-6
    design = np.hstack([(matrix - mean) / scale, np.ones((len(matrix), 1))])
    penalty = np.diag([RIDGE * len(matrix) / 100] * matrix.shape[1] + [0.0])
    beta = np.zeros(design.shape[1])
    for _ in range(40):
        probability = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (labels - probability) - penalty @ beta
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + penalty
        beta += np.linalg.solve(curvature + 1e-9 * np.eye(len(beta)), gradient)
    weights = beta[:-1] / scale
    return weights, float(beta[-1] - weights @ mean)


def best_logits(questions: list[Question], weights: np.ndarray, bias: float) -> np.ndarray:
    """(questions,) log-odds of the answer that would be given; very low where there is none."""
    return np.array([logit for logit, _ in best_answers(questions, weights, bias)])


def best_answers(questions: list[Question], weights: np.ndarray, bias: float) -> list[tuple[float, bool]]:
    """The most probable line of each question: its log-odds, and whether it is right."""
    judge = confidence.Calibration(confidence.FEATURES, tuple(weights), bias, thresholds={})
    return [max(zip(map(judge.logit, q.features), q.right, strict=True), default=(-20.0, False)) for q in questions]


def calibrate(data: Path, noise: Path, per_condition: int) -> dict:
    encoder = load_encoder(threads=2)
    tracks = corpus.load_tracks(data, "calibration")
    others = [track for track in corpus.load_tracks(data, "train") if track.path]
    kinds = [path for path in sorted(noise.glob("*.opus"))
             if path.stem not in corpus.MUSICAL_NOISE | corpus.ACCEPTANCE_NOISE]
    lines = sorted((data / "packages" / corpus.SPEECH["train"]).rglob("*.ogg"))[:400]
    around = clips.Surroundings.load(kinds, lines, room_seed=5000)
    rate = encoder.spec.sample_rate

    def listen(samples: np.ndarray) -> Query:
        return Query.listen([samples], encoder)

    known: list[Question] = []
    unknown: list[Question] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, held in (("small", tracks), ("large", tracks + others)):
            store, ids = fill(Path(folder) / name, data, held, encoder)
            paths = [Path(track.path) for track in tracks]
            for clip in clips.draw(paths, per_condition, around, rate, seed=11, lengths=LENGTHS):
                if clip.start + clip.length > corpus.LONGEST - 5:      # of long tracks no more was kept
                    continue
                both = ask_both_ways(listen(clip.samples), store, clip.length, ids[clip.track])
                known.append(both[0])
                unknown += [both[1]] if both[1] else []
            for _, samples in clips.nothings(rate, around, count=8, seed=12):
                unknown.append(ask(listen(samples), store, 5.0)[0])
            store.close()
    weights, bias = fit(known + unknown)
    negative = best_logits([q for q in unknown if q.length >= SHORTEST_FOR_THRESHOLD], weights, bias)
    thresholds = {str(rate): confidence.to_confidence(level_at(negative, rate)) for rate in RATES}
    positive = best_logits(known, weights, bias)
    report(known, positive, negative, thresholds)
    ablations(known, unknown)
    return {"features": list(confidence.FEATURES), "weights": [round(float(w), 5) for w in weights],
            "bias": round(bias, 5), "thresholds": thresholds, "known": len(known), "unknown": len(unknown)}


def level_at(negative: np.ndarray, rate: float) -> float:
    """The log-odds that a share `rate` of the unknown clips exceeds.

    Counted where there are enough of them; beyond, the tail is taken to fall exponentially, which maxima of
    many chance matches do (Pickands, 1975: a generalised Pareto tail of shape 0).
    """
    if rate >= COUNTED:
        return float(np.quantile(negative, 1 - rate))
    start = np.quantile(negative, 1 - TAIL)
    return float(start + (negative[negative > start] - start).mean() * np.log(TAIL / rate))


def report(known: list[Question], positive: np.ndarray, negative: np.ndarray, thresholds: dict[str, float]) -> None:
    top = np.array([any(q.right) for q in known])
    print(f"{len(known)} known clips, right name among the first three lines: {100 * top.mean():.1f} %")
    for rate, threshold in thresholds.items():
        level = level_at(negative, float(rate))
        print(f"false accepts {100 * float(rate):g} %: confidence {threshold}, known clips answered "
              f"{100 * (positive >= level).mean():.1f} %")


def ablations(known: list[Question], unknown: list[Question]) -> None:
    """What a judge that lacks some of its features answers at FAR 1 %, fitted anew each time."""
    for name, left_out in {"nothing": (), **WITNESSES}.items():
        less, less_unknown = without(known, left_out), without(unknown, left_out)
        weights, bias = fit(less + less_unknown)
        judged = best_logits([q for q in less_unknown if q.length >= SHORTEST_FOR_THRESHOLD], weights, bias)
        level = level_at(judged, 0.01)
        share = rightly_answered(less, weights, bias, level)
        print(f"without {name}: {100 * share:.1f} % of known clips answered rightly at FAR 1 %")


def without(questions: list[Question], names: Collection[str]) -> list[Question]:
    """The same questions with some features silent."""
    return [replace(q, features=[f | dict.fromkeys(names, 0.0) for f in q.features]) for q in questions]


def rightly_answered(known: list[Question], weights: np.ndarray, bias: float, level: float) -> float:
    """The share of known clips of which the most probable line is right, and probable enough."""
    return float(np.mean([right and logit >= level for logit, right in best_answers(known, weights, bias)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=20, help="per condition and length")
    options = parser.parse_args()
    calibration = calibrate(options.data, options.noise, options.clips)
    file = WEIGHTS / "fingerprint.json"
    spec = json.loads(file.read_text())
    file.write_text(json.dumps({**spec, "calibration": calibration}, indent=1) + "\n")


if __name__ == "__main__":
    main()
