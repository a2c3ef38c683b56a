"""All tables of the database: the catalogue, unknown music, jobs and accounts.

Points in time are integers, see `songprint.store.timestamps`. `songprint.store.schema` creates the tables and
migrates older ones.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
)
from sqlalchemy.dialects.mysql import LONGBLOB, MEDIUMTEXT

# SQLite assigns row numbers only in columns of type INTEGER.
Identifier = BigInteger().with_variant(Integer(), "sqlite")
# In MariaDB and MySQL, TEXT and BLOB end at 64 KB.
LongText = Text().with_variant(MEDIUMTEXT(), "mysql", "mariadb")
Blob = LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb")

# Options of every table: MariaDB and MySQL compare text exactly (case, accents), as SQLite and PostgreSQL do.
EXACT: dict[str, Any] = {
    f"{name}_{option}": value
    for name in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"), ("collate", "utf8mb4_bin"))
}

metadata = MetaData()

# The catalogue

library = Table(
    "library",
    metadata,  # one row
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("schema_version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),  # grows with every change of the searchable recordings
    Column("created_at", BigInteger, nullable=False),
    Column("songprint_version", String(40), nullable=False),  # the version that created the library
    Column("identity", String(32), nullable=False),  # unique; names what other machines and servers derive from it
    **EXACT,
)

encoders = Table(
    "encoders",
    metadata,  # the encoder whose vectors are searched, for each kind
    Column("kind", String(20), primary_key=True),  # added with the first recording of this kind
    Column("encoder_id", String(200), nullable=False),
    **EXACT,
)

recordings = Table(
    "recordings",
    metadata,
    Column("id", Identifier, primary_key=True),  # never reused after a removal
    Column("content_hash", String(128), nullable=False, unique=True),
    Column("title", String(1000), nullable=False),
    Column("artists", LongText, nullable=False),  # a JSON list of names
    Column("album", String(1000), nullable=False),
    Column("isrc", String(40), nullable=False),
    Column("track", Integer),
    Column("year", Integer),
    Column("musicbrainz_recording_id", String(100), nullable=False),
    Column("musicbrainz_release_id", String(100), nullable=False),
    Column("work", String(200), nullable=False),
    Column("original", Boolean, nullable=False, server_default=false()),  # marked by the user as original of its work
    Column("duration", Float(53), nullable=False),  # seconds
    Column("source", LongText, nullable=False),
    Column("added_at", BigInteger, nullable=False),
    Column("missing_since", BigInteger),  # null while one of its files exists
    Column("search", LongText),  # title, artists and album without case and accents, see songprint.store.text
    Column("file_tags", LongText),  # JSON: the tags of the file `source` when it was last read; null: as they are here
    Column("fields", LongText),  # JSON: the user fields, see songprint.store.fields; null: none
    sqlite_autoincrement=True,
    **EXACT,
)
Index("recordings_by_title", recordings.c.title, mysql_length=200)
Index("recordings_by_work", recordings.c.work)
Index("recordings_by_year", recordings.c.year)
Index("recordings_by_duration", recordings.c.duration)
Index("recordings_by_addition", recordings.c.added_at)
# Other databases limit the length of the text in an index.
Index("recordings_by_artists", recordings.c.artists).ddl_if(dialect="sqlite")
Index("recordings_by_album", recordings.c.album).ddl_if(dialect="sqlite")
# A search for words reads this index, which takes a tenth of the space of the table.
Index("recordings_by_search", recordings.c.search).ddl_if(dialect="sqlite")

places = Table(
    "places",
    metadata,  # the files of the recordings, see songprint.store.places
    Column("path_hash", String(64), primary_key=True),  # SHA-256 of the path: MySQL has no unique long text
    Column("path", LongText, nullable=False),
    Column("recording_id", Identifier, ForeignKey("recordings.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),  # bytes; -1: not read since the library has this table
    Column("modified", BigInteger, nullable=False),  # nanoseconds since 1970
    Column("tags", LongText, nullable=False),  # JSON: the tags of the file when it was last read
    Column("missing_since", BigInteger),  # null while the file exists
    **EXACT,
)

folders = Table(
    "folders",
    metadata,  # the folders that the library follows
    Column("path_hash", String(64), primary_key=True),
    Column("path", LongText, nullable=False),
    Column("recursive", Boolean, nullable=False),
    **EXACT,
)

claims = Table(
    "claims",
    metadata,  # files that a process is adding, see songprint.ingest.claims
    Column("path_hash", String(64), primary_key=True),
    Column("holder", String(40), nullable=False, index=True),
    Column("until", BigInteger, nullable=False),
    **EXACT,
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("recording_id", Identifier, ForeignKey("recordings.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("encoder_id", String(200), primary_key=True),
    Column("hop", Float(53), nullable=False),  # seconds between rows
    Column("count", Integer, nullable=False),  # rows
    Column("dim", Integer, nullable=False),
    Column("vectors", Blob, nullable=False),  # (count, dim) int8: unit vectors times 127
    Column("evidence", Blob),  # input of the verification, see songprint.store.packing
    **EXACT,
)
# Listing the searchable recordings uses this index and does not read the vectors.
Index(
    "embeddings_by_encoder", embeddings.c.encoder_id, embeddings.c.kind, embeddings.c.recording_id, embeddings.c.count
)

changes = Table(
    "changes",
    metadata,  # the recordings that each revision changed, see songprint.store.changes
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("recording_id", BigInteger, primary_key=True, autoincrement=False),  # 0: all; -1: none
    Column("token", BigInteger, nullable=False),  # random; the same in all rows of a revision
    **EXACT,
)

totals = Table(
    "totals",
    metadata,  # counts of recordings and of embeddings, see songprint.store.totals
    Column("kind", String(20), primary_key=True),  # empty in the row that counts recordings
    Column("encoder_id", String(200), primary_key=True),
    Column("recordings", BigInteger, nullable=False),
    Column("duration", Float(53), nullable=False),  # seconds; 0 in the rows of embeddings
    Column("segments", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),  # of vectors and evidence
    Column("revision", BigInteger, nullable=False),  # for which the counts are valid, in the row of recordings
    **EXACT,
)

merged = Table(
    "merged",
    metadata,  # the sounds of recordings that were merged into others, see songprint.store.merging
    Column("content_hash", String(128), primary_key=True),
    Column("recording_id", Identifier, nullable=False, index=True),  # the recording that was kept
    Column("merged_id", BigInteger, nullable=False),  # the former id
    **EXACT,
)

kept_apart = Table(
    "kept_apart",
    metadata,  # pairs of recordings that a user decided to keep although they sound the same
    Column("one", BigInteger, primary_key=True, autoincrement=False),
    Column("other", BigInteger, primary_key=True, autoincrement=False),  # greater than `one`
    Column("at", BigInteger, nullable=False),
    **EXACT,
)

unknown_music = Table(
    "unknown_music",
    metadata,  # one row for each occurrence, see songprint.unknown.memory
    Column("id", Identifier, primary_key=True),  # never reused
    Column("number", BigInteger, nullable=False),  # of the music: the id of its first occurrence
    Column("source", LongText, nullable=False),
    Column("start", Float(53), nullable=False),  # seconds in the source
    Column("end", Float(53), nullable=False),
    Column("heard_at", BigInteger, nullable=False),
    Column("encoder_id", String(200), nullable=False),
    Column("count", Integer, nullable=False),  # rows of vectors; 0 where other occurrences store them
    Column("dim", Integer, nullable=False),
    Column("vectors", Blob, nullable=False),  # (count, dim) int8: unit vectors times 127
    sqlite_autoincrement=True,
    **EXACT,
)
Index("unknown_music_by_number", unknown_music.c.number)

# Jobs

jobs = Table(
    "jobs",
    metadata,
    Column("number", Identifier, primary_key=True),  # in order of submission
    Column("id", String(64), nullable=False, unique=True),
    Column("state", String(12), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("input", LongText, nullable=False),  # JSON
    Column("options", LongText, nullable=False),  # JSON
    Column("progress", Float(53), nullable=False),  # 0 to 1
    Column("result", LongText),  # JSON: a timeline
    Column("error_code", String(40), nullable=False),
    Column("error", Text, nullable=False),
    Column("key_id", String(64), nullable=False),  # the owner; empty: submitted without a key
    Column("session_id", String(200), nullable=False),
    Column("session_context", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),  # of the latest attempt
    Column("finished_at", BigInteger),
    Column("changed_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),  # the earliest start
    Column("attempts", Integer, nullable=False),  # attempts started so far
    Column("seconds", Float(53), nullable=False),  # duration of the input
    Column("worker", String(200), nullable=False),  # the worker of the latest attempt
    Column("lease", String(40), nullable=False),  # secret of the current claim
    Column("lease_until", BigInteger),
    Column("upload", Text),  # a file to delete once no job needs it
    sqlite_autoincrement=True,
    **EXACT,
)
Index("jobs_by_turn", jobs.c.state, jobs.c.priority, jobs.c.number)
Index("jobs_by_key", jobs.c.key_id, jobs.c.number)
Index("jobs_by_change", jobs.c.changed_at)

sessions = Table(
    "job_sessions",
    metadata,  # submitting again with the same session id returns the same job
    Column("key_id", String(64), primary_key=True),
    Column("session_id", String(200), primary_key=True),
    Column("job_id", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    **EXACT,
)

deliveries = Table(
    "deliveries",
    metadata,  # of jobs, and of stations
    Column("id", String(64), primary_key=True),  # the webhook-id, the same for every attempt
    Column("job_id", String(64), nullable=False, index=True),  # empty: of a station
    Column("event", String(12), nullable=False),  # the reported state of the job, or what happened on the station
    Column("url", Text, nullable=False),
    Column("host", String(255), nullable=False),  # of the URL: one slow host must not delay others
    Column("style", String(20), nullable=False),
    Column("state", String(12), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),  # attempts started so far
    Column("waits", Integer, nullable=False),  # delays of the retry schedule used so far
    Column("lease", String(40), nullable=False),
    Column("lease_until", BigInteger),
    Column("delivered_at", BigInteger),
    Column("station_id", String(64), nullable=False, server_default=""),  # empty: of a job
    Column("body", LongText),  # of a station's event; null: made from the job when it is sent
    Column("secret", Text),  # signs the body of a station's event, encrypted; null: none of its own
    **EXACT,
)
Index("deliveries_by_station", deliveries.c.station_id)
Index("deliveries_by_turn", deliveries.c.state, deliveries.c.due_at)

attempts = Table(
    "delivery_attempts",
    metadata,
    Column("number", Identifier, primary_key=True),
    Column("delivery_id", String(64), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("elapsed", Float(53), nullable=False),  # seconds
    Column("status", Integer),  # HTTP status; null: no response
    Column("error", Text, nullable=False),
    sqlite_autoincrement=True,
    **EXACT,
)

usage = Table(
    "job_usage",
    metadata,
    # Counts each job once. The queries of one key and day have one row, see songprint.jobs.usage.
    Column("job_id", String(64), primary_key=True),
    Column("key_id", String(64), nullable=False),
    Column("day", String(10), nullable=False, index=True),  # UTC
    Column("seconds", Float(53), nullable=False),  # of input
    Column("kind", String(8), nullable=False, server_default="job"),  # "job" or "query"
    Column("count", Integer, nullable=False, server_default="1"),  # of jobs or queries
    **EXACT,
)

verdicts = Table(
    "verdicts",
    metadata,  # verdicts of users about results
    Column("job_id", String(64), primary_key=True),
    Column("part", String(10), primary_key=True),  # of the result: "segment" or "gap"
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("verdict", String(12), nullable=False),
    Column("recording_id", BigInteger),  # the correct recording
    Column("note", Text, nullable=False),
    Column("key_id", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    **EXACT,
)

# Stations

stations = Table(
    "stations",
    metadata,  # streams that the service follows, see songprint.stations
    Column("number", Identifier, primary_key=True),  # in order of creation
    Column("id", String(64), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("url", LongText, nullable=False),
    Column("options", LongText, nullable=False),  # JSON: time zone, retention, callback
    Column("enabled", Boolean, nullable=False),  # false: stopped by a user
    Column("state", String(12), nullable=False),
    Column("reason", Text, nullable=False),
    Column("state_at", BigInteger, nullable=False),  # since when the state lasts
    Column("announced", Text, nullable=False),  # the title that the stream announces
    Column("heard_at", BigInteger),  # end of the audio that was processed; null: none since it was started
    Column("key_id", String(64), nullable=False),  # the owner; empty: created without a key
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),  # by a user; its follower starts again then
    Column("worker", String(200), nullable=False),  # the last one that followed it
    Column("lease", String(40), nullable=False),
    Column("lease_until", BigInteger),
    sqlite_autoincrement=True,
    **EXACT,
)

plays = Table(
    "plays",
    metadata,  # the airplay history: what each station played and when, without overlaps except of songs
    Column("id", Identifier, primary_key=True),
    Column("station_id", String(64), nullable=False),
    Column("kind", String(20), nullable=False),  # recording, cover, unknown, speech, silence, other, down
    Column("recording_id", BigInteger),  # of a song; it may have been removed since
    Column("title", String(1000), nullable=False),  # as in the library at that time
    Column("artists", LongText, nullable=False),  # a JSON list of names
    Column("album", String(1000), nullable=False),
    Column("isrc", String(40), nullable=False),
    Column("search", LongText),  # title, artists and album without case and accents
    Column("confidence", Float(53)),
    Column("reference_start", Float(53)),  # seconds in the recording
    Column("reference_end", Float(53)),
    Column("announced", Text, nullable=False),  # the title that the stream announced; for kind down, the reason
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),  # null: it is playing now
    sqlite_autoincrement=True,
    **EXACT,
)
Index("plays_by_station", plays.c.station_id, plays.c.started_at)
Index("plays_by_start", plays.c.started_at)
Index("plays_by_recording", plays.c.recording_id, plays.c.started_at)

# Accounts

keys = Table(
    "api_keys",
    metadata,
    Column("id", String(64), primary_key=True),  # the SecretId of Tencent's signature
    Column("name", String(200), nullable=False),
    Column("scope", String(12), nullable=False),
    Column("parent", String(64), nullable=False, index=True),  # empty: a top-level key
    Column("rate", Float(53)),  # requests per second; null: unlimited
    Column("secret", LargeBinary, nullable=False),  # encrypted, not hashed: checking a signature needs the secret
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    **EXACT,
)

audit = Table(
    "audit",
    metadata,
    Column("number", Identifier, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("key_id", String(64), nullable=False, index=True),  # the actor's key; empty: someone on the machine itself
    Column("action", String(60), nullable=False),
    Column("subject", Text, nullable=False),  # what was changed
    Column("actor", String(200), nullable=False, server_default=""),  # the actor, if it has no key
    sqlite_autoincrement=True,
    **EXACT,
)

templates = Table(
    "templates",
    metadata,  # named options of jobs, see songprint.server.tencent.templates
    Column("number", Identifier, primary_key=True),  # never reused
    Column("key_id", String(64), nullable=False, index=True),  # the owner
    Column("name", String(64), nullable=False),
    Column("comment", String(256), nullable=False),
    Column("options", Text, nullable=False),  # JSON
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
    **EXACT,
)


def max_length(column: Column[Any]) -> int | None:
    """Return the maximum number of characters in a text column; None if it is unlimited."""
    return column.type.length if isinstance(column.type, String) else None
