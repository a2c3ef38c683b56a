"""What tests of the service share: time that passes, and what a job asks for."""

from __future__ import annotations

from sqlalchemy import update

from songprint.database import Database
from songprint.service_schema import metadata

URL = {"type": "url", "url": "https://music.example.org/mix.mp3"}
CALLBACK = {"url": "http://receiver.example.org:5000//callback", "style": "standard", "secret": "k3y"}
RESULT = {"source": "mix.mp3", "duration": 90.5, "segments": []}


def let_pass(database: Database, seconds: float) -> None:
    """Make everything in the tables of the service older by so many seconds: the clock itself is the database's."""
    with database.writing() as connection:
        for table in metadata.tables.values():
            moments = {column: column - round(1000 * seconds) for column in table.c
                       if column.name in ("at", "lease_until") or column.name.endswith("_at")}
            if moments:
                connection.execute(update(table).values(moments))
