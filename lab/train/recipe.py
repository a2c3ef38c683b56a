"""Recipes: how a shipped model is made, from data to calibration (`lab/recipes/NAME.toml`).

A recipe contains:

    purpose, requires           what the model does; recipes that must have run before
    [shipped]                   SHA-256 of the shipped files, and what is known about reproducing them
    [[sources]]                 data and packages with version, hash and licence
    [[prepare]]                 commands that make the training data
    [training]                  settings of all stages: fields of the trainer's Config
    [inputs]                    paths that the trainer reads
    [[stage]]                   name, steps, and settings that differ; a stage starts from the one before it
    [[export]]                  commands that export and calibrate
    [smoke]                     settings of `make models-smoke`: one short stage on synthesised tunes

Commands are modules with arguments. {data}, {noise}, {scores}, {runs}, {weights} stand for folders, {last} for the
weights of the last stage. `smoke` replaces a command in `make models-smoke`; an empty one is skipped.
"""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from songprint.encoders.contract import WEIGHTS

RECIPES = Path(__file__).parents[1] / "recipes"
STAGE_FIELDS = {"name", "start", "known"}  # of a stage; everything else is a setting


@dataclass(frozen=True)
class Recipe:
    """One recipe. `trainer` is the module in `lab.train` that trains the stages; empty when nothing is trained."""

    name: str
    purpose: str
    sources: tuple[Mapping[str, str], ...]
    shipped: Mapping[str, str] | None = None
    trainer: str = ""
    requires: tuple[str, ...] = ()
    prepare: tuple[Mapping[str, str], ...] = ()
    training: Mapping[str, Any] | None = None
    inputs: Mapping[str, str] | None = None
    stage: tuple[Mapping[str, Any], ...] = ()
    export: tuple[Mapping[str, str], ...] = ()
    smoke: Mapping[str, Any] | None = None

    @classmethod
    def load(cls, name: str) -> Recipe:
        """Read a recipe. Raises ValueError for unknown names and unknown keys."""
        file = RECIPES / f"{name}.toml"
        if not file.exists():
            raise ValueError(f"no recipe {name!r}; there are: {', '.join(names())}")
        values = tomllib.loads(file.read_text())
        if unknown := values.keys() - {field.name for field in fields(cls)}:
            raise ValueError(f"{file.name}: unknown keys {', '.join(sorted(unknown))}")
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(name=name, **{**values, **lists})

    def stages(self, smoke: bool = False) -> list[Mapping[str, Any]]:
        """The stages with their settings; a single one for `smoke`."""
        common = self.training or {}
        if smoke and self.stage:
            return [{**common, **{"name": "smoke"}, **(self.smoke or {})}]
        return [{**common, **stage} for stage in self.stage]


def names() -> list[str]:
    """All recipes, each after those that it requires."""
    order: list[str] = []

    def place(name: str) -> None:
        for required in Recipe.load(name).requires:
            place(required)
        if name not in order:
            order.append(name)

    for file in sorted(RECIPES.glob("*.toml")):
        place(file.stem)
    return order


@dataclass(frozen=True)
class Run:
    """A run of recipes: folders, and whether it is a smoke test."""

    data: Path
    noise: Path
    scores: Path
    runs: Path
    threads: int = 1
    smoke: bool = False

    def recipe(self, recipe: Recipe) -> None:
        """Run what is not yet complete: data, stages, export and calibration."""
        folder = self.runs / recipe.name
        folder.mkdir(parents=True, exist_ok=True)
        stages = recipe.stages(self.smoke)
        places = {
            **{field.name: str(getattr(self, field.name)) for field in fields(self) if field.type == "Path"},
            "weights": str(WEIGHTS),
            "last": str(folder / f"{stages[-1]['name']}.pt") if stages else "",
        }
        for command in recipe.prepare:
            self._command(command, places, folder)
        for number, stage in enumerate(stages):
            before = str(folder / f"{stages[number - 1]['name']}.pt") if number else ""
            start = str(stage.get("start", before)).format(**places)
            self._stage(recipe, stage, Path(start) if start else None, places, folder)
        for command in recipe.export:
            self._command(command, places, folder)

    def _stage(
        self,
        recipe: Recipe,
        stage: Mapping[str, Any],
        start: Path | None,
        places: Mapping[str, str],
        folder: Path,
    ) -> None:
        import torch

        from lab.train import loop

        module = importlib.import_module(f"lab.train.{recipe.trainer}")
        settings = {key: value for key, value in stage.items() if key not in STAGE_FIELDS}
        known = {field.name for field in fields(module.Config)}
        if unknown := settings.keys() - known:
            raise ValueError(f"{recipe.name}.toml, stage {stage['name']}: unknown settings {', '.join(unknown)}")
        config = module.Config(**{key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()})
        out = folder / f"{stage['name']}.pt"
        if out.exists():
            if json.loads(out.with_suffix(".json").read_text())["config"] != json.loads(json.dumps(asdict(config))):
                raise ValueError(f"{out} was trained with other settings. Delete it to train this stage again.")
            loop.report(f"{recipe.name}: stage {stage['name']} is complete")
            return
        loop.report(f"{recipe.name}: stage {stage['name']}, {config.steps} steps")
        torch.set_num_threads(self.threads)
        inputs = {name: Path(path.format(**places)) for name, path in (recipe.inputs or {}).items()}
        loop.train(module.Trainer(config, **inputs), out, start)

    def _command(self, command: Mapping[str, str], places: Mapping[str, str], folder: Path) -> None:
        text = command.get("smoke", command["command"]) if self.smoke else command["command"]
        words = [word.format(**places) for word in shlex.split(text)]
        log = folder / "commands.log"
        line = shlex.join(words)
        if not words or (log.exists() and line in log.read_text().splitlines()):
            return
        print(f"python -m {line}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", *words], check=True)
        with log.open("a") as file:
            file.write(f"{line}\n")
