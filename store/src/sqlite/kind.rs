//! What the payloads of kinds are to match.

use homing_protocol::{KindRecord, Timestamp};
use rusqlite::{Connection, Row, params};

use super::fault::{Answer, Fault};

/// The records of all kinds, or of this one, in the order of their names.
pub(super) fn declared(db: &Connection, kind: Option<&str>) -> Answer<Vec<KindRecord>> {
    let mut statement = db.prepare_cached(
        "SELECT kind, schema, declared_at FROM kinds WHERE ?1 IS NULL OR kind = ?1 ORDER BY kind",
    )?;
    let mut rows = statement.query([kind])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(record(row)?);
    }
    Ok(records)
}

fn record(row: &Row<'_>) -> Answer<KindRecord> {
    let kind = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
    let schema = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
    Ok(KindRecord {
        kind: kind.parse().map_err(|_| Fault::corrupt(0, "no kind"))?,
        schema: schema.parse().map_err(|_| Fault::corrupt(1, "no schema"))?,
        at: Timestamp::from_ms(row.get(2)?),
    })
}

/// Stores what a worker says of a kind at `now`, unless another said so later. A
/// clock that is ahead counts as it arrives.
pub(super) fn declare(db: &Connection, record: &KindRecord, now: Timestamp) -> Answer<()> {
    let mut statement = db.prepare_cached(
        "INSERT INTO kinds (kind, schema, declared_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (kind) DO UPDATE SET
             schema = excluded.schema, declared_at = excluded.declared_at
         WHERE excluded.declared_at > declared_at",
    )?;
    let at = record.at.min(now).as_ms();
    statement.execute(params![record.kind.as_str(), record.schema.as_str(), at])?;
    Ok(())
}
