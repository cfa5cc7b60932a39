-- What the payloads of a kind are to match, as JSON Schema, as the worker of it that
-- started last says, and when that was.
CREATE TABLE homing.kinds (
    kind        text   COLLATE "C" PRIMARY KEY,
    schema      text   NOT NULL,
    declared_at bigint NOT NULL
);

-- Whoever may read the tasks may read what they are to match.
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
        EXECUTE format('GRANT SELECT ON homing.kinds TO %s',
            CASE reader WHEN 0 THEN 'PUBLIC' ELSE reader::regrole::text END);
    END LOOP;
END $$;
