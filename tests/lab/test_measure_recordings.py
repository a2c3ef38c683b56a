"""The evaluation of recordings: figures of invented answers, the report, the command line."""

import doctest
import itertools
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from lab.data import queries, synth
from lab.measure import answers as kept
from lab.measure import peers, recordings, report
from lab.measure.answers import SONGPRINT, Answer, Run, System
from songprint.encoders.contract import WEIGHTS

numbers = itertools.count()


def answer(
    score,
    *,
    known=True,
    correct=True,
    length=5.0,
    error=0.02,
    condition="clean",
    system=SONGPRINT,
    query=None,
    speed=1.0,
):
    correct = correct and known
    return Answer(
        system,
        next(numbers) if query is None else query,
        condition,
        length,
        known,
        correct,
        score,
        error if correct else None,
        speed,
        speed if correct else None,
        0.05,
    )


def a_run(*names):
    systems = tuple(System(name, "1.0", 100.0 + place, 1.5) for place, name in enumerate((SONGPRINT, *names)))
    return Run("python -m lab.measure.recordings --music MUSIC", "2 cores", 10, 0.5, 49.0, systems)


def answers_of(system=SONGPRINT, known=90.0, missed=0, unknown=200, condition="clean"):
    """200 known queries, some of them missed, and unknown queries with scores of 0 to 50."""
    return [
        *(answer(known if i >= missed else 1.0, query=i, system=system, condition=condition) for i in range(200)),
        *(
            answer(score, known=False, query=200 + i, system=system, condition=condition)
            for i, score in enumerate(np.linspace(0, 50, unknown))
        ),
    ]


def test_recall_counts_correct_matches_above_the_threshold():
    answers = [answer(90), answer(60), answer(95, correct=False), answer(10, correct=False)]
    assert kept.recall(answers, 70) == 25
    assert kept.recall(answers, 50) == 50


def test_the_calibration_error_is_zero_when_confidence_equals_the_share_of_correct_matches():
    calibrated = [answer(75, correct=i % 4 != 0) for i in range(100)]
    overconfident = [answer(95, correct=i % 2 == 0) for i in range(100)]
    assert kept.calibration_error(calibrated) == pytest.approx(0)
    assert kept.calibration_error(overconfident) == pytest.approx(0.45)
    assert "Of 100 matches with confidence 80 to 100, 50 are correct." in report.confidence(overconfident)


@pytest.mark.parametrize(("count", "rate", "most"), [(200, 0.01, 2), (390, 0.01, 3), (60, 0.01, 0), (1000, 0.001, 1)])
def test_the_threshold_for_a_false_accept_rate_accepts_no_more(count, rate, most):
    for scores in (np.linspace(0, 50, count), 1 - np.linspace(0, 1, count) / 1e6):
        unknown = [answer(score, known=False) for score in scores]
        assert len(kept.accepted(unknown, kept.level(unknown, rate))) == most


def test_queries_with_equal_scores_are_accepted_together_or_not_at_all():
    unknown = [answer(7, known=False) for _ in range(5)] + [answer(0, known=False) for _ in range(200)]
    assert not kept.accepted(unknown, kept.level(unknown, 0.01))
    assert len(kept.accepted(unknown, kept.level(unknown, 0.03))) == 5


def test_intervals_contain_the_share_and_narrow_with_the_count():
    assert kept.wilson(90, 100) == pytest.approx((82.6, 94.5), abs=0.1)
    assert kept.wilson(900, 1000) == pytest.approx((88.0, 91.7), abs=0.1)
    assert kept.wilson(10, 10)[1] == 100
    assert not doctest.testmod(kept).failed


def test_small_differences_may_be_chance_and_large_ones_not():
    ours, theirs = answers_of(missed=5), answers_of("peer", missed=3)
    assert kept.chance(ours, theirs, 60, 60) > 0.05
    assert kept.chance(ours, answers_of("peer", missed=60), 60, 60) < 0.001


def test_the_table_has_a_column_for_each_system_and_lists_where_songprint_is_worse():
    answers = [
        *answers_of(missed=40),
        *answers_of("peer", missed=10),
        *answers_of(condition="phone"),
        *answers_of("peer", missed=100, condition="phone"),
    ]
    answers = [replace(a, query=a.query + 1000 * (a.condition == "phone")) for a in answers]
    text = report.text(a_run("peer"), answers)
    assert "| condition | Songprint | peer |" in text
    assert "| clean | 80.0 | 95.0 |" in text
    assert "| phone | 100.0 | 50.0 |" in text
    worse = re.search(r"Worse than peer: .*", text)[0]
    assert "clean (80.0 against 95.0)" in worse
    assert "adding, times real time (100 against 101)" in worse
    assert "phone" not in worse


