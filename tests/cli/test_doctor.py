"""`songprint doctor`: checks of the installation and of the library."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support import toy
from support.commandline import json_lines, run

import songprint
from songprint import kinds
from songprint.types import Kind

pytestmark = pytest.mark.usefixtures("toy_command")


def test_doctor_checks_the_installation_and_the_library(songs):
    run("add", *songs)
    result = run("doctor")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert all(line.startswith("✓ ") for line in lines)
    for name in (
        "onnxruntime",
        "faiss-cpu",
        "av",
        "encoder",
        "new library",
        "known recording",
        "library",
        "database",
        "embeddings",
        "index",
        "from its own file",
    ):
        assert sum(line.startswith(f"✓ {name}: ") for line in lines) == 1
    assert all(check["passed"] for check in json_lines(run("doctor", "--json")))


def test_doctor_and_stats_report_the_same_numbers(tmp_path):
    silent = np.concatenate([toy.tune(1), np.zeros_like(toy.tune(1))])
    run("add", toy.write(tmp_path / "Band - Song.wav", silent))
    [stats] = json_lines(run("stats", "--json"))
    [level] = stats["levels"]
    found = {check["check"]: check["detail"] for check in json_lines(run("doctor", "--json"))}
    assert found["library"].endswith(f" contains {stats['recordings']} recording")
    assert re.fullmatch(rf"recording: exact, {level['segments']} segments \(\d+ of silence.*\)", found["index"])


def test_doctor_works_without_a_library_and_creates_none(tmp_path):
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "library").exists()


def test_doctor_reports_a_missing_library_if_one_was_given(tmp_path):
    result = run("doctor", "--library", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "✗ library: " in result.stdout


def test_doctor_reports_a_damaged_encoder(monkeypatch):
    def damaged(*args, **more):
        raise songprint.SongprintError("the weights are damaged")

    monkeypatch.setattr(kinds.MATCHERS[Kind.RECORDING], "open_encoder", damaged)
    result = run("doctor")
    assert result.exit_code == 2
    assert "✗ encoder: the weights are damaged" in result.stdout


def test_doctor_reports_a_damaged_database(songs, tmp_path):
    run("add", *songs)
    [database] = [path for path in (tmp_path / "library").iterdir() if path.suffix in (".sqlite", ".db")]
    content = bytearray(database.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    database.write_bytes(content)
    result = run("doctor")
    assert result.exit_code == 2
    assert "✗ " in result.stdout and "Traceback" not in result.output
