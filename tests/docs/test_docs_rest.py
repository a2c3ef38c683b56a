"""The examples of docs/rest.md, curl and Python, work with a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.server_process import serve

import songprint
from lab.data import synth
from songprint.accounts.keys import Keys
from songprint.accounts.vault import Vault
from songprint.audio import files

PAGE = Path(__file__).parents[2] / "docs" / "rest.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples need curl")
def test_every_example_of_the_rest_api_works(tmp_path, monkeypatch, capsys):
    tunes = synth.write_pieces(tmp_path / "tunes", 3)
    with songprint.open(tmp_path / "library", create=True) as library:
        library.add(tunes[:2], workers=1)
        database = library.store.catalog.database
        token = Keys(database, Vault(database, library.path)).create("docs", "admin").token
    write_files(tmp_path, tunes)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", token)
    ran = 0
    with serve(tmp_path / "library", SONGPRINT_SERVER_CLIP_PROCESSES="1") as server:
        server.until_ready()
        for language, block in re.findall(
            r"^```(sh|python)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        ):
            example = block.replace("http://127.0.0.1:8080", server.url)
            if language == "python":
                names: dict = {}
                exec(compile(example, PAGE.name, "exec"), names)
                if "api" in names:
                    names["api"].close()
            else:
                done = subprocess.run(
                    ["bash", "-e", "-o", "pipefail", "-c", example],
                    capture_output=True,
                    text=True,
                    env=os.environ | {"NO_PROXY": "*"},
                )
                assert done.returncode == 0, block + done.stdout + done.stderr
            ran += 1
    printed = capsys.readouterr().out
    assert ran >= 10 and "Greensleeves recording" in printed and "100%" in printed and "-->" in printed


def write_files(folder: Path, tunes: list[Path]) -> None:
    """Write the files that the examples use."""
    one, two = (files.load(tune, synth.SAMPLE_RATE, start=5, duration=15) for tune in tunes[:2])
    synth.write(folder / "clip.flac", two[: 10 * synth.SAMPLE_RATE])
    synth.write(folder / "mix.flac", np.concatenate([one, two]))
    for name in ("clip", "mix"):  # the suffix does not matter
        (folder / f"{name}.flac").rename(folder / f"{name}.mp3")
    shutil.copy(tunes[2], folder / "song.flac")
