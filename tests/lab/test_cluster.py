"""The cluster test counts errors as faults only when clients should not get them."""

from __future__ import annotations

from lab.measure.cluster import Answer, Outage, table

SONGS = 8


def outage(*answers: Answer) -> Outage:
    """The database was away from second 10 to 20."""
    return Outage("database", 10.0, 20.0, list(answers))


def answer(
    began: float, status: int = 200, *, correct: bool = True, searched: int = SONGS, complaint: str = ""
) -> Answer:
    return Answer(began, "server 1", status, correct and status == 200, searched, complaint)


def test_errors_while_a_part_is_away_and_correct_answers_after_it_are_no_problem():
    found = outage(answer(11, 503), answer(12, 0), answer(13), answer(23, 503), answer(31))
    assert found.problems(SONGS) == []
    assert found.recovery() == 3.0
    assert "| database | 1 | 1 | 1 | 0 | 0 | 3.0 s |" in table([found])


def test_an_answer_without_the_name_is_a_problem_unless_part_of_the_library_was_not_searched():
    missing = answer(12, correct=False)
    assert "1 answers without the name" in outage(missing, answer(31)).problems(SONGS)[0]
    assert outage(answer(12, correct=False, searched=SONGS - 1), answer(31)).problems(SONGS) == []


def test_late_errors_and_silence_after_the_return_are_problems():
    assert "not all answers are correct after 10 s" in outage(answer(31), answer(40, 503)).problems(SONGS)[0]
    assert "no correct answer after 10 s" in outage(answer(12), answer(25)).problems(SONGS)[0]


def test_a_fault_of_an_answer_is_a_problem():
    found = outage(answer(12, 503, complaint="status 503 without Retry-After"), answer(31))
    assert found.problems(SONGS) == ["database: status 503 without Retry-After"]
