-- SQLite would compute it for each row that is inserted; the view does when it is
-- asked for.
DROP VIEW outcomes;
ALTER TABLE tasks DROP COLUMN output_json;
CREATE VIEW outcomes AS
SELECT
    position,
    datetime(stored_at / 1000.0, 'unixepoch', 'subsec') AS stored_at,
    lower(substr(hex(task), 1, 8) || '-' || substr(hex(task), 9, 4) || '-'
        || substr(hex(task), 13, 4) || '-' || substr(hex(task), 17, 4) || '-'
        || substr(hex(task), 21)) AS task,
    run, kind, status, attempt, error, reason, waited_ms, run_us, worker,
    CASE
        WHEN output_derived IS NOT NULL THEN output_derived
        WHEN content_type = 'application/json' AND json_valid(CAST(output AS TEXT))
            THEN CAST(output AS TEXT)
    END AS output_json
FROM tasks;
