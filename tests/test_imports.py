"""Imports go one way, and importing the package loads next to nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "songprint"

LAYERS = [                                              # each may import what stands above it, and itself
    {"types", "errors", "events", "occurrences", "child", "threads", "remembered"},
    {"export"},
    {"address", "config", "audio", "decode", "packing", "disk", "database", "schema", "service_schema"},
    {"tags", "samples", "index", "streams", "rows"},
    {"encoders", "catalog", "align", "tonal_rows", "tonal_paths", "tonal_keys", "tonal_align", "tonal_bands",
     "cohort", "windows", "versions", "tempi", "confidence"},
    {"level", "workers", "timeline", "sounds"},
    {"store", "works"},
    {"matching"},
    {"ingest", "identify", "resuming", "unknown"},
    {"adoption"},
    {"scan"},
    {"listen", "watch"},
    {"renditions"},
    {"explain"},
    {"library"},
    {"formats", "draw"},
    {"service", "service.hosts", "service.s3", "service.media", "service.vault"},
    {"service.fetch"},
    {"service.storage", "service.deliveries", "service.usage", "service.keys", "service.limiter", "service.audit",
     "service.verdicts", "service.inputs"},
    {"service.job"},
    {"service.jobs"},
    {"service.callbacks", "service.scratch"},
    {"service.outside"},
    {"service.worker"},
    {"doctor", "server", "cli", "__main__"},
]
HEAVY = ("numpy", "scipy", "av", "onnxruntime", "faiss", "sqlalchemy", "tinytag", "click", "rich", "fastapi",
         "uvicorn", "cryptography")


def layer(module: str) -> int:
    return next((number for number, names in enumerate(LAYERS) if module in names), -1)


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def name(path: Path) -> str:
    """`encoders/logmel.py` belongs to `encoders`; the modules of `service` stand for themselves."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:2]) if parts[0] == "service" and parts[1] != "__init__" else parts[0]


def imported(path: Path) -> set[str]:
    """The modules of songprint that a file imports anywhere, but for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.If)
               and ast.unparse(node.test) == "TYPE_CHECKING" for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import of {node.module}"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        parts = [full.split(".")[1:] for full in names if full.startswith("songprint.")]
        found |= {each[0] for each in parts if each[0] != "service"} | {".".join(each[:2]) for each in parts}
    return found & {name(module) for module in modules()}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    assert layer(name(path)) >= 0, f"{name(path)} has no place in LAYERS"
    wrong = {other for other in imported(path) if other != name(path) and layer(other) > layer(name(path))}
    assert not wrong, f"{path.name} imports {wrong}, which stand below it in LAYERS"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_product_does_not_import_the_lab(path):
    roots = [alias.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
             if isinstance(node, ast.Import) for alias in node.names]
    roots += [node.module for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
              if isinstance(node, ast.ImportFrom)]
    assert not {"lab", "torch"} & {root.split(".")[0] for root in roots}


def test_importing_songprint_is_instant(run_python):
    loaded = run_python("-c", "import songprint, sys; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)


def test_importing_any_module_opens_no_runtime(run_python):
    """Model runtimes, search engines and decoders load where they are used."""
    names = [f"songprint.{name(path)}" for path in modules() if name(path) not in ("__main__", "doctor")]
    loaded = run_python("-c", f"import sys, {', '.join(sorted(set(names)))}; print(*sys.modules)").split()
    assert not {"onnxruntime", "faiss", "av"} & set(loaded)


def test_modules_are_short():
    assert {path.name: lines for path in modules()
            if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400} == {}
