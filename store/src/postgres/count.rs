//! What is counted of each kind.

use std::collections::BTreeMap;
use std::time::Duration;

use super::columns::{Columns, integer};
use super::fault::{Answer, Fault};
use super::session::{Session, Step};
use super::text;
use crate::filter::KindPattern;
use crate::histogram::Histogram;
use crate::stats::{Counts, KindStats, RAN, WAITED};
use crate::tally::Tally;

/// The counts of the kinds that match, in the order of their names.
pub(crate) async fn stats(db: &Session, kind: Option<&KindPattern>) -> Answer<Vec<KindStats>> {
    let mut kinds: BTreeMap<String, KindStats> = BTreeMap::new();
    let sql = "SELECT kind, status, tasks FROM kind_counts WHERE tasks > 0";
    for row in db.query(sql, &[]).await? {
        let mut columns = Columns::new(&row, 0);
        let name = columns.text()?;
        if kind.is_some_and(|kind| !kind.matches(&name)) {
            continue;
        }
        let stats = kinds.entry(name.clone()).or_insert_with(|| KindStats {
            kind: name,
            counts: Counts::default(),
            waited: None,
            ran: None,
        });
        stats.counts.set(columns.status()?, columns.natural()?);
    }
    let mut histograms = histograms(db).await?;
    for stats in kinds.values_mut() {
        let of = |measure: &str| histograms.remove(&(stats.kind.clone(), measure.to_owned()));
        let [waited, ran] = [WAITED, RAN].map(of).map(Option::unwrap_or_default);
        stats.waited = waited.quantiles(Duration::from_millis);
        stats.ran = ran.quantiles(Duration::from_micros);
    }
    Ok(kinds.into_values().collect())
}

/// What was measured, by kind and measure.
async fn histograms(db: &Session) -> Answer<BTreeMap<(String, String), Histogram>> {
    let sql = "SELECT kind, measure, bucket, attempts FROM histograms";
    let mut histograms: BTreeMap<_, Histogram> = BTreeMap::new();
    for row in db.query(sql, &[]).await? {
        let mut columns = Columns::new(&row, 0);
        let of = (columns.text()?, columns.text()?);
        let bucket = u16::try_from(columns.natural()?);
        let bucket = bucket.map_err(|_| Fault::corrupt("no bucket"))?;
        let attempts = columns.natural()?;
        histograms.entry(of).or_default().0.insert(bucket, attempts);
    }
    Ok(histograms)
}

/// Writes what a group changes.
pub(super) fn write(tally: &Tally) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let kinds: Vec<_> = tally.kinds().collect();
    if !kinds.is_empty() {
        let sql = "INSERT INTO kind_counts AS c
            SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
            ON CONFLICT (kind, status) DO UPDATE SET tasks = c.tasks + excluded.tasks";
        let step = Step::new(sql)
            .with(column(&kinds, |(kind, _, _)| text::stored(kind)))
            .with(column(&kinds, |(_, status, _)| status.as_str()))
            .with(column(&kinds, |(_, _, gain)| *gain));
        steps.push(step);
    }
    let buckets: Vec<_> = tally.buckets().collect();
    if !buckets.is_empty() {
        let sql = "INSERT INTO histograms AS h
            SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
            ON CONFLICT (kind, measure, bucket) DO UPDATE SET
                attempts = h.attempts + excluded.attempts";
        let step = Step::new(sql)
            .with(column(&buckets, |(kind, ..)| text::stored(kind)))
            .with(column(&buckets, |(_, measure, ..)| *measure))
            .with(column(&buckets, |(_, _, bucket, _)| {
                integer(u64::from(*bucket))
            }))
            .with(column(&buckets, |(.., attempts)| *attempts));
        steps.push(step);
    }
    let batches: Vec<_> = tally.batches().collect();
    if !batches.is_empty() {
        let sql = "INSERT INTO batch_counts AS c
            SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[])
            ON CONFLICT (batch, status) DO UPDATE SET tasks = c.tasks + excluded.tasks";
        let step = Step::new(sql)
            .with(column(&batches, |(batch, _, _)| batch.as_uuid()))
            .with(column(&batches, |(_, status, _)| status.as_str()))
            .with(column(&batches, |(_, _, gain)| *gain));
        steps.push(step);
    }
    steps
}

/// One column of `rows`.
pub(super) fn column<'a, R, T>(rows: &'a [R], value: impl FnMut(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
