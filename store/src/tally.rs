//! Adds up what a group of entries changes in the counts, so that each count is
//! written once per group and not once per entry.

use std::collections::HashMap;

use homing_protocol::{BatchId, Report, Status};

use crate::histogram::bucket;
use crate::stats::{RAN, WAITED, slot};

/// How much each status gains.
type Gains = [i64; Status::ALL.len()];

/// What a group changes.
#[derive(Debug, Default)]
pub(crate) struct Tally {
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
pub(crate) struct Place {
    pub(crate) kind: String,
    pub(crate) status: Status,
    pub(crate) batch: Option<BatchId>,
}

impl From<&Report> for Place {
    fn from(report: &Report) -> Self {
        Self {
            kind: report.kind.clone(),
            status: report.status,
            batch: report.batch,
        }
    }
}

impl Tally {
    /// The newest run of a task is what `report` says.
    pub(crate) fn enter(&mut self, report: &Report) {
        self.kind(&report.kind).gains[slot(report.status)] += 1;
        if let Some(batch) = report.batch {
            self.batches.entry(batch).or_default()[slot(report.status)] += 1;
        }
    }

    /// The newest run of a task is no longer what was stored of it.
    pub(crate) fn leave(&mut self, place: &Place) {
        self.kind(&place.kind).gains[slot(place.status)] -= 1;
        if let Some(batch) = place.batch {
            self.batches.entry(batch).or_default()[slot(place.status)] -= 1;
        }
    }

    /// An attempt took as long as `report` says.
    pub(crate) fn measure(&mut self, report: &Report) {
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

    /// What changes in the counts of kinds.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (&str, Status, i64)> {
        let kinds = self.kinds.iter();
        kinds.flat_map(|(kind, changes)| {
            changed(&changes.gains).map(move |(status, gain)| (kind.as_str(), status, gain))
        })
    }

    /// What changes in the counts of batches.
    pub(crate) fn batches(&self) -> impl Iterator<Item = (BatchId, Status, i64)> {
        let batches = self.batches.iter();
        batches.flat_map(|(batch, gains)| {
            changed(gains).map(move |(status, gain)| (*batch, status, gain))
        })
    }

    /// What is added to the buckets of what is measured of each kind.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&str, &'static str, u16, i64)> {
        let kinds = self.kinds.iter();
        kinds.flat_map(|(kind, changes)| {
            let measures = [(WAITED, &changes.waited), (RAN, &changes.ran)];
            let buckets = measures.into_iter().flat_map(|(measure, buckets)| {
                let buckets = buckets.iter();
                buckets.map(move |(bucket, attempts)| (measure, *bucket, *attempts))
            });
            buckets
                .map(move |(measure, bucket, attempts)| (kind.as_str(), measure, bucket, attempts))
        })
    }
}

/// The statuses with a change.
fn changed(gains: &Gains) -> impl Iterator<Item = (Status, i64)> + '_ {
    let gains = Status::ALL.into_iter().zip(gains.iter().copied());
    gains.filter(|(_, gain)| *gain != 0)
}
