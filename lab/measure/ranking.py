"""How well works are ranked: the figures by which systems for cover identification are compared.

A query is a rendition, its candidates are all other renditions, and those of the same work are relevant. Rows of
`scores (queries, candidates)` are queries; where `candidate` is False, as for the query itself, a score does not
count. Only queries that have a relevant candidate are ranked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figures:
    """What one system reaches."""

    queries: int  # that have another rendition to be found
    mean_average_precision: float
    precision_at_1: float  # share of queries whose first answer is right
    mean_rank: float  # of the first right answer, 1 is best: MR1
    recall: float  # share answered rightly at the threshold
    threshold: float  # that lets a share of the unknown queries through


def evaluate(
    scores: np.ndarray,
    relevant: np.ndarray,
    candidate: np.ndarray,
    rate: float = 0.01,
    unknown: np.ndarray | None = None,
) -> Figures:
    """`relevant` and `candidate` are bool and of the shape of `scores`; `rate` of false accepts for the recall.

    `unknown (queries,)` are the best scores that the queries have when nothing relevant is there. Where nobody asked,
    they are taken to be those of the other candidates, which holds if one's score does not depend on another's.
    """
    if not scores.shape == relevant.shape == candidate.shape:
        raise ValueError(
            f"scores {scores.shape}, relevant {relevant.shape} and candidate {candidate.shape}"
            " must be of one shape (queries, candidates)"
        )
    relevant = relevant & candidate
    asked = relevant.any(axis=1)
    if not asked.any():
        raise ValueError("no query has another rendition of its work among the candidates")
    ranks = [_ranks(*rows) for rows in zip(scores[asked], relevant[asked], candidate[asked], strict=True)]
    first = np.array([rank[0] for rank in ranks])
    threshold = threshold_at(best(scores, candidate & ~relevant) if unknown is None else unknown, rate)
    named = best(scores, relevant) > best(scores, candidate & ~relevant)
    return Figures(
        queries=int(asked.sum()),
        mean_average_precision=float(np.mean([np.mean(np.arange(1, len(rank) + 1) / rank) for rank in ranks])),
        precision_at_1=float((first == 1).mean()),
        mean_rank=float(first.mean()),
        recall=float((named & (best(scores, relevant) >= threshold))[asked].mean()),
        threshold=threshold,
    )


def best(scores: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(queries,) the highest score among some candidates; -inf where there are none."""
    return np.where(among, scores, -np.inf).max(axis=1, initial=-np.inf)


def threshold_at(unknown: np.ndarray, rate: float) -> float:
    """The lowest score that lets at most a share `rate` of the best scores of unknown queries through.

    >>> threshold_at(np.array([1.0, 2.0, 3.0, 4.0]), 0.25) > 3
    True
    """
    allowed = int(rate * len(unknown) + 1e-9)
    return float(np.nextafter(np.sort(unknown)[::-1][allowed], np.inf))


def _ranks(scores: np.ndarray, relevant: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """The places of the relevant candidates, 1 the first. Among equal scores the relevant come last."""
    order = np.lexsort((relevant, -scores))
    return np.flatnonzero(relevant[order[candidate[order]]]) + 1
