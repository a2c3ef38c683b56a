"""Usage: sums, rounding and costs."""

from __future__ import annotations

import pytest
from support.jobs import RESULT, URL

from songprint.errors import SongprintError
from songprint.jobs.jobs import Jobs
from songprint.jobs.usage import Usage, to_csv


def finish(jobs: Jobs, key_id: str, seconds: float) -> None:
    jobs.submit(URL, key_id=key_id)
    assert jobs.finish(jobs.claim("worker"), RESULT, seconds)


def test_the_seconds_of_a_day_are_summed_and_rounded_up_to_minutes(database):
    jobs, usage = Jobs(database), Usage(database)
    for seconds in (30.0, 20.0, 10.5):
        finish(jobs, "SPme", seconds)
    finish(jobs, "SPother", 0.2)
    mine, others = usage.by_day()
    usage.add_queries("SPother", others.day, 2, 10.0)
    usage.add_queries("SPother", others.day, 3, 10.0)  # by another process, or later
    mine, others = usage.by_day()
    assert (mine.key, mine.jobs, mine.queries, mine.seconds, mine.minutes) == ("SPme", 3, 0, 60.5, 2)
    assert (others.key, others.jobs, others.queries, others.seconds, others.minutes) == ("SPother", 1, 5, 20.2, 1)
    assert usage.by_day("SPme") == [mine] == usage.by_day(["SPme", "SPnobody"])
    assert usage.by_day(since=mine.day, until=mine.day) == [mine, others]
    assert usage.by_day(until="2020-01-01") == []
    with pytest.raises(SongprintError, match=r"'last week' is not a date\. Write it as 2025-06-13"):
        usage.by_day(since="last week")


def test_the_csv_table_contains_costs(database):
    finish(Jobs(database), "SPme", 3600.0)
    [used] = Usage(database).by_day()
    assert to_csv([used], price=0.44).splitlines() == [
        "day,key,jobs,queries,seconds,minutes,cost",
        f"{used.day},SPme,1,0,3600.000,60,26.40",
    ]
    assert to_csv([used]).splitlines()[1] == f"{used.day},SPme,1,0,3600.000,60"
