-- What people did about tasks that did not succeed: a `replay` or a `discard`,
-- by whom, when, in which words, and why.
CREATE TABLE repairs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    verb   TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    who    TEXT    NOT NULL,
    asked  TEXT    NOT NULL,
    why    TEXT    NOT NULL
) STRICT;

-- Runs that a replay began. A row is written before the run is published, and
-- has `confirmed_at` once the broker has it: one without was perhaps never
-- published. `dead` names the dead letter the run was made from.
CREATE TABLE replays (
    task         BLOB    NOT NULL,
    run          INTEGER NOT NULL,
    repair       INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    queue        TEXT    NOT NULL,
    dead         INTEGER,
    confirmed_at INTEGER,
    PRIMARY KEY (task, run, repair)
) STRICT, WITHOUT ROWID;

-- The tasks in a dead letter, each with the run that ended there.
CREATE TABLE dead_tasks (
    task   BLOB    NOT NULL,
    number INTEGER NOT NULL,
    run    INTEGER NOT NULL,
    PRIMARY KEY (task, number, run)
) STRICT, WITHOUT ROWID;

CREATE INDEX dead_tasks_number ON dead_tasks (number);

-- Of letters stored before, only the first task is known by now.
INSERT INTO dead_tasks (task, number, run)
SELECT d.task, d.number, coalesce(
    (SELECT max(t.run) FROM tasks t
     WHERE t.task = d.task AND t.status IN ('dead', 'expired')), 1)
FROM dead_letters d WHERE d.task IS NOT NULL;

-- The repair that removed the letter's content; the letter itself stays.
ALTER TABLE dead_letters ADD COLUMN discarded INTEGER;

-- When its producer last began to submit to the batch: after its seal, it is
-- open again until the next one.
ALTER TABLE batches ADD COLUMN reopened_at INTEGER;
UPDATE batches SET reopened_at = opened_at;
