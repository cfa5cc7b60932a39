//! Adds up what a group of entries changes in the counts, so that each count is
//! written once per group and not once per entry.

use std::collections::HashMap;

use homing_protocol::{BatchId, Report, Status};
use rusqlite::{Connection, params};

use super::columns::integer;
use super::count::{RAN, WAITED};
use super::fault::Answer;
use crate::histogram::bucket;
use crate::stats::slot;

/// How much each status gains.
type Gains = [i64; Status::ALL.len()];

/// What a group changes.
#[derive(Debug, Default)]
pub(super) struct Tally {
    kinds: HashMap<String, Kind>,
    batches: HashMap<BatchId, Gains>,
}

#[derive(Debug, Default)]
struct Kind {
    gains: Gains,
    waited: HashMap<u16, i64>,
    ran: HashMap<u16, i64>,
}

/// What decides where a task is counted.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) kind: String,
    pub(super) status: Status,
    pub(super) batch: Option<BatchId>,
}

impl Tally {
    /// The newest run of a task is what `report` says.
    pub(super) fn enter(&mut self, report: &Report) {
        self.kind(&report.kind).gains[slot(report.status)] += 1;
        if let Some(batch) = report.batch {
            self.batches.entry(batch).or_default()[slot(report.status)] += 1;
        }
    }

    /// The newest run of a task is no longer what was stored of it.
    pub(super) fn leave(&mut self, place: &Place) {
        self.kind(&place.kind).gains[slot(place.status)] -= 1;
        if let Some(batch) = place.batch {
            self.batches.entry(batch).or_default()[slot(place.status)] -= 1;
        }
    }

    /// An attempt took as long as `report` says.
    pub(super) fn measure(&mut self, report: &Report) {
        if report.attempt_id.is_none() {
            return;
        }
        let kind = self.kind(&report.kind);
        *kind.waited.entry(bucket(report.waited_ms)).or_default() += 1;
        *kind.ran.entry(bucket(report.run_us)).or_default() += 1;
    }

    fn kind(&mut self, kind: &str) -> &mut Kind {
        // Not `entry`, which would copy the name for every report.
        if !self.kinds.contains_key(kind) {
            self.kinds.insert(kind.to_owned(), Kind::default());
        }
        self.kinds.get_mut(kind).expect("it was just put in")
    }

    /// Writes the changes.
    pub(super) fn write(&self, db: &Connection) -> Answer<()> {
        for (kind, changes) in &self.kinds {
            write_kind(db, kind, changes)?;
        }
        let mut statement = db.prepare_cached(
            "INSERT INTO batch_counts VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks",
        )?;
        for (batch, gains) in &self.batches {
            for (status, gain) in changed(gains) {
                statement.execute(params![batch.as_bytes(), status.as_str(), gain])?;
            }
        }
        Ok(())
    }
}

fn write_kind(db: &Connection, kind: &str, changes: &Kind) -> Answer<()> {
    let mut counts = db.prepare_cached(
        "INSERT INTO kind_counts VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET tasks = tasks + excluded.tasks",
    )?;
    for (status, gain) in changed(&changes.gains) {
        counts.execute(params![kind, status.as_str(), gain])?;
    }
    let mut histogram = db.prepare_cached(
        "INSERT INTO histograms VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET attempts = attempts + excluded.attempts",
    )?;
    for (measure, buckets) in [(WAITED, &changes.waited), (RAN, &changes.ran)] {
        for (bucket, attempts) in buckets {
            let bucket = integer(u64::from(*bucket));
            histogram.execute(params![kind, measure, bucket, attempts])?;
        }
    }
    Ok(())
}

/// The statuses with a change.
fn changed(gains: &Gains) -> impl Iterator<Item = (Status, i64)> + '_ {
    let gains = Status::ALL.into_iter().zip(gains.iter().copied());
    gains.filter(|(_, gain)| *gain != 0)
}
