"""Run the command line in this process or in its own, and check its output."""

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
from songprint.encoders.contract import Encoder
from songprint.types import Kind

ESCAPE = "\x1b"


def use_toy_encoder(monkeypatch: pytest.MonkeyPatch, *, covers: bool = False) -> None:
    """The toy encoder of recordings replaces the one that ships; that of covers too, or there are no covers."""
    use_encoders(monkeypatch, toy.CalibratedToyEncoder(), toy.CalibratedToyCoverEncoder() if covers else None)
    monkeypatch.setenv("SONGPRINT_WORKERS", "1")


def use_encoders(monkeypatch: pytest.MonkeyPatch, recordings: Encoder, covers: Encoder | None = None) -> None:
    """The matchers open these encoders instead of those that ship; without one for covers there are no covers."""
    for kind, encoder in ((Kind.RECORDING, recordings), (Kind.COVER, covers)):
        if encoder is None:
            monkeypatch.delitem(kinds.MATCHERS, kind)
            continue
        matcher = type(kinds.MATCHERS[kind])()
        matcher.spec = lambda encoder=encoder: encoder.spec
        matcher.open_encoder = lambda *args, encoder=encoder, **more: encoder
        monkeypatch.setitem(kinds.MATCHERS, kind, matcher)


def run(*arguments: object, input: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=input)


def really_run(*arguments: object, **more: object) -> subprocess.CompletedProcess:
    """Run the command line in its own process."""
    return subprocess.run(
        [sys.executable, "-m", "songprint", *map(str, arguments)], capture_output=True, timeout=120, **more
    )


def json_lines(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def assert_one_line(error: str) -> None:
    assert re.fullmatch(r"songprint: [^\n]+\n", error), error
