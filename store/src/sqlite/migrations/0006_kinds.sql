-- What the payloads of a kind are to match, as JSON Schema, as the worker of it that
-- started last says, and when that was.
CREATE TABLE kinds (
    kind        TEXT PRIMARY KEY,
    schema      TEXT    NOT NULL,
    declared_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
