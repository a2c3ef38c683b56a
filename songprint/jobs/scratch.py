"""Scratch folders: for inputs while they are scanned, removed whatever happens to the process."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

try:
    import fcntl
except ImportError:  # Windows: what a killed process leaves has to be removed by hand
    fcntl = None

log = logging.getLogger(__name__)

_PREFIX = "songprint-work-"
_LOCK = ".lock"  # held by the process that uses the folder, so it is free when that has died


@contextmanager
def folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder ($TMPDIR says where), removed at the end; those of processes that died are removed now."""
    parent = Path(parent or tempfile.gettempdir())
    _remove_orphans(parent)
    made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=parent))
    path = made.with_name(made.name.removeprefix("."))
    lock = _locked(made / _LOCK, "w")
    made.rename(path)  # only now others may take it for an orphan
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            lock.close()


def _remove_orphans(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            lock = _locked(path / _LOCK, "r+")
        except OSError:  # in use, or somebody else's
            continue
        if lock is not None:
            with lock:
                shutil.rmtree(path, ignore_errors=True)
            log.info("removed %s, which a process left that was killed", path)


def _locked(file: Path, mode: str) -> TextIO | None:
    if fcntl is None:
        return None
    lock = file.open(mode)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise
    return lock


def clear(path: Path) -> None:
    """Empty a scratch folder between two inputs."""
    for entry in os.scandir(path):
        if entry.name == _LOCK:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            Path(entry.path).unlink(missing_ok=True)
