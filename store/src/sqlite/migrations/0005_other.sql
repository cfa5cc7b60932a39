-- What did not succeed, of a kind and of a batch: found without a look at what did.
CREATE INDEX tasks_other_kind ON tasks (kind, position, status) WHERE status <> 'succeeded';
CREATE INDEX tasks_other_batch ON tasks (batch, position, status)
    WHERE batch IS NOT NULL AND status <> 'succeeded';
