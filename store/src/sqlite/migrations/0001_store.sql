-- One row per run of a task: what is known of it now. `position` is where the
-- log says so; a row moves to the end of the table when its status changes, so
-- the table is in the order of the log and needs no index for "newest first".
CREATE TABLE tasks (
    position       INTEGER PRIMARY KEY,
    task           BLOB    NOT NULL,
    run            INTEGER NOT NULL,
    -- Whether no later run of the task is known. Only these are counted.
    newest         INTEGER NOT NULL,
    stored_at      INTEGER NOT NULL,
    kind           TEXT    NOT NULL,
    status         TEXT    NOT NULL,
    attempt        INTEGER NOT NULL,
    attempts_max   INTEGER NOT NULL,
    attempt_id     BLOB,
    digest         BLOB    NOT NULL,
    queue          TEXT    NOT NULL,
    batch          BLOB,
    "row"          INTEGER,
    correlation_id TEXT,
    submitted_at   INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    waited_ms      INTEGER NOT NULL,
    run_us         INTEGER NOT NULL,
    worker         TEXT    NOT NULL,
    content_type   TEXT    NOT NULL,
    error          TEXT,
    reason         TEXT,
    retry_at       INTEGER,
    error_data     BLOB,
    payload        BLOB,
    -- Verbatim.
    output         BLOB,
    -- The output as JSON where it is not JSON itself.
    output_derived TEXT,
    output_json    TEXT GENERATED ALWAYS AS (
        CASE
            WHEN output IS NULL THEN NULL
            WHEN output_derived IS NOT NULL THEN output_derived
            WHEN content_type = 'application/json' AND json_valid(CAST(output AS TEXT))
                THEN CAST(output AS TEXT)
        END
    ) VIRTUAL
) STRICT;

CREATE UNIQUE INDEX tasks_task ON tasks (task, run);
CREATE INDEX tasks_kind ON tasks (kind);
CREATE INDEX tasks_batch ON tasks (batch) WHERE batch IS NOT NULL;
CREATE INDEX tasks_other ON tasks (position, status) WHERE status <> 'succeeded';

-- Attempts that did not succeed, outcomes without an attempt, and successes
-- that came when a final outcome was there already (`late`). `attempt_id` is
-- empty where there was no attempt.
CREATE TABLE attempts (
    number       INTEGER PRIMARY KEY,
    task         BLOB    NOT NULL,
    run          INTEGER NOT NULL,
    attempt_id   BLOB    NOT NULL,
    status       TEXT    NOT NULL,
    attempt      INTEGER NOT NULL,
    late         INTEGER NOT NULL,
    stored_at    INTEGER NOT NULL,
    attempts_max INTEGER NOT NULL,
    queue        TEXT    NOT NULL,
    started_at   INTEGER NOT NULL,
    waited_ms    INTEGER NOT NULL,
    run_us       INTEGER NOT NULL,
    worker       TEXT    NOT NULL,
    content_type TEXT    NOT NULL,
    error        TEXT,
    reason       TEXT,
    retry_at     INTEGER,
    error_data   BLOB,
    output       BLOB
) STRICT;

CREATE UNIQUE INDEX attempts_task ON attempts (task, run, attempt_id, status, attempt);

-- What claims to be a task of `tasks` but has another payload.
CREATE TABLE conflicts (
    number         INTEGER PRIMARY KEY,
    task           BLOB    NOT NULL,
    run            INTEGER NOT NULL,
    stored_at      INTEGER NOT NULL,
    kind           TEXT    NOT NULL,
    status         TEXT    NOT NULL,
    attempt        INTEGER NOT NULL,
    attempts_max   INTEGER NOT NULL,
    attempt_id     BLOB    NOT NULL,
    digest         BLOB    NOT NULL,
    queue          TEXT    NOT NULL,
    batch          BLOB,
    "row"          INTEGER,
    correlation_id TEXT,
    submitted_at   INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    waited_ms      INTEGER NOT NULL,
    run_us         INTEGER NOT NULL,
    worker         TEXT    NOT NULL,
    content_type   TEXT    NOT NULL,
    error          TEXT,
    reason         TEXT,
    retry_at       INTEGER,
    error_data     BLOB,
    payload        BLOB,
    output         BLOB
) STRICT;

CREATE UNIQUE INDEX conflicts_task
    ON conflicts (task, run, digest, attempt_id, status, attempt);

-- Every change of a row in `tasks`, in the order of the commits. Only added to.
-- The writer counts the positions in `log_end` of `meta`, once per transaction,
-- so none is used again once its entry is removed: AUTOINCREMENT would write
-- its counter for every row. `attempt` names the row in `attempts` that has the rest; none for successes,
-- whose row in `tasks` has it and never changes.
CREATE TABLE log (
    position  INTEGER PRIMARY KEY,
    stored_at INTEGER NOT NULL,
    task      BLOB    NOT NULL,
    run       INTEGER NOT NULL,
    status    TEXT    NOT NULL,
    attempt   INTEGER
) STRICT;

-- What producers say of batches. Counts of a batch may be there before it is.
CREATE TABLE batches (
    batch     BLOB PRIMARY KEY,
    label     TEXT NOT NULL,
    opened_at INTEGER,
    sealed_at INTEGER,
    total     INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX batches_label ON batches (label);

-- Messages that no worker could settle, whole. Headers are pairs of name and
-- value; a value without a form of its own in JSON is an object that names its
-- type. `identity` is the same for the same message delivered again.
CREATE TABLE dead_letters (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    identity   BLOB UNIQUE,
    stored_at  INTEGER NOT NULL,
    reason     TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    queue      TEXT    NOT NULL,
    kind       TEXT,
    task       BLOB,
    exchange   TEXT    NOT NULL,
    routing_key TEXT   NOT NULL,
    properties TEXT    NOT NULL,
    headers    TEXT    NOT NULL,
    deaths     TEXT    NOT NULL,
    body       BLOB    NOT NULL
) STRICT;

-- How many tasks of a kind, and of a batch, have a status, each by its newest
-- run.
CREATE TABLE kind_counts (
    kind   TEXT    NOT NULL,
    status TEXT    NOT NULL,
    tasks  INTEGER NOT NULL,
    PRIMARY KEY (kind, status)
) STRICT, WITHOUT ROWID;

CREATE TABLE batch_counts (
    batch  BLOB    NOT NULL,
    status TEXT    NOT NULL,
    tasks  INTEGER NOT NULL,
    PRIMARY KEY (batch, status)
) STRICT, WITHOUT ROWID;

-- How many attempts of a kind waited, or ran, for a time within a bucket.
CREATE TABLE histograms (
    kind     TEXT    NOT NULL,
    measure  TEXT    NOT NULL,
    bucket   INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    PRIMARY KEY (kind, measure, bucket)
) STRICT, WITHOUT ROWID;

-- `log_end`: the last position given. `replayed`: there, if any task has more
-- than one run.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY  NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta VALUES ('log_end', 0);

-- For people with a SQLite shell: `SELECT * FROM outcomes`.
CREATE VIEW outcomes AS
SELECT
    position,
    datetime(stored_at / 1000.0, 'unixepoch', 'subsec') AS stored_at,
    lower(substr(hex(task), 1, 8) || '-' || substr(hex(task), 9, 4) || '-'
        || substr(hex(task), 13, 4) || '-' || substr(hex(task), 17, 4) || '-'
        || substr(hex(task), 21)) AS task,
    run, kind, status, attempt, error, reason, waited_ms, run_us, worker, output_json
FROM tasks;
