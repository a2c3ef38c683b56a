"""Workers and submitters are killed at random moments: no job is lost, and none ends twice."""

from __future__ import annotations

import os

import pytest

from lab.measure.torture import torture

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs the signals of Unix")


def test_a_dozen_kills_lose_no_job_and_no_callback(tmp_path, database_url):
    outcome = torture(tmp_path / "library", database=database_url, jobs_count=20, kills=12)
    assert outcome.problems() == []
    assert sum(outcome.kills.values()) == 12


@pytest.mark.heavy
def test_two_hundred_kills_lose_no_job_and_no_callback(tmp_path, database_url):
    outcome = torture(tmp_path / "library", database=database_url, jobs_count=300, kills=200)
    assert outcome.problems() == []
    assert outcome.killed_at_work > 30 and outcome.most_attempts > 1
