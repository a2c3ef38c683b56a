"""The notebook runs from top to bottom, and shows what its text announces. It is stored without outputs."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from support import commandline, toy

from songprint.types import Report, Timeline

NOTEBOOK = json.loads((Path(__file__).parents[2] / "docs/notebook.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_is_valid_and_stored_without_outputs():
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    for cell in NOTEBOOK["cells"]:
        assert cell["cell_type"] in ("markdown", "code") and cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


def run(source: str, names: dict[str, Any]) -> object:
    """Run a cell as a notebook does, and return the value of its last expression."""
    tree = ast.parse(source)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(last, "cell", "eval"), names) if last else None


def test_the_notebook_runs(tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib")
    commandline.use_toy_encoder(monkeypatch)
    monkeypatch.chdir(tmp_path)
    toy.write_songs(tmp_path / "music", 3)
    toy.write(tmp_path / "clip.wav", toy.song(1)[8000:32000])
    names: dict[str, Any] = {}
    shown = [run(source, names) for source in CODE]
    for value in shown:
        assert len(repr(value)) < 2000
    [report] = [value for value in shown if isinstance(value, Report)]
    [timeline] = [value for value in shown if isinstance(value, Timeline)]
    assert "Song 01" in report._repr_html_() and "<img" in timeline._repr_html_()
    assert (tmp_path / "show.srt").stat().st_size and (tmp_path / "show.png").stat().st_size
