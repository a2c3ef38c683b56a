"""The documentation is correct: its commands, options, settings, links, paths and Python examples."""

import importlib.util
import pkgutil
import re
import shlex
from dataclasses import fields
from pathlib import Path

import click
import pytest
from support import commandline, reports, toy

import songprint
from songprint.cli import main
from songprint.config import ServerSettings, Settings, StorageSettings
from songprint.formats import objects

ROOT = Path(__file__).parents[2]
COMMANDS_PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
# Pages whose Python needs a running server or a callback: `test_docs_rest`, `test_deliveries` and `test_tencent_sdk`.
SERVED = ("rest.md", "jobs.md", "service.md", "tencent.md")


def leaf_commands(group: click.Group, before: str = "") -> dict[str, click.Command]:
    """All commands without subcommands, by their full names: "add", "keys create"."""
    found = {}
    for name, command in group.commands.items():
        found |= (
            leaf_commands(command, f"{before}{name} ") if isinstance(command, click.Group) else {before + name: command}
        )
    return found


COMMANDS_BY_NAME = leaf_commands(main)


def section(name: str) -> str:
    found = re.search(rf"^## {name}\b.*?(?=^## |\Z)", COMMANDS_PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/commands.md has no section on {name}"
    return found[0]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", COMMANDS_BY_NAME)
def test_every_command_has_help_and_its_options_are_documented(name):
    command = COMMANDS_BY_NAME[name]
    assert command.help and command.get_short_help_str()
    common = section("For every command")
    text = section(name)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{command.name} {parameter.opts[0]} has no help"
            assert any(f"`{option}" in text or f"`{option}" in common for option in parameter.opts)
        else:
            assert f"{parameter.make_metavar(click.Context(command))}" in text.splitlines()[0]


def test_documented_options_exist():
    options = {
        option
        for command in (main, *COMMANDS_BY_NAME.values())
        for parameter in command.params
        for option in parameter.opts
    } | {"--help"}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for line in re.findall(r"songprint [^\n`]*|^\| `--[^`]*`", text, re.MULTILINE):
            assert set(re.findall(r"(?<!\S)`?(--[a-z-]+)", line)) <= options, f"{page.name}: {line}"


def test_documented_commands_exist():
    for page in PAGES:
        for name in re.findall(
            r"^    songprint (?:--\S+ )*([a-z]+)|`songprint ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE
        ):
            assert "".join(name) in main.commands
        for name in re.findall(
            r"^    songprint ((?:jobs|keys) [a-z]+)|`songprint ((?:jobs|keys) [a-z]+)",
            page.read_text(encoding="utf-8"),
            re.MULTILINE,
        ):
            assert "".join(name) in COMMANDS_BY_NAME


def test_documented_command_lines_are_valid():
    """Options, values and the number of arguments of every command line in a block, without running it."""
    seen = 0
    for page in PAGES:
        for line in re.findall(
            r"^(?:    |[A-Z_]+=\S+ )?(?:[^\n`]*\| )?songprint ([a-z][^\n|`]*)$",
            page.read_text(encoding="utf-8"),
            re.MULTILINE,
        ):
            words = shlex.split(line)
            command: click.Command = main
            while isinstance(command, click.Group) and words and words[0] in command.commands:
                command = command.commands[words.pop(0)]
            with command.make_context(command.name, words, resilient_parsing=False):
                seen += 1
    assert seen > 30


def test_make_targets_in_the_documents_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:^    |`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= targets
    assert {"demo", "test"} <= set(re.findall(r"^    make ([a-z-]+)", README, re.MULTILINE))


def test_link_targets_exist():
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_setting_is_documented():
    text = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    for kind in (Settings, ServerSettings, StorageSettings):
        for field in fields(kind):
            assert f"`{field.name}`" in text or f"{field.name} = " in text or field.name == "server"


def test_paths_and_names_in_the_documents_exist():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for path in re.findall(r"`((?:songprint|lab|tests|docs|\.ci)/[^\s`]*)`", text):
            assert any(ROOT.glob(path.rstrip("/"))), f"{page.name}: {path}"
        for module in re.findall(r"python -m (lab[\w.]*)", text):
            assert importlib.util.find_spec(module), f"{page.name}: {module}"
        for name in re.findall(r"`(songprint(?:\.\w+)+)`", text):
            assert pkgutil.resolve_name(name), f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_documents_compiles(page):
    for number, block in enumerate(python_blocks(page)):
        compile(block, f"{page.name} block {number}", "exec")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in SERVED and python_blocks(page)], ids=lambda page: page.name
)
def test_python_in_the_documents_runs(page, tmp_path, monkeypatch, capsys):
    """One block after the other, in a folder with music, a library and a clip, with the toy encoder."""
    commandline.use_toy_encoder(monkeypatch)
    monkeypatch.chdir(tmp_path)
    toy.write_songs(tmp_path / "music", 3)
    toy.write(tmp_path / "clip.wav", toy.song(1)[8000:32000])
    with songprint.open("my-library", create=True) as library:
        library.add(["music/"])
    blocks = python_blocks(page)
    for block in blocks:
        exec(compile(block, page.name, "exec"), {})
    assert "Song 01" in capsys.readouterr().out or not any("identify" in block for block in blocks)


def test_json_keys_are_documented():
    text = section("identify")
    match = objects.match_object(reports.MATCH)
    for key in (*objects.report_object(reports.report()), *match, *match["recording"]):
        assert f"`{key}`" in text
