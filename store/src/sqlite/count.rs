//! What is counted of each kind.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::Connection;

use super::columns;
use super::fault::{Answer, Fault};
use crate::filter::KindPattern;
use crate::histogram::Histogram;
use crate::stats::{KindStats, Quantiles};

/// What is measured of attempts, with the unit in the name.
pub(super) const WAITED: &str = "waited_ms";
pub(super) const RAN: &str = "run_us";

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
        stats.waited = quantiles(&waited, Duration::from_millis);
        stats.ran = quantiles(&ran, Duration::from_micros);
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

fn quantiles(histogram: &Histogram, unit: fn(u64) -> Duration) -> Option<Quantiles> {
    let count = histogram.count();
    (count > 0).then(|| Quantiles {
        count,
        p50: unit(histogram.quantile(0.50)),
        p95: unit(histogram.quantile(0.95)),
        p99: unit(histogram.quantile(0.99)),
    })
}