def test_differences_that_may_be_chance_are_marked():
    text = report.text(a_run("peer"), [*answers_of(missed=5), *answers_of("peer", missed=3)])
    assert "clean (97.5 against 98.5, may be chance)" in text


def test_rates_that_need_more_unknown_queries_are_not_reported():
    text = report.text(a_run(), answers_of(unknown=200))
    assert "Recall (%) at FAR 1%" in text
    assert "200 unknown clips were measured; FAR 0.1% needs 1,000, FAR 0.01% needs 10,000." in text
    assert "false accepts: 4 of 200 unknown clips" in text  # at the default threshold
    few = report.text(a_run(), answers_of(unknown=50))
    assert "Recall (%) without false accepts (50 unknown clips were measured; FAR 1% needs 100)" in few


def test_one_row_uses_a_threshold_for_each_length():
    answers = [
        *(answer(10, length=3.0) for _ in range(10)),
        *(answer(30, length=10.0) for _ in range(10)),
        *(answer(5, known=False, length=3.0) for _ in range(10)),
        *(answer(20, known=False, length=10.0) for _ in range(10)),
    ]
    rows = {row.name: row for row in report.compared(a_run(), answers, kept.thresholds(a_run(), answers))}
    assert rows["**all** (95% interval)"].values[SONGPRINT] == 50
    assert rows["all, with a threshold for each length"].values[SONGPRINT] == 100


def test_the_extended_grid_has_its_own_table_and_does_not_change_the_main_figures():
    wide = [answer(0, length=1.0, query=9000 + i) for i in range(10)] + [
        answer(99, known=False, length=1.0, query=9100 + i) for i in range(10)
    ]
    plain, wider = report.text(a_run(), answers_of()), report.text(a_run(), answers_of() + wide)
    assert "Extended grid" not in plain
    assert "| clean, 1 s | 0.0 |" in wider
    assert "| unknown clips of this grid: false accepts | 100.0 |" in wider
    assert re.findall(r"\| \*\*all.*", plain) == re.findall(r"\| \*\*all.*", wider)


def test_a_speed_is_correct_within_half_a_percent():
    exact = answer(90, length=10.0, condition="speed +4%", speed=1.04)
    answers = [exact, replace(exact, reported_speed=1.044), replace(exact, reported_speed=1.0)]
    assert "| 1.04 | 2 of 3 |" in report.speeds(answers, 50)


def test_answers_survive_writing_and_reading(tmp_path):
    answers = [*answers_of(unknown=5), answer(0.5, known=False, system="peer")]
    kept.write(tmp_path / "answers.jsonl", a_run("peer"), answers)
    assert kept.read(tmp_path / "answers.jsonl") == (a_run("peer"), answers)
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(ValueError, match="Was it written by --answers"):
        kept.read(tmp_path / "other.jsonl")


def test_false_accepts_are_listed_by_file():
    wrong = [
        replace(answer(99.0, known=False), track=track, reported="old.ogg") for track in ("a.ogg", "b.ogg", "b.ogg")
    ]
    assert "; 2 x b.ogg for old.ogg; 1 x a.ogg for old.ogg\n" in report.text(a_run(), [*answers_of(), *wrong])


