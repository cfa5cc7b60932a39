-- The exclusive or of the ids of a batch's tasks, as its last seal says.
ALTER TABLE batches ADD COLUMN ids BLOB;
