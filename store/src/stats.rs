use std::time::Duration;

use homing_protocol::Status;

/// What is measured of attempts, with the unit in the name.
pub(crate) const WAITED: &str = "waited_ms";
pub(crate) const RAN: &str = "run_us";

/// How many tasks have each status.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts([u64; Status::ALL.len()]);

impl Counts {
    /// How many have `status`.
    pub fn get(&self, status: Status) -> u64 {
        self.0[slot(status)]
    }

    /// How many have any.
    pub fn total(&self) -> u64 {
        self.0.iter().copied().fold(0, u64::saturating_add)
    }

    /// How many have an answer: anything but `pending` and `retrying`.
    pub fn closed(&self) -> u64 {
        self.sum(Status::is_closed)
    }

    /// How many somebody should look at.
    pub fn problems(&self) -> u64 {
        self.sum(Status::is_problem)
    }

    /// Every status with its count, in the order of [`Status::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Status, u64)> + '_ {
        Status::ALL
            .into_iter()
            .map(|status| (status, self.get(status)))
    }

    pub(crate) fn set(&mut self, status: Status, count: u64) {
        self.0[slot(status)] = count;
    }

    fn sum(&self, which: fn(Status) -> bool) -> u64 {
        let counted = self.iter().filter(|(status, _)| which(*status));
        counted.map(|(_, count)| count).fold(0, u64::saturating_add)
    }
}

/// Where `status` stands in [`Status::ALL`].
pub(crate) fn slot(status: Status) -> usize {
    Status::ALL
        .into_iter()
        .position(|other| other == status)
        .expect("every status is in ALL")
}

/// What is counted of one kind.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct KindStats {
    /// The kind.
    pub kind: String,
    /// Its tasks by status, each by its newest run.
    pub counts: Counts,
    /// How long attempts waited before they began; `None` without attempts.
    pub waited: Option<Quantiles>,
    /// How long handlers ran; `None` without attempts.
    pub ran: Option<Quantiles>,
}

/// Durations below which a share of all lies, within 4 %.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// Half of them took at most this.
    pub p50: Duration,
    /// 95 % took at most this.
    pub p95: Duration,
    /// 99 % took at most this.
    pub p99: Duration,
}
