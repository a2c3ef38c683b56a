"""The evaluation measures what it says."""

import doctest
import itertools
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from lab.data import clips, synth
from lab.measure import answers as kept
from lab.measure import peers, recordings, report
from lab.measure.answers import SONGPRINT, Answer, Run, System
from songprint.encoders.contract import WEIGHTS

numbers = itertools.count()


def answer(
    score, *, known=True, right=True, length=5.0, error=0.02, condition="clean", system=SONGPRINT, clip=None, speed=1.0
):
    right = right and known
    return Answer(
        system,
        next(numbers) if clip is None else clip,
        condition,
        length,
        known,
        right,
        score,
        error if right else None,
        speed,
        speed if right else None,
        0.05,
    )


def a_run(*names):
    systems = tuple(System(name, "1.0", 100.0 + place, 1.5) for place, name in enumerate((SONGPRINT, *names)))
    return Run("python -m lab.measure.recordings --music MUSIC", "2 cores", 10, 0.5, 49.0, systems)


def asked(system=SONGPRINT, known=90.0, missed=0, unknown=200, condition="clean"):
    """200 known clips of which some are missed, and unknown clips with scores of 0 to 50."""
    return [
        *(answer(known if i >= missed else 1.0, clip=i, system=system, condition=condition) for i in range(200)),
        *(
            answer(score, known=False, clip=200 + i, system=system, condition=condition)
            for i, score in enumerate(np.linspace(0, 50, unknown))
        ),
    ]


def test_recall_counts_right_names_above_the_threshold():
    answers = [answer(90), answer(60), answer(95, right=False), answer(10, right=False)]
    assert kept.recall(answers, 70) == 25
    assert kept.recall(answers, 50) == 50


def test_a_confidence_that_keeps_its_word_has_no_calibration_error():
    honest = [answer(75, right=i % 4 != 0) for i in range(100)]
    boasting = [answer(95, right=i % 2 == 0) for i in range(100)]
    assert kept.calibration_error(honest) == pytest.approx(0)
    assert kept.calibration_error(boasting) == pytest.approx(0.45)
    assert "80 to 100 are right 50 times of 100" in report.confidence(boasting)


@pytest.mark.parametrize(("count", "rate", "most"), [(200, 0.01, 2), (390, 0.01, 3), (60, 0.01, 0), (1000, 0.001, 1)])
def test_the_threshold_for_a_false_accept_rate_lets_as_many_through_and_no_more(count, rate, most):
    for scores in (np.linspace(0, 50, count), 1 - np.linspace(0, 1, count) / 1e6):
        unknown = [answer(score, known=False) for score in scores]
        assert len(kept.accepted(unknown, kept.level(unknown, rate))) == most


def test_clips_that_score_alike_pass_the_threshold_together_or_not_at_all():
    unknown = [answer(7, known=False) for _ in range(5)] + [answer(0, known=False) for _ in range(200)]
    assert not kept.accepted(unknown, kept.level(unknown, 0.01))
    assert len(kept.accepted(unknown, kept.level(unknown, 0.03))) == 5


def test_intervals_hold_the_share_and_narrow_with_the_count():
    assert kept.wilson(90, 100) == pytest.approx((82.6, 94.5), abs=0.1)
    assert kept.wilson(900, 1000) == pytest.approx((88.0, 91.7), abs=0.1)
    assert kept.wilson(10, 10)[1] == 100
    assert not doctest.testmod(kept).failed


def test_a_difference_counts_only_where_it_is_no_chance():
    ours, theirs = asked(missed=5), asked("peer", missed=3)
    assert kept.chance(ours, theirs, 60, 60) > 0.05
    assert kept.chance(ours, asked("peer", missed=60), 60, 60) < 0.001


def test_the_table_has_a_column_for_each_system_and_tells_where_songprint_is_behind():
    answers = [
        *asked(missed=40),
        *asked("peer", missed=10),
        *asked(condition="phone"),
        *asked("peer", missed=100, condition="phone"),
    ]
    answers = [replace(a, clip=a.clip + 1000 * (a.condition == "phone")) for a in answers]
    text = report.text(a_run("peer"), answers)
    assert "| condition | Songprint | peer |" in text
    assert "| clean | 80.0 | 95.0 |" in text
    assert "| phone | 100.0 | 50.0 |" in text
    behind = re.search(r"Behind peer: .*", text)[0]
    assert "clean (80.0 against 95.0)" in behind
    assert "adding, times real time (100 against 101)" in behind
    assert "phone" not in behind


