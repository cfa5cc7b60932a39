-- What is large of a row of `tasks`, removed by age with the partition it is in.
-- A partition has no index of its own from here: each has `position` for its
-- key. What was stored before is in `tasks`, as is what outlives its partition.
CREATE TABLE homing.contents (
    stored_at   bigint NOT NULL,
    position    bigint NOT NULL,
    error       text,
    error_data  bytea,
    payload     bytea,
    -- Verbatim.
    output      bytea,
    -- The same for queries, where `jsonb` can hold it.
    output_json jsonb
) PARTITION BY RANGE (stored_at);

-- When the content that is in `contents` was stored, which with the position is
-- where; null if all there is of it is in this row. Where nothing is there any
-- more, it was removed by age.
ALTER TABLE homing.tasks ADD COLUMN content_at bigint;

ALTER TABLE homing.log RENAME TO log_0;
ALTER INDEX homing.log_pkey RENAME TO log_0_pkey;
CREATE TABLE homing.log (LIKE homing.log_0) PARTITION BY RANGE (stored_at);

-- The partitions of `log` and `contents`, `log_1` and `contents_1`: what was
-- stored since a time, and before another one. They follow each other without a
-- gap; whoever writes makes the next one.
CREATE TABLE homing.partitions (
    number bigint PRIMARY KEY,
    until  bigint NOT NULL
);

INSERT INTO homing.partitions
SELECT 0, coalesce(max(stored_at) + 1, 0) FROM homing.log_0;

CREATE TABLE homing.contents_0 (LIKE homing.contents, PRIMARY KEY (position));

DO $$
DECLARE
    until bigint := (SELECT p.until FROM homing.partitions p);
BEGIN
    EXECUTE format(
        'ALTER TABLE homing.log ATTACH PARTITION homing.log_0
             FOR VALUES FROM (MINVALUE) TO (%s);
         ALTER TABLE homing.contents ATTACH PARTITION homing.contents_0
             FOR VALUES FROM (MINVALUE) TO (%s)', until, until);
END $$;

-- Whoever may read the tasks may read what belongs to them.
DO $$
DECLARE
    reader oid;
BEGIN
    FOR reader IN
        SELECT DISTINCT a.grantee
        FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
        WHERE c.oid = 'homing.tasks'::regclass AND a.privilege_type = 'SELECT'
          AND a.grantee <> c.relowner
    LOOP
        EXECUTE format(
            'GRANT SELECT ON homing.log, homing.contents, homing.partitions TO %s',
            CASE reader WHEN 0 THEN 'PUBLIC' ELSE reader::regrole::text END);
    END LOOP;
END $$;

-- Batches that were not finished when it was their turn to be removed: what they
-- have is in `tasks`.
CREATE TABLE homing.held (
    batch uuid PRIMARY KEY
);

-- Rows of `tasks` up to `inline_end` may have their content in them; up to
-- `inline_removed` it is removed, but that of batches in `held`.
INSERT INTO homing.meta
SELECT 'inline_end', coalesce(max(position), 0) FROM homing.tasks;
INSERT INTO homing.meta VALUES ('inline_removed', 0);

CREATE OR REPLACE VIEW homing.outcomes AS
SELECT
    t.position,
    to_timestamp(t.stored_at / 1000.0) AS stored_at,
    t.task, t.run, t.kind, t.status, t.attempt,
    coalesce(c.error, t.error) AS error,
    t.reason, t.waited_ms, t.run_us, t.worker,
    coalesce(c.output_json, t.output_json) AS output_json
FROM homing.tasks t
LEFT JOIN homing.contents c ON c.stored_at = t.content_at AND c.position = t.position;
