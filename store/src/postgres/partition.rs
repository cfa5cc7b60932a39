//! The partitions of `log` and of `contents`, which are made and dropped in pairs.
//!
//! # Invariants
//!
//! Whoever makes or drops them has the lock of those who write. They follow each
//! other without a gap, and there is one for whatever is written: who writes makes
//! it, if nobody did before.

use std::time::Duration;

use homing_protocol::Timestamp;

use super::columns::Columns;
use super::fault::Answer;
use super::session::Session;
use crate::retention::partition_ends;

/// The time that partitions span which are made by who needs them at once.
pub(super) const SPAN: Duration = Duration::from_hours(7 * 24);

/// The end of the last one.
pub(super) const LAST: &str = "SELECT until FROM partitions ORDER BY number DESC LIMIT 1";

/// The end of the last one, by the row that [`LAST`] gives.
pub(super) fn end(last: Option<&tokio_postgres::Row>) -> Answer<Timestamp> {
    last.map_or(Ok(Timestamp::from_ms(0)), |row| Columns::new(row, 0).time())
}

/// Makes those that are missing, within the transaction of somebody who has the
/// lock, up to `ahead` of `now`. It waits for no reader.
pub(super) async fn make(
    db: &Session,
    now: Timestamp,
    ahead: Duration,
    span: Duration,
) -> Answer<()> {
    let mut until = end(db.query_opt(LAST, &[]).await?.as_ref())?;
    for end in partition_ends(until, now, ahead, span) {
        let sql = "INSERT INTO partitions
            SELECT coalesce(max(number), 0) + 1, $1 FROM partitions RETURNING number";
        let row = db.query_one(sql, &[&end.as_ms()]).await?;
        let number: i64 = row.try_get(0)?;
        for table in ["log", "contents"] {
            // Made beside the table, which is then locked for those alone who change
            // it, and not for those who read.
            db.batch(&format!(
                "CREATE TABLE homing.{table}_{number} (
                     LIKE homing.{table} INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS,
                     PRIMARY KEY (position));
                 ALTER TABLE homing.{table} ATTACH PARTITION homing.{table}_{number}
                     FOR VALUES FROM ({}) TO ({})",
                until.as_ms(),
                end.as_ms(),
            ))
            .await?;
        }
        until = end;
    }
    Ok(())
}

/// Drops one, within the transaction of somebody who has the lock. It waits for
/// those who read, and who reads after it for it: in the order in which they take
/// the tables, the log first.
pub(super) async fn drop(db: &Session, number: i64) -> Answer<()> {
    db.batch(&format!(
        "DROP TABLE homing.log_{number}; DROP TABLE homing.contents_{number}"
    ))
    .await?;
    db.query("DELETE FROM partitions WHERE number = $1", &[&number])
        .await?;
    Ok(())
}