def test_what_may_be_chance_is_called_so():
    text = report.text(a_run("peer"), [*asked(missed=5), *asked("peer", missed=3)])
    assert "clean (97.5 against 98.5, may be chance)" in text


def test_no_rate_is_told_that_the_unknown_clips_cannot_support():
    text = report.text(a_run(), asked(unknown=200))
    assert "Recall (%) at FAR 1 %" in text
    assert "200 unknown clips were asked: FAR 0.1 % needs 1,000, FAR 0.01 % needs 10,000." in text
    assert "unknown music answered: 4 of 200" in text  # at the threshold that ships
    few = report.text(a_run(), asked(unknown=50))
    assert "Recall (%) where no unknown clip is answered (50 were asked; FAR 1 % needs 100)" in few


def test_a_score_that_depends_on_the_length_is_shown_with_thresholds_of_its_own_for_each_length():
    answers = [
        *(answer(10, length=3.0) for _ in range(10)),
        *(answer(30, length=10.0) for _ in range(10)),
        *(answer(5, known=False, length=3.0) for _ in range(10)),
        *(answer(20, known=False, length=10.0) for _ in range(10)),
    ]
    rows = {row.name: row for row in report.compared(a_run(), answers, kept.thresholds(a_run(), answers))}
    assert rows["**all** (95 % interval)"].values[SONGPRINT] == 50
    assert rows["all, with a threshold for each length"].values[SONGPRINT] == 100


def test_the_wider_grid_stands_apart_and_leaves_the_main_figures_alone():
    wide = [answer(0, length=1.0, clip=9000 + i) for i in range(10)] + [
        answer(99, known=False, length=1.0, clip=9100 + i) for i in range(10)
    ]
    plain, wider = report.text(a_run(), asked()), report.text(a_run(), asked() + wide)
    assert "wider grid" not in plain
    assert "| clean, 1 s | 0.0 |" in wider
    assert "| unknown clips of this grid answered | 100.0 |" in wider
    assert re.findall(r"\| \*\*all.*", plain) == re.findall(r"\| \*\*all.*", wider)


def test_a_speed_is_told_when_it_is_within_half_a_per_cent():
    right = answer(90, length=10.0, condition="speed +4 %", speed=1.04)
    said = [right, replace(right, told_speed=1.044), replace(right, told_speed=1.0)]
    assert "| 1.04 | 2 of 3 |" in report.speeds(said, 50)


