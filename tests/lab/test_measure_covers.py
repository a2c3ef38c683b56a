"""The evaluation of covers measures what it says."""

import sys

import numpy as np
import pytest
from support import tonal, toy

from lab.measure import covers, report
from lab.measure.covers import JUDGED, WHOLE, Rendition, measure, read_works, text
from songprint.confidence import Calibration
from songprint.covers import search
from songprint.covers.cohort import Cohort


class WithCohort(toy.ToyCoverEncoder):
    cohort = Cohort.none()


class Deaf:
    """Hears nothing at another tempo."""

    networks = search.NONE

    def embed(self, frames):
        return np.zeros((0, tonal.DIM), np.float32)


@pytest.fixture
def deaf(monkeypatch):
    monkeypatch.setattr(covers, "_encoder", lambda plain: Deaf())


def renditions(works=4, each=2, draws=1):
    return [
        Rendition(
            f"{work}-{number}",
            str(work),
            64.0,
            {
                WHOLE: [whole := tonal.Song(work).rendition(key=3 * number, tempo=1 + 0.1 * number, seed=number)],
                20: [tonal.excerpt(whole, start=10 + 4 * draw, duration=20) for draw in range(draws)],
            },
        )
        for work in range(works)
        for number in range(each)
    ]


@pytest.mark.parametrize("length", [WHOLE, 20])
def test_renditions_that_are_alike_are_found_by_every_means(length):
    measured = measure(renditions(), length, Cohort.none())
    for figures in measured.figures.values():
        assert figures.queries == 8
        assert figures.mean_average_precision == 1
        assert figures.recall == 1
    assert len(measured.search) == 8


def test_several_excerpts_of_a_recording_are_queries_each():
    measured = measure(renditions(draws=3), 20, Cohort.none())
    assert measured.queries == measured.figures["both"].queries == 24
    assert measured.figures["both"].mean_average_precision == 1, "no excerpt is asked of its own recording"
    assert len(measured.search) == 8


def test_a_judge_is_a_system_of_its_own(deaf):
    judge = Calibration(("alignment",), (1.0,), 0.0, {})
    measured = measure(renditions(), WHOLE, Cohort.none(), judge=judge)
    assert measured.figures[JUDGED].recall == 1
    backwards = Calibration(("alignment",), (-1.0,), 0.0, {})
    assert measure(renditions(), WHOLE, Cohort.none(), judge=backwards).figures[JUDGED].recall < 1


def test_the_judge_is_asked_about_the_best_few_alone(deaf):
    held = renditions(works=8)
    trusts = Calibration(("score",), (-1.0,), 0.0, {})  # the worst of those that it is asked about
    figures = measure(held, WHOLE, Cohort.none(), judge=trusts).figures
    assert figures[JUDGED].mean_rank == search.JUDGED
    assert figures["both"].mean_rank == 1


def test_an_unknown_query_is_one_whose_work_is_not_held(deaf):
    """Beside the right one a stranger trails far behind; where nothing else is like the query it does not."""
    leads = Calibration(("lead",), (1.0,), 0.0, {})
    held = renditions(works=6)
    covers._hold(held, WHOLE, Cohort.none(), leads)
    asked = [covers._ask((number, 0)) for number in range(len(held))]
    beside = [np.delete(row.scores[JUDGED], [number, number ^ 1]).max() for number, row in enumerate(asked)]
    assert min(row.unknown for row in asked) > -1 > max(beside)
    assert measure(held, WHOLE, Cohort.none(), judge=leads).figures[JUDGED].threshold == pytest.approx(
        max(row.unknown for row in asked)
    )


def test_several_processes_say_the_same():
    held = renditions()
    one, two = (measure(held, 20, Cohort.none(), workers) for workers in (1, 2))
    assert one.figures == two.figures


def test_the_page_has_a_row_for_every_length_and_system(tmp_path):
    held = renditions()
    measured = [measure(held, length, Cohort.none()) for length in (WHOLE, 20)]
    words = text("python -m lab.measure.covers", held, measured)
    assert "8 recordings of 4 works" in words
    assert "| whole songs | 8 | both | 1.000 | 1.000 | 1.0 | 1.000 |" in words
    assert words.count("| 20 s |") == 4
    assert words.count("| 20 s | 8 |") == 3
    page = tmp_path / "covers.md"
    report.put(page, words, title="Covers")
    report.put(page, "newer", title="Covers")
    assert page.read_text() == "# Covers\n\n<!-- measured -->\n\nnewer\n\n<!-- /measured -->\n"


def test_wrong_lists_of_works_are_told(tmp_path):
    toy.write_songs(tmp_path / "music", 2)
    one, other = sorted(path.name for path in (tmp_path / "music").iterdir())
    works = tmp_path / "works.tsv"

    def read(content):
        works.write_text(content)
        return read_works(tmp_path / "music", works)

    assert [work for _, work in read(f"# file, work\n{one}\tSong\n\n{other}\tSong\n")] == ["Song", "Song"]
    with pytest.raises(ValueError, match=r"works.tsv:1: 'only a name' must be a file, a tab and its work"):
        read("only a name\n")
    with pytest.raises(ValueError, match=r"no file .*missing.wav\. Is --music the right folder"):
        read("missing.wav\tSong\n")
    with pytest.raises(ValueError, match="no work twice"):
        read(f"{one}\tSong\n{other}\tAnother\n")


def test_the_command_encodes_measures_and_writes(tmp_path, monkeypatch, capsys):
    works = tmp_path / "works.tsv"
    for song, key in [(1, 0), (1, 3), (2, 0), (3, 0)]:
        toy.write(tmp_path / "music" / f"{song} in {key}.wav", toy.tune(song, key=key))
    works.write_text("".join(f"{path.name}\t{path.name[0]}\n" for path in sorted((tmp_path / "music").iterdir())))
    monkeypatch.setattr(covers, "_encoder", WithCohort)
    page = tmp_path / "covers.md"
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "evaluate_covers",
            "--music",
            str(tmp_path / "music"),
            "--works",
            str(works),
            "--excerpts",
            "20",
            "--draws",
            "2",
            "--workers",
            "1",
            "--report",
            str(page),
        ],
    )
    covers.main()
    said = capsys.readouterr()
    assert "4 recordings of 3 works" in said.out
    assert "| whole songs | 4 | both | 1.000 |" in said.out
    assert "| 20 s | 8 | both | 1.000 |" in said.out
    assert "--excerpts 20 --draws 2\n" in said.out
    assert "encoded: 4/4" in said.err
    assert said.out.strip() in page.read_text()
