"""`songprint unknown`: list, forget and add."""

from support import toy
from support.commandline import assert_one_line, json_lines, run

import songprint
from songprint.types import Interval
from songprint.unknown import memory

ENCODER = toy.ToyEncoder()


def remembered(tmp_path, *shows):
    """Create a library that remembers one unknown song per show, and return its folder."""
    folder = tmp_path / "library"
    with songprint.open(folder, create=True, encoder=ENCODER) as library:
        for number, seed in enumerate(shows):
            song = toy.song(seed, 30.0)
            path = toy.write(tmp_path / f"show{number}.wav", song)
            memory.remember(library.store, str(path), [(Interval(0, 30), ENCODER.encode(song, hop=0.25))])
    return folder


def test_repeated_unknown_music_is_listed_with_its_occurrences(toy_command, tmp_path):
    remembered(tmp_path, 1, 2, 1)
    listed = run("unknown")
    assert listed.exit_code == 0
    assert listed.stdout.splitlines()[0].split(maxsplit=1)[1] == "2 times, 0:30"
    assert f"0:00.0 to 0:30.0  {tmp_path}/show2.wav" in listed.stdout
    assert "1 piece of music occurred only once" in listed.stderr
    assert len(json_lines(run("unknown", "--json"))) == 1
    every = json_lines(run("unknown", "list", "--all", "--json"))
    assert [len(each["occurrences"]) for each in every] == [2, 1]
    assert every[0]["occurrences"][0] | {"heard_at": ""} == {
        "source": f"{tmp_path}/show0.wav",
        "start": 0.0,
        "end": 30.0,
        "heard_at": "",
    }


def test_without_unknown_music_the_exit_status_is_1(toy_command, tmp_path):
    remembered(tmp_path)
    listed = run("unknown")
    assert (listed.exit_code, listed.stdout) == (1, "")
    assert_one_line(listed.stderr)


def test_unknown_music_is_forgotten(toy_command, tmp_path):
    remembered(tmp_path, 1, 1)
    number = json_lines(run("unknown", "--json"))[0]["id"]
    wrong = run("unknown", "forget", number, number + 1)
    assert wrong.exit_code == 2 and "no unknown music" in wrong.stderr
    assert run("unknown", "forget", number).exit_code == 0
    assert run("unknown", "list", "--all").exit_code == 1


def test_unknown_music_that_was_added_is_identified(toy_command, tmp_path):
    library = remembered(tmp_path, 1, 2, 1)
    number = json_lines(run("unknown", "--json"))[0]["id"]
    added = run("unknown", "add", number, "--title", "Found", "--artist", "Nobody", "--artist", "Else")
    assert added.exit_code == 0, added.stderr
    assert "Found" in added.stdout
    assert (library / "unknown" / f"{number}.flac").exists()
    query = toy.write(tmp_path / "clip.wav", toy.song(1, 30.0)[40_000:80_000])
    named = json_lines(run("identify", query, "--json"))[0]
    assert named["matches"][0]["recording"]["title"] == "Found"
    assert [len(each["occurrences"]) for each in json_lines(run("unknown", "list", "--all", "--json"))] == [1]


def test_unknown_music_cannot_be_added_without_its_file(toy_command, tmp_path):
    remembered(tmp_path, 1, 1)
    for show in tmp_path.glob("show*.wav"):
        show.unlink()
    number = json_lines(run("unknown", "--json"))[0]["id"]
    failed = run("unknown", "add", number, "--title", "Found")
    assert failed.exit_code == 2
    assert "exists any more" in failed.stderr
    assert_one_line(failed.stderr)
