-- A library with one recording, as the first release writes it (schema version 1). Every later version must open it.
BEGIN TRANSACTION;
CREATE TABLE api_keys (
    id VARCHAR(64) NOT NULL,
    name VARCHAR(200) NOT NULL,
    scope VARCHAR(12) NOT NULL,
    parent VARCHAR(64) NOT NULL,
    rate FLOAT,
    secret BLOB NOT NULL,
    token_hash VARCHAR(64) NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT,
    PRIMARY KEY (id),
    UNIQUE (token_hash)
);
CREATE TABLE audit (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at BIGINT NOT NULL,
    key_id VARCHAR(64) NOT NULL,
    action VARCHAR(60) NOT NULL,
    subject TEXT NOT NULL
);
CREATE TABLE deliveries (
    id VARCHAR(64) NOT NULL,
    job_id VARCHAR(64) NOT NULL,
    event VARCHAR(12) NOT NULL,
    url TEXT NOT NULL,
    host VARCHAR(255) NOT NULL,
    style VARCHAR(20) NOT NULL,
    state VARCHAR(12) NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    waits INTEGER NOT NULL,
    lease VARCHAR(40) NOT NULL,
    lease_until BIGINT,
    delivered_at BIGINT,
    PRIMARY KEY (id)
);
CREATE TABLE delivery_attempts (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    delivery_id VARCHAR(64) NOT NULL,
    at BIGINT NOT NULL,
    elapsed FLOAT NOT NULL,
    status INTEGER,
    error TEXT NOT NULL
);
CREATE TABLE embeddings (
    recording_id INTEGER NOT NULL,
    kind VARCHAR(20) NOT NULL,
    encoder_id VARCHAR(200) NOT NULL,
    hop FLOAT NOT NULL,
    count INTEGER NOT NULL,
    dim INTEGER NOT NULL,
    vectors BLOB NOT NULL,
    evidence BLOB,
    PRIMARY KEY (recording_id, kind, encoder_id),
    FOREIGN KEY(recording_id) REFERENCES recordings (id) ON DELETE CASCADE
);
INSERT INTO "embeddings" VALUES(1,'recording','toy-1',0.5,2,2,X'7F000081',X'01020304');
CREATE TABLE encoders (
    kind VARCHAR(20) NOT NULL,
    encoder_id VARCHAR(200) NOT NULL,
    PRIMARY KEY (kind)
);
INSERT INTO "encoders" VALUES('recording','toy-1');
CREATE TABLE job_sessions (
    key_id VARCHAR(64) NOT NULL,
    session_id VARCHAR(200) NOT NULL,
    job_id VARCHAR(64) NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (key_id, session_id)
);
CREATE TABLE job_usage (
    job_id VARCHAR(64) NOT NULL,
    key_id VARCHAR(64) NOT NULL,
    day VARCHAR(10) NOT NULL,
    seconds FLOAT NOT NULL,
    PRIMARY KEY (job_id)
);
CREATE TABLE jobs (
    number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id VARCHAR(64) NOT NULL,
    state VARCHAR(12) NOT NULL,
    priority INTEGER NOT NULL,
    input TEXT NOT NULL,
    options TEXT NOT NULL,
    progress FLOAT NOT NULL,
    result TEXT,
    error_code VARCHAR(40) NOT NULL,
    error TEXT NOT NULL,
    key_id VARCHAR(64) NOT NULL,
    session_id VARCHAR(200) NOT NULL,
    session_context TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    changed_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    attempts INTEGER NOT NULL,
    seconds FLOAT NOT NULL,
    worker VARCHAR(200) NOT NULL,
    lease VARCHAR(40) NOT NULL,
    lease_until BIGINT,
    upload TEXT,
    UNIQUE (id)
);
CREATE TABLE library (
    id INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    songprint_version VARCHAR(40) NOT NULL,
    identity VARCHAR(32) NOT NULL,
    PRIMARY KEY (id)
);
INSERT INTO "library" VALUES(1,1,1,1767225600000,'0.2.0','0123456789abcdef');
CREATE TABLE recordings (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    content_hash VARCHAR(128) NOT NULL,
    title VARCHAR(1000) NOT NULL,
    artists TEXT NOT NULL,
    album VARCHAR(1000) NOT NULL,
    isrc VARCHAR(40) NOT NULL,
    track INTEGER,
    year INTEGER,
    musicbrainz_recording_id VARCHAR(100) NOT NULL,
    musicbrainz_release_id VARCHAR(100) NOT NULL,
    work VARCHAR(200) NOT NULL,
    original BOOLEAN DEFAULT 0 NOT NULL,
    duration FLOAT NOT NULL,
    source TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    UNIQUE (content_hash)
);
INSERT INTO "recordings" VALUES(1,'h','Song','["Band"]','','',NULL,1999,'','','',0,1.5,'/music/song.mp3',1767229200250);
CREATE TABLE unknown_music (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    number BIGINT NOT NULL,
    source TEXT NOT NULL,
    start FLOAT NOT NULL,
    "end" FLOAT NOT NULL,
    heard_at BIGINT NOT NULL,
    encoder_id VARCHAR(200) NOT NULL,
    count INTEGER NOT NULL,
    dim INTEGER NOT NULL,
    vectors BLOB NOT NULL
);
CREATE TABLE verdicts (
    job_id VARCHAR(64) NOT NULL,
    part VARCHAR(10) NOT NULL,
    position INTEGER NOT NULL,
    verdict VARCHAR(12) NOT NULL,
    recording_id BIGINT,
    note TEXT NOT NULL,
    key_id VARCHAR(64) NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (job_id, part, position)
);
CREATE INDEX recordings_by_work ON recordings (work);
CREATE INDEX recordings_by_title ON recordings (title);
CREATE INDEX unknown_music_by_number ON unknown_music (number);
CREATE INDEX jobs_by_turn ON jobs (state, priority, number);
CREATE INDEX jobs_by_change ON jobs (changed_at);
CREATE INDEX jobs_by_key ON jobs (key_id, number);
CREATE INDEX deliveries_by_turn ON deliveries (state, due_at);
CREATE INDEX ix_deliveries_job_id ON deliveries (job_id);
CREATE INDEX ix_delivery_attempts_delivery_id ON delivery_attempts (delivery_id);
CREATE INDEX ix_job_usage_day ON job_usage (day);
CREATE INDEX ix_api_keys_parent ON api_keys (parent);
CREATE INDEX ix_audit_key_id ON audit (key_id);
CREATE INDEX embeddings_by_encoder ON embeddings (encoder_id, kind, recording_id, count);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('recordings',1);
COMMIT;
