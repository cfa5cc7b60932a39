-- 0 once the row's content was removed by age, null before. (In PostgreSQL it
-- may be elsewhere, and this says where.)
ALTER TABLE tasks ADD COLUMN content_at INTEGER;

-- Batches that were not finished when it was their turn to be removed.
CREATE TABLE held (
    batch BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- The content of rows of `tasks` up to `inline_removed` is removed, but that of
-- batches in `held`.
INSERT INTO meta VALUES ('inline_removed', 0);
