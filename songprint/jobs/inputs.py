"""The inputs of jobs on this machine: uploads until they are scanned, and all for a while after, for listening.

Each file has a folder of its own in the library's, so it keeps its name. The table of jobs knows which file is whose.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import and_, or_, select, update

from songprint.store.tables import jobs
from songprint.store.timestamps import clock

if TYPE_CHECKING:
    from songprint.store.database import Database

log = logging.getLogger(__name__)

FOLDER = "inputs"
FAILED_KEPT = 86400  # seconds that the input of a job that failed is kept at least: it may be tried again
LOOKED_FOR = 7 * 86400  # seconds after that until it is given up: the machine that held it is gone


class Inputs:
    """The folder of a library's inputs, and what the table of jobs says of them."""

    def __init__(self, library: Path, database: Database) -> None:
        self.folder = Path(library) / FOLDER
        self._database = database

    def of_job(self, job_id: str) -> Path | None:
        """Where the input of a job is, on the machine that took or scanned it; None: nowhere (any more)."""
        with self._database.reading() as connection:
            path = connection.scalar(select(jobs.c.upload).where(jobs.c.id == job_id))
        return Path(path) if path else None

    def remove_old(self, kept: float) -> None:
        """Delete the inputs of jobs that ended so many seconds ago; those on other machines are left to these."""
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
            self._database.write(
                lambda connection, job_id=job_id: connection.execute(
                    update(jobs).where(jobs.c.id == job_id).values(upload=None)
                )
            )

    def take(self, path: Path, *, name: str = "", within: str = "") -> Path:
        """Move a file here, under its own `name` and into its own folder `within` this; returns where it is now."""
        kept = self.folder / (within or secrets.token_hex(12)) / safe_name(name or path.name)
        kept.parent.mkdir(parents=True, exist_ok=True)
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


def safe_name(name: str) -> str:
    """The last part of what somebody calls a file, as a name that every file system takes.

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
