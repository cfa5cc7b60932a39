//! What processes take of the machine: memory and open files.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::fleet::{Fleet, Role};

/// How old a process is when it is looked at first: until then it grows.
const GROWN_UP: Duration = Duration::from_secs(10);

/// The lowest and the highest of some measure.
#[derive(Clone, Copy, Debug)]
struct Range {
    min: u64,
    max: u64,
}

impl Range {
    const NONE: Self = Self {
        min: u64::MAX,
        max: 0,
    };

    fn add(&mut self, value: u64) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

/// What the processes of a role took.
#[derive(Clone, Copy, Debug)]
struct Taken {
    kib: Range,
    files: Range,
    growth: Growth,
}

/// How the process of a role grew that was there longest, and most of those.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    lived: Duration,
    kib: i64,
    /// Of that in the second half of its life: of a cache that fills, little.
    late_kib: i64,
}

impl Growth {
    fn of(taken: &[(Instant, u64)]) -> Self {
        let (Some((first, before)), Some((last, now))) = (taken.first(), taken.last()) else {
            return Self::default();
        };
        let lived = last.duration_since(*first);
        let half = taken
            .iter()
            .find(|(at, _)| at.duration_since(*first) * 2 >= lived);
        let middle = half.map_or(*now, |(_, kib)| *kib);
        let grew = |from: u64| now.cast_signed() - from.cast_signed();
        Self {
            lived,
            kib: grew(*before),
            late_kib: grew(middle),
        }
    }

    /// The longest life counts, by tens of seconds; then the most growth.
    const fn rank(&self) -> (u64, i64) {
        (self.lived.as_secs() / 10, self.kib)
    }
}

/// What all took that lived for some time.
#[derive(Debug, Default)]
pub struct Samples {
    roles: BTreeMap<Role, Taken>,
    /// What each process that lives took, and when.
    live: BTreeMap<u32, Vec<(Instant, u64)>>,
}

impl Samples {
    /// Looks at the processes that live.
    pub fn look(&mut self, fleet: &Fleet) {
        let mut live = BTreeMap::new();
        for member in &fleet.members {
            let grown_up = member.since.elapsed() > GROWN_UP;
            let Some(id) = member.process.id().filter(|_| grown_up) else {
                continue;
            };
            let (Some(kib), Some(files)) = (memory_kib(id), open_files(id)) else {
                continue;
            };
            let mut taken_before = self.live.remove(&id).unwrap_or_default();
            taken_before.push((Instant::now(), kib));
            let taken = self.roles.entry(member.role).or_insert(Taken {
                kib: Range::NONE,
                files: Range::NONE,
                growth: Growth::default(),
            });
            taken.kib.add(kib);
            taken.files.add(files);
            let growth = Growth::of(&taken_before);
            if growth.rank() >= taken.growth.rank() {
                taken.growth = growth;
            }
            live.insert(id, taken_before);
        }
        self.live = live;
    }

    pub(super) fn json(&self) -> Value {
        let roles = self.roles.iter().map(|(role, taken)| {
            let Growth {
                lived,
                kib,
                late_kib,
            } = taken.growth;
            let taken = json!({
                "kib_min": taken.kib.min, "kib_max": taken.kib.max,
                "files_min": taken.files.min, "files_max": taken.files.max,
                "oldest_seconds": lived.as_secs_f64(), "oldest_grew_kib": kib,
                "oldest_grew_kib_in_second_half": late_kib,
            });
            (format!("{role:?}").to_lowercase(), taken)
        });
        roles.collect::<serde_json::Map<_, _>>().into()
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (role, taken) in &self.roles {
            let Growth {
                lived,
                kib,
                late_kib,
            } = taken.growth;
            writeln!(
                f,
                "{:<20} {} to {} MiB, {} to {} open files; one grew by {kib} KiB in {} s, \
                 {late_kib} KiB of it in the second half",
                format!("{role:?}").to_lowercase(),
                taken.kib.min >> 10,
                taken.kib.max >> 10,
                taken.files.min,
                taken.files.max,
                lived.as_secs(),
            )?;
        }
        Ok(())
    }
}

fn memory_kib(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn open_files(id: u32) -> Option<u64> {
    Some(fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as u64)
}
