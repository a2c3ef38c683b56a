"""The inputs of jobs on this machine: uploads until they are scanned, and all for a while after, for listening.

Each file has a folder of its own in the library's, so it keeps its name. The table of jobs knows which file is whose.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

FOLDER = "inputs"


class Inputs:
    """The folder of a library's inputs."""

    def __init__(self, library: Path) -> None:
        self.folder = Path(library) / FOLDER

    def take(self, path: Path) -> Path:
        """Move a file here; returns where it is now."""
        kept = self.folder / secrets.token_hex(12) / path.name
        kept.parent.mkdir(parents=True)
        try:
            os.replace(path, kept)
        except OSError:                         # from another disk
            try:
                shutil.move(path, kept)
            except BaseException:
                self.remove(kept)
                raise
        return kept

    def remove(self, path: Path) -> None:
        """Delete a file that was taken, and what is kept beside it. OSError where that cannot be done."""
        if path.parent.parent == self.folder and path.parent.exists():
            shutil.rmtree(path.parent)
        else:
            path.unlink(missing_ok=True)
