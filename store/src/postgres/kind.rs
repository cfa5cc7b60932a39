//! What the payloads of kinds are to match.

use homing_protocol::{KindRecord, Timestamp};
use tokio_postgres::Row;

use super::columns::Columns;
use super::fault::{Answer, Fault};
use super::session::{Session, Step};

/// The records of all kinds, or of this one, in the order of their names.
pub(super) async fn declared(db: &Session, kind: Option<&str>) -> Answer<Vec<KindRecord>> {
    let sql = "SELECT kind, schema, declared_at FROM kinds
        WHERE $1::text IS NULL OR kind = $1 ORDER BY kind";
    let rows = db.query(sql, &[&kind]).await?;
    rows.iter().map(record).collect()
}

fn record(row: &Row) -> Answer<KindRecord> {
    let mut columns = Columns::new(row, 0);
    let (kind, schema) = (columns.text()?, columns.text()?);
    Ok(KindRecord {
        kind: kind.parse().map_err(|_| Fault::corrupt("no kind"))?,
        schema: schema.parse().map_err(|_| Fault::corrupt("no schema"))?,
        at: columns.time()?,
    })
}

/// Stores what a worker says of a kind at `now`, unless another said so later. A
/// clock that is ahead counts as it arrives.
pub(super) fn declare(record: &KindRecord, now: Timestamp) -> Step<'_> {
    let sql = "INSERT INTO kinds AS k (kind, schema, declared_at) VALUES ($1, $2, $3)
        ON CONFLICT (kind) DO UPDATE SET
            schema = excluded.schema, declared_at = excluded.declared_at
        WHERE excluded.declared_at > k.declared_at";
    Step::new(sql)
        .with(record.kind.as_str())
        .with(record.schema.as_str())
        .with(record.at.min(now).as_ms())
}
