"""The evaluation of timelines: figures of invented timelines, command line, errors."""

import re
import sys
from dataclasses import replace

import pytest
from support import toy

from lab.data import mixing
from lab.data.programmes import Collection, Piece, plan
from lab.measure import report, timelines
from lab.measure.timelines import Outcome, Scanned
from songprint.types import Gap, Interval, Kind, Recording, Segment, Sound, Tags, Timeline


@pytest.fixture(scope="module")
def programme(tmp_path_factory):
    songs = toy.write_songs(tmp_path_factory.mktemp("music"), 8, duration=25.0)
    pieces = [str(path) for path in songs]
    return plan(
        Collection(
            [Piece(path, path) for path in pieces[:4]],
            [Piece(path) for path in pieces[4:6]],
            [Piece(pieces[6], pieces[0], Kind.COVER)],
            {"en": pieces[7:]},
            pieces[7:],
        ),
        1200,
        "plain",
        2,
        mixing.sounding,
    )


def recording(path, number=1):
    return Recording(number, Tags(title=path), 25.0, path, "")


def perfect(programme):
    """The timeline without any error."""
    segments = [
        Segment(recording(part.song), part.kind, 99.0, part.interval, part.reference) for part in programme.songs
    ]
    unknown = list(dict.fromkeys(part.path for part in programme.parts if not part.song))
    gaps = [
        *(Gap(interval, sound) for interval, sound in programme.sounds),
        *(Gap(part.interval, Sound.MUSIC, unknown.index(part.path)) for part in programme.parts if not part.song),
    ]
    return Timeline(segments, gaps, programme.duration, {Kind.RECORDING: 50.0}, 4, programme.duration / 100)


def figures(text, row):
    return [cell.strip() for cell in re.search(rf"^\| {re.escape(row)} \|(.*)\|$", text, re.MULTILINE)[1].split("|")]


def report_on(programme, timeline):
    return timelines.text("command", 4, [Outcome(programme, Scanned(timeline, 250.0, timeline.duration / 50))])


def test_a_perfect_timeline_has_perfect_figures(programme):
    text = report_on(programme, perfect(programme))
    for noun in ("recordings", "covers", "both"):
        assert figures(text, f"**all** | {noun}")[1:] == ["1.000", "1.000", "1.000"]
    assert figures(text, "recordings")[1:] == ["0.00", "0.00"]
    assert figures(text, "false songs per hour") == ["0.00", "0.00"]
    assert figures(text, "silence")[:2] == ["0", "0"]
    assert float(figures(text, "speech")[1]) > 0
    recognised, again = map(int, re.search(r"recognised (\d+) of (\d+) times", text).groups())
    assert recognised == again > 0
    assert re.search(r"the same number: 0 of \d+ pairs", text)
    assert "| plain | 20 | 100 | 50 | 250 |" in text


def test_mistakes_are_counted(programme):
    correct = perfect(programme)
    first, *others = [s for s in correct.segments if s.kind == Kind.RECORDING]
    late = replace(others[0], interval=Interval(others[0].interval.start + 3, others[0].interval.end))
    wrong = replace(first, recording=recording("another.wav"))
    gaps = [replace(gap, sound=Sound.MUSIC, unknown=None if gap.unknown is None else 7) for gap in correct.gaps]
    text = report_on(programme, replace(correct, segments=[wrong, late, *others[1:]], gaps=gaps))
    songs = sum(part.kind == Kind.RECORDING for part in programme.songs)
    covers = len(programme.songs) - songs
    assert figures(text, "songs missed") == [f"1 of {songs}", f"{covers} of {covers}"]
    assert figures(text, "false songs per hour")[0] == f"{1 / (programme.duration / 3600):.2f}"
    assert figures(text, "**all** | covers")[1:] == ["0.000", "0.000", "0.000"]
    assert float(figures(text, "**all** | recordings")[2]) < 1
    assert figures(text, "speech")[1] == "0" and float(figures(text, "speech")[0]) > 0
    assert not re.search(r"the same number: 0 of", text)


def test_programmes_are_made_scanned_and_kept_with_their_timelines(tmp_path, songs):
    pieces = [str(path) for path in toy.write_songs(tmp_path / "long", 4, duration=20.0)]
    collection = Collection([Piece(path, path) for path in pieces[:3]], [Piece(pieces[3])])
    scanned = []

    def scan(path):
        scanned.append(path)
        return Scanned(Timeline([], [], 60.0, {}, 3, 1.0), 100.0, 2.0)

    outcomes = timelines.measure(collection, ["plain", "mp3 48k"], 60, 1, tmp_path / "made", scan)
    assert [path.suffix for path in scanned] == [".wav", ".mp3"]
    assert all(path.with_suffix(".timeline.json").exists() for path in scanned)
    text = timelines.text("command", 3, outcomes)
    assert figures(text, "**all** | both")[2] == "0.000"
    assert "| mp3 48k | recordings |" in text


def test_links_in_the_library_are_resolved(tmp_path, programme):
    correct = perfect(programme)
    links = {path: tmp_path / f"{number}.wav" for number, path in enumerate({part.song for part in programme.songs})}
    for path, link in links.items():
        link.symlink_to(path)
    by_link = [replace(each, recording=recording(str(links[each.recording.source]))) for each in correct.segments]
    assert report_on(programme, replace(correct, segments=by_link)) == report_on(programme, correct)


def test_the_library_gets_one_rendition_of_most_songs_and_none_of_some(tmp_path):
    names = [f"{work}-{number}.flac" for work in range(6) for number in range(3)]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "works.tsv").write_text("".join(f"{name}\t{name[0]}\n" for name in names))
    covers, unknown, references = timelines.cover_pieces(tmp_path)
    assert [path.name for path in references] == [f"{work}-0.flac" for work in range(5)]
    assert len(covers) == 10 and {piece.kind for piece in covers} == {Kind.COVER}
    assert {piece.song for piece in covers} == {str(path) for path in references}
    assert [piece.path.rpartition("/")[2] for piece in unknown] == ["5-0.flac"]


def test_the_figures_are_written_between_their_marks(tmp_path):
    page = tmp_path / "accuracy.md"
    before = "# Title\n\n<!-- measured -->\nclips\n<!-- /measured -->\n\n"
    page.write_text(f"{before}<!-- timelines -->\nold\n<!-- /timelines -->\nMore.\n")
    report.put(page, "new", title="", mark=report.TIMELINES)
    assert page.read_text() == f"{before}<!-- timelines -->\n\nnew\n\n<!-- /timelines -->\nMore.\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--music", "."], "error: 0 files of 30 s and more to add and 0 to play as unknown music"),
        (["--music", ".", "--report", "page.md"], "error: page.md has no lines <!-- timelines -->"),
    ],
)
def test_missing_input_is_an_error(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.md").write_text("# Title\n")
    monkeypatch.setattr(sys, "argv", ["evaluate", *options])
    with pytest.raises(SystemExit) as stopped:
        timelines.main()
    assert message in str(stopped.value)


def test_the_command_is_shown_without_local_folders():
    options = timelines.parser().parse_args(["--music", "/a", "--speech", "/b", "/c", "--programmes", "2"])
    assert timelines.shown_command(options) == (
        "python -m lab.measure.timelines --music MUSIC --speech SPEECH --hours 1 --programmes 2 --seed 1"
        " --report docs/accuracy.md"
    )
    options = timelines.parser().parse_args(["--music", "/a", "--surroundings"])
    assert "--music MUSIC --surroundings --hours 1" in timelines.shown_command(options)
