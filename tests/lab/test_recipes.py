"""The recipes of the shipped models: complete, consistent with the code, and resumable."""

import ast
import hashlib
import importlib
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from lab import program
from lab.train import recipe
from lab.train.recipe import Recipe, Run
from songprint.encoders.contract import WEIGHTS

ROOT = Path(__file__).parents[2]
NAMES = recipe.names()


def test_every_shipped_file_has_a_recipe_with_its_hash():
    shipped = {
        file: digest for name in NAMES for file, digest in (Recipe.load(name).shipped or {}).items() if file != "known"
    }
    assert shipped == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in WEIGHTS.iterdir()}
    assert all(Recipe.load(name).shipped.get("known") for name in NAMES if Recipe.load(name).shipped)


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_a_recipe_exist(name):
    loaded = Recipe.load(name)
    for command in (*loaded.prepare, *loaded.export):
        for text in filter(None, (command["command"], command.get("smoke"))):
            module, *arguments = shlex.split(text)
            source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
            nodes = list(ast.walk(ast.parse(source)))
            words = {node.value for node in nodes if isinstance(node, ast.Constant)}
            shared = {node.arg for node in nodes if isinstance(node, ast.keyword)} | words  # of `program.parser`
            words |= {f"--{name}" for name in program.OPTIONS if name in shared}
            options = {word for word in arguments if word.startswith("--")}
            assert options <= words, f"{module} lacks {options - words}"


@pytest.mark.parametrize("name", [name for name in NAMES if Recipe.load(name).trainer])
def test_the_settings_of_a_recipe_are_those_of_its_trainer(name):
    pytest.importorskip("torch", reason="training needs PyTorch: make lab")
    loaded = Recipe.load(name)
    module = importlib.import_module(f"lab.train.{loaded.trainer}")
    known = {field.name for field in fields(module.Config)}
    for stage in [*loaded.stages(), *loaded.stages(smoke=True)]:
        assert stage.keys() - recipe.STAGE_FIELDS <= known
        module.Config(**{key: value for key, value in stage.items() if key not in recipe.STAGE_FIELDS})


def test_recipes_run_after_those_they_require():
    assert all(NAMES.index(name) > NAMES.index(other) for name in NAMES for other in Recipe.load(name).requires)


def test_an_unknown_recipe_is_reported_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no recipe 'humming'; there are: .*fingerprint"):
        Recipe.load("humming")


def test_completed_commands_are_skipped(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(recipe.subprocess, "run", lambda words, check: called.append(words[2:]))
    toy = Recipe("toy", "", (), prepare=({"command": "lab.a --out {data}", "smoke": ""}, {"command": "lab.b"}))
    run = Run(tmp_path / "data", tmp_path, tmp_path, tmp_path / "runs")
    run.recipe(toy)
    assert called == [["lab.a", "--out", f"{tmp_path}/data"], ["lab.b"]]
    run.recipe(toy)
    assert len(called) == 2
    Run(tmp_path, tmp_path, tmp_path, tmp_path / "smoke", smoke=True).recipe(toy)
    assert called[2:] == [["lab.b"]], "an empty smoke command is skipped"
