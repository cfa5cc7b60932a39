-- The exclusive or of the ids of a batch's tasks, as its last seal says.
ALTER TABLE batches ADD COLUMN ids BLOB;

-- How often a letter was taken from quarantine. One that collectors do not
-- survive stays there.
CREATE TABLE quarantine_tries (
    letter BLOB PRIMARY KEY,
    tries INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
