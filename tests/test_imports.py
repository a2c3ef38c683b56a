"""Imports between folders go one way, without circles, and importing the package loads next to nothing."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "songprint"

# A module may import from its own folder and from the rows above its own. Folders are named by their first
# component; modules at the root stand for themselves.
ROWS = [
    {"types", "errors"},
    {"address", "processes", "intervals"},
    {"config", "encoders", "confidence"},
    {"outside"},
    {"audio"},
    {"formats"},
    {"store"},
    {"fingerprint", "covers"},  # neither imports the other
    {"kinds"},
    {"identify", "ingest"},
    {"unknown"},
    {"scan"},
    {"client"},
    {"library"},
    {"accounts"},
    {"jobs"},
    {"stations"},
    {"doctor", "server"},
    {"cli"},
    {"__main__"},
]
DEEPEST = 16  # modules in a chain of imports at module level; a longer chain is hard to follow
HEAVY = (
    "numpy",
    "scipy",
    "av",
    "onnxruntime",
    "faiss",
    "sqlalchemy",
    "tinytag",
    "click",
    "rich",
    "fastapi",
    "uvicorn",
    "cryptography",
    "httpx",
)


def row(folder: str) -> int:
    return next((number for number, names in enumerate(ROWS) if folder in names), -1)


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without `songprint.`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    del found[""]
    return found


@cache
def imported(name: str, *, at_module_level: bool = False) -> frozenset[str]:
    """The modules of songprint that a module imports: anywhere except for type checkers, or at module level alone."""
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in tree.body if at_module_level else ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import of {node.module}"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {full.removeprefix("songprint.") for full in names if full.startswith("songprint.")}
    parents = {name[:place] for place, letter in enumerate(name) if letter == "."}  # Python imports these anyway
    return frozenset((found & modules().keys()) - {name, *parents})


@pytest.mark.parametrize("name", modules())
def test_imports_go_one_way(name):
    folder = name.split(".")[0]
    assert row(folder) >= 0, f"{folder} has no place in ROWS"
    wrong = {
        other for other in imported(name) if other.split(".")[0] != folder and row(other.split(".")[0]) >= row(folder)
    }
    assert not wrong, f"{name} imports {wrong}: not above {folder} in ROWS"


def test_no_module_imports_itself_through_others():
    chains(at_module_level=False)


def test_chains_of_imports_are_short():
    longest = max(chains(at_module_level=True).values(), key=len)
    assert len(longest) <= DEEPEST, " -> ".join(longest)


def chains(*, at_module_level: bool) -> dict[str, tuple[str, ...]]:
    """The longest chain of imports from each module; a circle fails."""
    known: dict[str, tuple[str, ...]] = {}
    entered: list[str] = []

    def of(name: str) -> tuple[str, ...]:
        assert name not in entered, f"circle: {' -> '.join([*entered[entered.index(name) :], name])}"
        if name not in known:
            entered.append(name)
            others = imported(name, at_module_level=at_module_level)
            known[name] = (name, *max((of(other) for other in others), key=len, default=()))
            entered.pop()
        return known[name]

    return {name: of(name) for name in modules()}


@pytest.mark.parametrize("name", modules())
def test_the_product_does_not_import_the_lab(name):
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    roots = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    roots += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not {"lab", "torch"} & {root.split(".")[0] for root in roots}


def test_importing_songprint_is_instant(run_python):
    loaded = run_python("-c", "import songprint, sys; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)


def test_importing_any_module_opens_no_runtime(run_python):
    """Model runtimes, search engines and decoders load where they are used."""
    names = [f"songprint.{name}" for name in modules() if name not in ("__main__", "doctor")]
    loaded = run_python("-c", f"import sys, {', '.join(names)}; print(*sys.modules)").split()
    assert not {"onnxruntime", "faiss", "av"} & set(loaded)


def test_the_root_is_a_table_of_contents():
    """At most 12 modules besides the client, and 16 folders: more is a tower, not a house."""
    files = [path.name for path in PACKAGE.glob("*.py") if path.name != "client.py"]
    folders = [path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert len(files) <= 12, files
    assert len(folders) <= 16, folders


def test_test_modules_share_helpers_only_through_the_support_folder():
    """A test module that imports another one breaks when the other one changes, and runs its fixtures."""
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [
            f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        ]
        assert not [name for name in names if name.startswith("tests.")], path


def test_sync_of_unchanged_files_loads_no_decoder_and_no_network(run_python, tmp_path):
    code = (
        "import songprint, sys\n"
        "with songprint.open(sys.argv[1], create=True) as library:\n"
        "    library.sync([sys.argv[2]])\n"
        "print(*sys.modules)"
    )
    (tmp_path / "music").mkdir()
    loaded = run_python("-c", code, str(tmp_path / "library"), str(tmp_path / "music")).split()
    assert not {"av", "onnxruntime", "scipy", "faiss", "tinytag", "fastapi", "cryptography"} & set(loaded)
