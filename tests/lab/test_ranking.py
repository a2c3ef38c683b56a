"""The ranking metrics have the values defined in the literature."""

import numpy as np
import pytest

from lab.measure import ranking


def ranked(scores, works):
    """Compare every track with all others."""
    works = np.array(works)
    own = np.eye(len(works), dtype=bool)
    return ranking.evaluate(np.array(scores, float), works[:, None] == works, ~own)


def test_a_perfect_ranking():
    works = [0, 0, 1, 1, 2]
    scores = np.equal.outer(works, works) * 1.0
    figures = ranked(scores, works)
    assert figures.queries == 4  # the fifth has no other rendition
    assert (figures.mean_average_precision, figures.precision_at_1, figures.mean_rank) == (1, 1, 1)
    assert figures.recall == 1


def test_average_precision_by_hand():
    scores = [[9, 4, 3, 2, 1]] * 5
    figures = ranking.evaluate(
        np.array(scores[:1], float), np.array([[1, 0, 1, 0, 1]], bool), np.array([[0, 1, 1, 1, 1]], bool)
    )
    assert figures.mean_average_precision == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert figures.mean_rank == 2
    assert figures.precision_at_1 == 0


def test_the_query_itself_does_not_count():
    figures = ranked([[9, 1, 0], [1, 9, 0], [0, 0, 9]], [0, 0, 1])
    assert figures.precision_at_1 == 1


def test_equal_scores_rank_relevant_candidates_last():
    works = [0, 0, 1, 1]
    figures = ranked(np.zeros((4, 4)), works)
    assert figures.mean_rank == 3
    assert figures.recall == 0


def test_candidates_without_a_score_come_last():
    scores = [[0, -np.inf, 1], [-np.inf, 0, -np.inf], [1, -np.inf, 0]]
    assert ranked(scores, [0, 0, 1]).mean_rank == 2


def test_the_threshold_accepts_one_in_a_hundred():
    unknown = np.arange(200.0)
    threshold = ranking.threshold_at(unknown, 0.01)
    assert (unknown >= threshold).sum() == 2
    assert (unknown >= ranking.threshold_at(unknown[:50], 0.01)).sum() == 150  # none of fifty


def test_recall_counts_correct_results_above_the_threshold():
    """Of three pairs, one scores lower than the best false result."""
    works = np.array([0, 0, 1, 1, 2, 2])
    scores = np.full((6, 6), 1.0)
    for one, other, score in [(0, 1, 9), (2, 3, 9), (4, 5, 2)]:
        scores[one, other] = scores[other, one] = score
    scores[4, 0] = 3.0  # the best false result of all
    scores[5, 0] = 1.5
    figures = ranked(scores, works)
    assert figures.threshold > 3
    assert figures.recall == pytest.approx(4 / 6)


def test_different_shapes_and_missing_renditions_are_errors():
    with pytest.raises(ValueError, match="the same shape"):
        ranking.evaluate(np.zeros((2, 2)), np.zeros((2, 3), bool), np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="no query has another rendition"):
        ranked(np.zeros((2, 2)), [0, 1])


def test_scores_of_unknown_queries_may_be_given():
    """With two pairs that are both ranked first, the scores of unknown queries decide how many are accepted."""
    works = np.array([0, 0, 1, 1])
    own = np.eye(4, dtype=bool)
    scores = np.where(works[:, None] == works, np.array([[1.0], [2.0], [3.0], [4.0]]), 0.0)
    figures = [
        ranking.evaluate(scores, works[:, None] == works, ~own, unknown=np.full(4, highest))
        for highest in (0.5, 2.5, 9.0)
    ]
    assert [one.recall for one in figures] == [1, 0.5, 0]
