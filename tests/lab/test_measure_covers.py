"""The evaluation of covers: figures of synthesised songs, the report, the command line."""

import sys

import numpy as np
import pytest
from support import tonal, toy

from lab.measure import covers, report
from lab.measure.covers import BY_CONFIDENCE, WHOLE, Rendition, measure, read_works, text
from songprint.confidence import Calibration
from songprint.covers import search
from songprint.covers.cohort import Cohort


class WithCohort(toy.ToyCoverEncoder):
    cohort = Cohort.none()


class WithoutTempoSearch:
    """An encoder that finds nothing at other tempi."""

    networks = search.NONE

    def embed(self, frames):
        return np.zeros((0, tonal.DIM), np.float32)


@pytest.fixture
def without_tempo_search(monkeypatch):
    monkeypatch.setattr(covers, "_encoder", lambda chroma_only: WithoutTempoSearch())


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
def test_every_system_finds_similar_renditions(length):
    measured = measure(renditions(), length, Cohort.none())
    for figures in measured.figures.values():
        assert figures.queries == 8
        assert figures.mean_average_precision == 1
        assert figures.recall == 1
    assert len(measured.search_times) == 8


def test_each_of_several_excerpts_is_a_query():
    measured = measure(renditions(draws=3), 20, Cohort.none())
    assert measured.queries == measured.figures["both"].queries == 24
    assert measured.figures["both"].mean_average_precision == 1, "an excerpt is not compared with its own recording"
    assert len(measured.search_times) == 8


def test_confidence_is_another_system(without_tempo_search):
    calibration = Calibration(("alignment",), (1.0,), 0.0, {})
    measured = measure(renditions(), WHOLE, Cohort.none(), calibration=calibration)
    assert measured.figures[BY_CONFIDENCE].recall == 1
    backwards = Calibration(("alignment",), (-1.0,), 0.0, {})
    assert measure(renditions(), WHOLE, Cohort.none(), calibration=backwards).figures[BY_CONFIDENCE].recall < 1


def test_confidence_is_computed_for_the_best_candidates_only(without_tempo_search):
    library = renditions(works=8)
    reversed_order = Calibration(("score",), (-1.0,), 0.0, {})  # the worst of the best candidates comes first
    figures = measure(library, WHOLE, Cohort.none(), calibration=reversed_order).figures
    assert figures[BY_CONFIDENCE].mean_rank == search.PARAMETERS.max_verified
    assert figures["both"].mean_rank == 1


def test_scores_of_unknown_queries_are_measured_without_the_renditions_of_their_work(without_tempo_search):
    """The lead of a false candidate is low beside the correct one, and high without it."""
    leads = Calibration(("lead",), (1.0,), 0.0, {})
    library = renditions(works=6)
    covers._prepare(library, WHOLE, Cohort.none(), leads)
    results = [covers._search((number, 0)) for number in range(len(library))]
    beside = [np.delete(row.scores[BY_CONFIDENCE], [number, number ^ 1]).max() for number, row in enumerate(results)]
    assert min(row.unknown for row in results) > -1 > max(beside)
    assert measure(library, WHOLE, Cohort.none(), calibration=leads).figures[BY_CONFIDENCE].threshold == pytest.approx(
        max(row.unknown for row in results)
    )


def test_several_processes_give_the_same_figures():
    library = renditions()
    one, two = (measure(library, 20, Cohort.none(), workers) for workers in (1, 2))
    assert one.figures == two.figures


def test_the_page_has_a_row_for_every_length_and_system(tmp_path):
    library = renditions()
    measured = [measure(library, length, Cohort.none()) for length in (WHOLE, 20)]
    figures = text("python -m lab.measure.covers", library, measured)
    assert "8 recordings of 4 works" in figures
    assert "| whole songs | 8 | both | 1.000 | 1.000 | 1.0 | 1.000 |" in figures
    assert figures.count("| 20 s |") == 4
    assert figures.count("| 20 s | 8 |") == 3
    page = tmp_path / "covers.md"
    report.put(page, figures, title="Covers")
    report.put(page, "newer", title="Covers")
    assert page.read_text() == "# Covers\n\n<!-- measured -->\n\nnewer\n\n<!-- /measured -->\n"


def test_invalid_lists_of_works_are_errors(tmp_path):
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
    printed = capsys.readouterr()
    assert "4 recordings of 3 works" in printed.out
    assert "| whole songs | 4 | both | 1.000 |" in printed.out
    assert "| 20 s | 8 | both | 1.000 |" in printed.out
    assert "--excerpts 20 --draws 2\n" in printed.out
    assert "encoded: 4/4" in printed.err
    assert printed.out.strip() in page.read_text()
