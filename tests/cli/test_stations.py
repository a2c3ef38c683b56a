"""`songprint stations`."""

from support.commandline import assert_one_line, json_lines, run
from support.radio import _segment

import songprint
from songprint.stations.history import History
from songprint.stations.stations import Stations

URL = "http://radio.example.org:8000/live"


def test_stations_are_added_listed_stopped_started_and_removed(toy_command):
    added = run("stations", "add", URL, "--name", "Radio", "--timezone", "Europe/Berlin", "--json")
    [station] = json_lines(added)
    listed = run("stations", "list")
    assert (listed.exit_code, listed.stdout) == (0, f"{station['id']}  waiting      Radio\n")
    assert json_lines(run("stations", "stop", station["id"], "--json"))[0]["state"] == "stopped"
    assert "waiting" in run("stations", "start", station["id"]).stdout
    assert run("stations", "remove", station["id"]).stdout == f"removed: {station['id']}\n"
    empty = run("stations", "list")
    assert (empty.exit_code, empty.stdout) == (1, "")
    assert_one_line(empty.stderr)


def test_a_private_host_is_refused_with_the_setting_that_allows_it(toy_command):
    refused = run("stations", "add", "http://127.0.0.1:8000/live")
    assert refused.exit_code == 2 and "allow_hosts" in refused.stderr


def test_an_unknown_station_is_reported(toy_command):
    run("stations", "add", URL)
    missing = run("stations", "show", "nope")
    assert missing.exit_code == 2 and "songprint stations list" in missing.stderr


def test_a_station_is_shown_with_its_plays_and_reported(toy_command, tmp_path):
    [station] = json_lines(run("stations", "add", URL, "--name", "Radio", "--json"))
    with songprint.open(tmp_path / "library") as library:
        database = library.store.catalog.database
        claimed, start = Stations(database).claim("a test"), 1_754_568_000_000  # 2025-08-07T12:00:00Z
        History(database).end(claimed, None, _segment(1, 0, 30), start, start + 30_000, "")
    shown = run("stations", "show", station["id"])
    assert "2025-08-07 12:00:00      0:30  Band - Song 1" in shown.stdout
    assert json_lines(run("stations", "show", station["id"], "--json"))[0]["plays"][0]["title"] == "Song 1"
    report = run("stations", "report", station["id"], "--day", "2025-08-07", "--format", "soundexchange")
    assert report.stdout.splitlines()[1] == "Radio,Band,Song 1,,,,2025-08-07,12:00:00,00:00:30"
    target = tmp_path / "report.html"
    run("stations", "report", station["id"], "--day", "2025-08-07", "--format", "html", "--output", target)
    assert "Band - Song 1" in target.read_text()