def test_answers_come_back_from_their_file_as_they_were(tmp_path):
    answers = [*asked(unknown=5), answer(0.5, known=False, system="peer")]
    kept.write(tmp_path / "answers.jsonl", a_run("peer"), answers)
    assert kept.read(tmp_path / "answers.jsonl") == (a_run("peer"), answers)
    (tmp_path / "other.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(ValueError, match="Was it written by --answers"):
        kept.read(tmp_path / "other.jsonl")


def test_unknown_music_that_got_a_name_is_told_by_file():
    wrong = [replace(answer(99.0, known=False), track=track, named="old.ogg") for track in ("a.ogg", "b.ogg", "b.ogg")]
    assert "; 2 x b.ogg for old.ogg; 1 x a.ogg for old.ogg\n" in report.text(a_run(), [*asked(), *wrong])


def test_the_page_keeps_what_people_wrote(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: make lab")
    page = tmp_path / "accuracy.md"
    page.write_text(f"# Title\n\nBy hand.\n\n{report.BEGIN}\nold figures\n{report.END}\n\n## Notes\n\nBy hand too.\n")
    report.into_page(page, a_run("peer"), [*asked(), *asked("peer")])
    text = page.read_text()
    assert text.startswith(f"# Title\n\nBy hand.\n\n{report.BEGIN}")
    assert text.endswith(f"{report.END}\n\n## Notes\n\nBy hand too.\n")
    assert "old figures" not in text
    assert "| clean | 100.0 | 100.0 |" in text
    for image in re.findall(r"!\[.+\]\((.+)\)", text):
        assert 0 < (tmp_path / image).stat().st_size < 60_000


def test_plots_come_out_the_same_from_the_same_answers(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: make lab")
    answers = [*asked(), *asked("peer", missed=50)]
    answers += [replace(a, clip=a.clip + 1000, condition="noise 5 dB", score=a.score / 2) for a in answers]
    for name in ("one.md", "two.md"):
        (tmp_path / name).mkdir()
        report.into_page(tmp_path / name / "page.md", a_run("peer"), answers)
    files = sorted(path.relative_to(tmp_path / "one.md") for path in (tmp_path / "one.md").rglob("*.svg"))
    assert len(files) == 3
    for file in files:
        assert (tmp_path / "one.md" / file).read_bytes() == (tmp_path / "two.md" / file).read_bytes()


def test_a_page_without_a_place_for_figures_is_refused(tmp_path):
    pytest.importorskip("matplotlib", reason="plots need matplotlib: make lab")
    page = tmp_path / "accuracy.md"
    page.write_text("# Title\n")
    with pytest.raises(report.PageError, match="has no lines <!-- measured --> and <!-- /measured -->"):
        report.check(page)


def test_the_program_reports_again_on_answers_that_were_kept(tmp_path, monkeypatch, capsys):
    kept.write(tmp_path / "answers.jsonl", a_run(), asked())
    monkeypatch.setattr(sys, "argv", ["evaluate", "--from-answers", str(tmp_path / "answers.jsonl")])
    recordings.main()
    assert capsys.readouterr().out == report.text(a_run(), asked()) + "\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give either --music"),
        (["--music", ".", "--peers", "shazam"], "error: peer 'shazam' is unknown. Known are audfprint, chromaprint"),
        (["--music", "."], "error: 0 files of 30 s and more to add and 0 to ask for as unknown music"),
        (["--from-answers", "none.jsonl"], "No such file"),
    ],
)
def test_the_program_says_what_it_misses(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluate", *options])
    with pytest.raises(SystemExit) as stopped:
        recordings.main()
    assert message in f"{stopped.value}{capsys.readouterr().err}"


def test_the_command_is_shown_without_the_folders_of_whoever_ran_it():
    options = recordings.parser().parse_args(
        ["--music", "/home/me/a", "/home/me/b", "--noise", "/data/noise", "--wide", "--peers", "audfprint"]
    )
    assert recordings.shown_command(options) == (
        "python -m lab.measure.recordings --music MUSIC --noise NOISE --clips 25 --seed 1 --wide --peers audfprint"
        " --report docs/accuracy.md"
    )


@pytest.mark.skipif(not (WEIGHTS / "fingerprint.onnx").exists(), reason="no weights yet")
def test_a_small_evaluation_of_synthetic_music(tmp_path):
    paths = sorted(synth.write_pieces(tmp_path / "music", count=6))
    echoes = 0.1 * np.random.default_rng(0).standard_normal(2000) * np.exp(-np.arange(2000) / 500)
    around = clips.Surroundings([], [], [np.concatenate([[1.0], echoes])])
    run, answers = recordings.measure(paths[:4], paths[4:], around, per_condition=1, seed=1, against=[LoudestFirst()])
    ours, theirs = kept.of(answers, SONGPRINT), kept.of(answers, "loudest first")
    clean = [a for a in ours if a.known and a.condition in ("clean", "mp3 32k")]
    assert clean
    assert all(a.right and a.error < 0.5 for a in clean)
    nothing = [a for a in ours if not a.length]
    assert max(a.score for a in nothing if a.condition in ("silence", "tone", "hum")) == 0
    assert [(a.clip, a.condition, a.known) for a in ours] == [(a.clip, a.condition, a.known) for a in theirs]
    assert any(a.right for a in theirs) and not all(a.right for a in theirs)
    held, named = {path.name for path in paths[:4]}, {a.track for a in theirs if a.right}
    assert {a.known for a in ours if a.track in held} == {True} and named == {a.named for a in theirs if a.right}
    assert {a.track for a in ours if not a.known} == {path.name for path in paths[4:]} | {""}
    assert "| condition | Songprint | loudest first |" in report.text(run, answers)


class LoudestFirst:
    """A peer that names the first file it was given, and is the surer the louder the clip."""

    name, version, note, bytes = "loudest first", "1.0", "", 8

    def add(self, files, workers):
        self.first = str(files[0])

    def ask(self, samples, sample_rate):
        return peers.Guess(self.first, float(np.abs(samples).max()), 0.0) if samples.any() else None