def test_the_page_keeps_its_other_text(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: make lab")
    page = tmp_path / "accuracy.md"
    before, after = "# Title\n\nBy hand.\n\n<!-- measured -->", "<!-- /measured -->\n\n## Notes\n\nBy hand too.\n"
    page.write_text(f"{before}\nold figures\n{after}")
    report.into_page(page, a_run("peer"), [*answers_of(), *answers_of("peer")])
    text = page.read_text()
    assert text.startswith(before) and text.endswith(after)
    assert "old figures" not in text
    assert "| clean | 100.0 | 100.0 |" in text
    for image in re.findall(r"!\[.+\]\((.+)\)", text):
        assert 0 < (tmp_path / image).stat().st_size < 60_000


def test_the_same_answers_give_the_same_plots(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: make lab")
    answers = [*answers_of(), *answers_of("peer", missed=50)]
    answers += [replace(a, query=a.query + 1000, condition="noise 5 dB", score=a.score / 2) for a in answers]
    for name in ("one.md", "two.md"):
        (tmp_path / name).mkdir()
        report.into_page(tmp_path / name / "page.md", a_run("peer"), answers)
    files = sorted(path.relative_to(tmp_path / "one.md") for path in (tmp_path / "one.md").rglob("*.svg"))
    assert len(files) == 3
    for file in files:
        assert (tmp_path / "one.md" / file).read_bytes() == (tmp_path / "two.md" / file).read_bytes()


def test_a_page_without_marks_is_an_error(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: make lab")
    page = tmp_path / "accuracy.md"
    page.write_text("# Title\n")
    with pytest.raises(report.PageError, match="has no lines <!-- measured --> and <!-- /measured -->"):
        report.check(page)


def test_the_program_reports_on_stored_answers(tmp_path, monkeypatch, capsys):
    kept.write(tmp_path / "answers.jsonl", a_run(), answers_of())
    monkeypatch.setattr(sys, "argv", ["evaluate", "--from-answers", str(tmp_path / "answers.jsonl")])
    recordings.main()
    assert capsys.readouterr().out == report.text(a_run(), answers_of()) + "\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --music"),
        (["--music", ".", "--peers", "shazam"], "error: peer 'shazam' is unknown. Known are audfprint, chromaprint"),
        (["--music", "."], "error: 0 files of 30 s and more to add and 0 to query as unknown music"),
        (["--from-answers", "none.jsonl"], "No such file"),
    ],
)
def test_missing_input_is_an_error(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluate", *options])
    with pytest.raises(SystemExit) as stopped:
        recordings.main()
    assert message in f"{stopped.value}{capsys.readouterr().err}"


def test_the_command_is_shown_without_local_folders():
    options = recordings.parser().parse_args(
        ["--music", "/home/me/a", "/home/me/b", "--noise", "/data/noise", "--wide", "--peers", "audfprint"]
    )
    assert recordings.shown_command(options) == (
        "python -m lab.measure.recordings --music MUSIC --noise NOISE --clips 25 --seed 1 --wide --peers audfprint"
        " --report docs/accuracy.md"
    )


@pytest.mark.skipif(not (WEIGHTS / "fingerprint.onnx").exists(), reason="no weights yet")
def test_a_small_evaluation_of_synthetic_music(tmp_path, monkeypatch):
    # One condition of each kind; `test_queries` draws queries of all conditions.
    monkeypatch.setattr(
        queries, "CONDITIONS", ("clean", "mp3 32k", "noise 5 dB", "room + noise 5 dB", "phone", "speed +4%")
    )
    monkeypatch.setattr(recordings, "WITHOUT_MUSIC", 2)
    paths = sorted(synth.write_pieces(tmp_path / "music", count=6))
    echoes = 0.1 * np.random.default_rng(0).standard_normal(2000) * np.exp(-np.arange(2000) / 500)
    using = queries.Disturbances([], [], [np.concatenate([[1.0], echoes])])
    run, answers = recordings.measure(paths[:4], paths[4:], using, per_condition=1, seed=1, against=[LoudestFirst()])
    ours, theirs = kept.of(answers, SONGPRINT), kept.of(answers, "loudest first")
    clean = [a for a in ours if a.known and a.condition in ("clean", "mp3 32k")]
    assert clean
    assert all(a.correct and a.error < 0.5 for a in clean)
    nothing = [a for a in ours if not a.length]
    assert max(a.score for a in nothing if a.condition in ("silence", "tone", "hum")) == 0
    assert [(a.query, a.condition, a.known) for a in ours] == [(a.query, a.condition, a.known) for a in theirs]
    assert any(a.correct for a in theirs) and not all(a.correct for a in theirs)
    known, reported = {path.name for path in paths[:4]}, {a.track for a in theirs if a.correct}
    assert {a.known for a in ours if a.track in known} == {True} and reported == {
        a.reported for a in theirs if a.correct
    }
    assert {a.track for a in ours if not a.known} == {path.name for path in paths[4:]} | {""}
    assert "| condition | Songprint | loudest first |" in report.text(run, answers)


class LoudestFirst:
    """A peer that always reports the first file, with a score that rises with the level of the query."""

    name, version, note, bytes = "loudest first", "1.0", "", 8

    def add(self, files, workers):
        self.first = str(files[0])

    def identify(self, samples, sample_rate):
        return peers.PeerMatch(self.first, float(np.abs(samples).max()), 0.0) if samples.any() else None
