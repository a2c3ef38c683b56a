"""The inputs of jobs that are stored on this machine: uploads, and scanned inputs for a while, for listening.

Each file has its own folder within the folder of the library, so it keeps its name. The table of jobs contains the
path of each.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import unicodedata
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Update, and_, or_, select, update

from songprint.store.tables import jobs
from songprint.store.timestamps import clock

if TYPE_CHECKING:
    from songprint.store.database import Database

log = logging.getLogger(__name__)

FOLDER = "inputs"
FAILED_KEPT = 86400  # seconds; minimum for inputs of failed jobs, which may be retried
LOOKED_FOR = 7 * 86400  # seconds after that until the machine that stored it is considered gone


class Inputs:
    """The folder with the inputs of a library, and their paths in the table of jobs."""

    def __init__(self, library: Path, database: Database) -> None:
        self.folder = Path(library) / FOLDER
        self._database = database

    def of_job(self, job_id: str) -> Path | None:
        """The path of the input of a job, on the machine that stored it; None if it is not stored."""
        with self._database.reading() as connection:
            path = connection.scalar(select(jobs.c.upload).where(jobs.c.id == job_id))
        return Path(path) if path else None

    def remove_old(self, kept: float) -> None:
        """Delete the inputs on this machine of jobs that ended more than `kept` seconds ago."""
        with self._database.reading() as connection:
            now, longest = clock(connection), max(kept, FAILED_KEPT)
            found = connection.execute(
                select(jobs.c.id, jobs.c.upload).where(
                    jobs.c.upload.is_not(None),
                    jobs.c.finished_at > now - round(1000 * (longest + LOOKED_FOR)),
                    or_(
                        and_(
                            jobs.c.state.in_(("finished", "cancelled")), jobs.c.finished_at <= now - round(1000 * kept)
                        ),
                        and_(jobs.c.state == "failed", jobs.c.finished_at <= now - round(1000 * longest)),
                    ),
                )
            ).all()
        for job_id, path in found:
            if not Path(path).exists():
                continue
            try:
                self.remove(Path(path))
            except OSError as error:
                log.warning("cannot remove the input %s: %s", path, error)
                continue
            forgotten = update(jobs).where(jobs.c.id == job_id).values(upload=None)
            self._database.write(partial(_execute, forgotten))

    def take(self, path: Path, *, name: str = "", within: str = "") -> Path:
        """Move a file into its own folder, called `within` if given, under its `name`; return the new path."""
        kept = self.folder / (within or secrets.token_hex(12)) / safe_name(name or path.name)
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.move(path, kept)
        except BaseException:
            self.remove(kept)
            raise
        return kept

    def remove(self, path: Path) -> None:
        """Delete a stored file and its folder. Raises OSError if that fails."""
        if path.parent.parent == self.folder and path.parent.exists():
            shutil.rmtree(path.parent)
        else:
            path.unlink(missing_ok=True)


def _execute(statement: Update, connection: Connection) -> None:
    connection.execute(statement)


def safe_name(name: str) -> str:
    """The last part of a path as a file name that is valid on every file system.

    >>> safe_name("C:\\\\Music\\\\..\\\\a\\x00b.mp3")
    'a b.mp3'
    >>> safe_name("../..")
    'upload'
    """
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in last).strip(" .")
    stem, suffix = os.path.splitext(kept)
    suffix = suffix.encode()[:20].decode(errors="ignore")
    return (stem.encode()[:180].decode(errors="ignore") + suffix) or "upload"
