//! What is counted of each kind.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::columns;
use super::fault::{Answer, Fault};
use crate::filter::KindPattern;
use crate::histogram::Histogram;
use crate::stats::{KindStats, RAN, WAITED};
use crate::tally::Tally;

/// The counts of the kinds that match, in the order of their names.
pub(crate) fn stats(db: &Connection, kind: Option<&KindPattern>) -> Answer<Vec<KindStats>> {
    let mut kinds: BTreeMap<String, KindStats> = BTreeMap::new();
    let mut statement =
        db.prepare_cached("SELECT kind, status, tasks FROM kind_counts WHERE tasks > 0")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        if kind.is_some_and(|kind| !kind.matches(&name)) {
            continue;
        }
        let stats = kinds.entry(name.clone()).or_insert_with(|| KindStats {
            kind: name,
            counts: crate::stats::Counts::default(),
            waited: None,
            ran: None,
        });
        stats
            .counts
            .set(columns::status(row, 1)?, columns::natural(row, 2)?);
    }
    for stats in kinds.values_mut() {
        let waited = histogram(db, &stats.kind, WAITED)?;
        let ran = histogram(db, &stats.kind, RAN)?;
        stats.waited = waited.quantiles(Duration::from_millis);
        stats.ran = ran.quantiles(Duration::from_micros);
    }
    Ok(kinds.into_values().collect())
}

fn histogram(db: &Connection, kind: &str, measure: &str) -> Answer<Histogram> {
    let mut statement = db.prepare_cached(
        "SELECT bucket, attempts FROM histograms WHERE kind = ?1 AND measure = ?2",
    )?;
    let mut rows = statement.query([kind, measure])?;
    let mut histogram = Histogram::default();
    while let Some(row) = rows.next()? {
        let bucket = u16::try_from(columns::natural(row, 0)?);
        let bucket = bucket.map_err(|_| Fault::corrupt(0, "no bucket"))?;
        histogram.0.insert(bucket, columns::natural(row, 1)?);
    }
    Ok(histogram)
}

/// Writes what a group changes.
pub(super) fn write(db: &Connection, tally: &Tally) -> Answer<()> {
    let mut kinds = db.prepare_cached(
        "INSERT INTO kind_counts VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks",
    )?;
    for (kind, status, gain) in tally.kinds() {
        kinds.execute(params![kind, status.as_str(), gain])?;
    }
    let mut histograms = db.prepare_cached(
        "INSERT INTO histograms VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts",
    )?;
    for (kind, measure, bucket, attempts) in tally.buckets() {
        histograms.execute(params![kind, measure, bucket, attempts])?;
    }
    let mut batches = db.prepare_cached(
        "INSERT INTO batch_counts VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks",
    )?;
    for (batch, status, gain) in tally.batches() {
        batches.execute(params![batch.as_bytes(), status.as_str(), gain])?;
    }
    Ok(())
}
