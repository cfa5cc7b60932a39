//! What came of all runs, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::arena::Ran;
use super::kind::Kind;
use super::sample::Samples;

/// Sums over runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    runs: u64,
    submitted: u64,
    stored: u64,
    lost: u64,
    changed: u64,
    faults: u64,
    kills: u64,
    broker_kills: u64,
    absorbed: u64,
    extra: u64,
    took: Duration,
}

impl Sums {
    fn add(&mut self, ran: &Ran) {
        self.runs += 1;
        self.submitted += ran.submitted;
        self.stored += ran.stored;
        self.lost += ran.findings.lost as u64;
        self.changed += ran.findings.changed as u64;
        self.faults += ran.faults;
        self.kills += ran.kills;
        self.broker_kills += ran.broker_kills;
        self.absorbed += ran.absorbed;
        self.extra += ran.extra;
        self.took += ran.took;
    }

    fn json(&self) -> Value {
        json!({
            "runs": self.runs, "submitted": self.submitted, "stored": self.stored,
            "lost": self.lost, "changed": self.changed, "faults": self.faults,
            "kills": self.kills, "broker_kills": self.broker_kills,
            "duplicates_absorbed": self.absorbed, "extra_executions": self.extra,
            "seconds": self.took.as_secs_f64(),
        })
    }
}

/// All runs, by kind.
#[derive(Debug, Default)]
pub struct Summary {
    kinds: BTreeMap<Kind, Sums>,
    all: Sums,
    /// What the processes took.
    pub samples: Samples,
}

impl Summary {
    /// Takes in a run.
    pub fn add(&mut self, kind: Kind, ran: &Ran) {
        self.kinds.entry(kind).or_default().add(ran);
        self.all.add(ran);
    }

    /// The same for programs.
    pub fn json(&self, seed: u64) -> Value {
        let kinds = self.kinds.iter();
        let kinds: serde_json::Map<_, _> = kinds
            .map(|(kind, sums)| (kind.name().to_owned(), sums.json()))
            .collect();
        json!({
            "seed": seed, "all": self.all.json(), "kinds": kinds,
            "processes": self.samples.json(),
        })
    }
}

impl fmt::Display for Summary {
    /// A table of kinds, what the processes took, and the sums as one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<20} {:>5} {:>8} {:>7} {:>6} {:>6} {:>9} {:>7} {:>6}",
            "kind", "runs", "tasks", "faults", "kills", "broker", "absorbed", "extra", "s/run"
        )?;
        for (kind, sums) in &self.kinds {
            writeln!(
                f,
                "{kind:<20} {:>5} {:>8} {:>7} {:>6} {:>6} {:>9} {:>7} {:>6.1}",
                sums.runs,
                sums.submitted,
                sums.faults,
                sums.kills,
                sums.broker_kills,
                sums.absorbed,
                sums.extra,
                sums.took.as_secs_f64() / sums.runs as f64,
            )?;
        }
        writeln!(f, "{}", self.samples)?;
        let Sums {
            submitted,
            stored,
            lost,
            changed,
            absorbed,
            faults,
            kills,
            broker_kills,
            ..
        } = self.all;
        write!(
            f,
            "submitted {submitted}, stored {stored}, lost {lost}, changed {changed}, \
             duplicates absorbed {absorbed}, kills {}, faults {faults}",
            kills + broker_kills,
        )
    }
}
