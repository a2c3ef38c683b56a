"""The command line, run in this process or in one of its own, and what it prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result
from support import toy

from songprint import kinds
from songprint.cli import main

ESCAPE = "\x1b"


def use_toy_encoder(monkeypatch: pytest.MonkeyPatch, *, covers: bool = False) -> None:
    """That of recordings, and that of covers if it is wanted."""
    toys = {"fingerprint": toy.JudgingToyEncoder(), "cover": toy.JudgingToyCoverEncoder()}
    monkeypatch.setattr(kinds, "load_encoder", lambda name="fingerprint", **more: toys[name])
    monkeypatch.setattr(kinds, "load_spec", lambda name="fingerprint", **more: toys[name].spec)
    monkeypatch.setattr(kinds, "ships", lambda name: covers or name == "fingerprint")
    monkeypatch.setenv("SONGPRINT_WORKERS", "1")


def run(*arguments: object, input: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=input)


def really_run(*arguments: object, **more: object) -> subprocess.CompletedProcess:
    """In a process of its own, through the same door as a user."""
    return subprocess.run(
        [sys.executable, "-m", "songprint", *map(str, arguments)], capture_output=True, timeout=120, **more
    )


def json_lines(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def assert_one_line(error: str) -> None:
    assert re.fullmatch(r"songprint: [^\n]+\n", error), error
