"""Ranking metrics by which systems for cover identification are compared.

A query is a rendition, its candidates are all other renditions, and those of the same work are relevant. Rows of
`scores (queries, candidates)` are queries. Scores where `candidate` is False, such as that of the query itself, are
ignored. Only queries with a relevant candidate are ranked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figures:
    """The metrics of one system."""

    queries: int  # with at least one relevant candidate
    mean_average_precision: float
    precision_at_1: float  # share of queries whose first result is correct
    mean_rank: float  # of the first correct result; 1 is best (MR1)
    recall: float  # share of queries with a correct match at the threshold
    threshold: float  # at which the given share of unknown queries is accepted


def evaluate(
    scores: np.ndarray,
    relevant: np.ndarray,
    candidate: np.ndarray,
    rate: float = 0.01,
    unknown: np.ndarray | None = None,
) -> Figures:
    """Compute the metrics.

    Args:
        scores: (queries, candidates), larger is better.
        relevant: bool, of the same shape: whether the candidate is a rendition of the work of the query.
        candidate: bool, of the same shape: whether the candidate counts.
        rate: false-accept rate at which recall is measured.
        unknown: (queries,) best score of each query without relevant candidates. By default, that of its other
            candidates, which is correct if scores do not depend on the other candidates.

    Raises ValueError if the shapes differ or if no query has a relevant candidate.
    """
    if not scores.shape == relevant.shape == candidate.shape:
        raise ValueError(
            f"scores {scores.shape}, relevant {relevant.shape} and candidate {candidate.shape}"
            " must have the same shape (queries, candidates)"
        )
    relevant = relevant & candidate
    ranked = relevant.any(axis=1)
    if not ranked.any():
        raise ValueError("no query has another rendition of its work among the candidates")
    ranks = [_ranks(*rows) for rows in zip(scores[ranked], relevant[ranked], candidate[ranked], strict=True)]
    first = np.array([rank[0] for rank in ranks])
    threshold = threshold_at(best(scores, candidate & ~relevant) if unknown is None else unknown, rate)
    found = best(scores, relevant) > best(scores, candidate & ~relevant)
    return Figures(
        queries=int(ranked.sum()),
        mean_average_precision=float(np.mean([np.mean(np.arange(1, len(rank) + 1) / rank) for rank in ranks])),
        precision_at_1=float((first == 1).mean()),
        mean_rank=float(first.mean()),
        recall=float((found & (best(scores, relevant) >= threshold))[ranked].mean()),
        threshold=threshold,
    )


def best(scores: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return (queries,): the highest score among some candidates, -inf if there are none."""
    return np.asarray(np.where(among, scores, -np.inf).max(axis=1, initial=-np.inf))


def threshold_at(unknown: np.ndarray, rate: float) -> float:
    """Return the lowest threshold that at most a share `rate` of the best scores of unknown queries reach.

    >>> threshold_at(np.array([1.0, 2.0, 3.0, 4.0]), 0.25) > 3
    True
    """
    allowed = int(rate * len(unknown) + 1e-9)
    return float(np.nextafter(np.sort(unknown)[::-1][allowed], np.inf))


def _ranks(scores: np.ndarray, relevant: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    """Return the ranks of the relevant candidates, from 1. Among equal scores, relevant candidates come last."""
    order = np.lexsort((relevant, -scores))
    return np.flatnonzero(relevant[order[candidate[order]]]) + 1
