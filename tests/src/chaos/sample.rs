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
    /// Of the process that lived longest: for how long, and by how many KiB it
    /// grew meanwhile.
    oldest: (Duration, i64),
}

/// What all took that lived for some time.
#[derive(Debug, Default)]
pub struct Samples {
    roles: BTreeMap<Role, Taken>,
    /// What each process that lives took first, and since when it is known.
    first: BTreeMap<u32, (Instant, u64)>,
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
            let first = self.first.get(&id).copied();
            let (since, before) = first.unwrap_or_else(|| (Instant::now(), kib));
            live.insert(id, (since, before));
            let taken = self.roles.entry(member.role).or_insert(Taken {
                kib: Range::NONE,
                files: Range::NONE,
                oldest: (Duration::ZERO, 0),
            });
            taken.kib.add(kib);
            taken.files.add(files);
            if since.elapsed() >= taken.oldest.0 {
                taken.oldest = (since.elapsed(), kib.cast_signed() - before.cast_signed());
            }
        }
        self.first = live;
    }

    pub(super) fn json(&self) -> Value {
        let roles = self.roles.iter().map(|(role, taken)| {
            let (lived, grew) = taken.oldest;
            let taken = json!({
                "kib_min": taken.kib.min, "kib_max": taken.kib.max,
                "files_min": taken.files.min, "files_max": taken.files.max,
                "oldest_seconds": lived.as_secs_f64(), "oldest_grew_kib": grew,
            });
            (format!("{role:?}").to_lowercase(), taken)
        });
        roles.collect::<serde_json::Map<_, _>>().into()
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (role, taken) in &self.roles {
            let (lived, grew) = taken.oldest;
            writeln!(
                f,
                "{:<20} {} to {} MiB, {} to {} open files; the oldest grew by {} KiB in {} s",
                format!("{role:?}").to_lowercase(),
                taken.kib.min >> 10,
                taken.kib.max >> 10,
                taken.files.min,
                taken.files.max,
                grew,
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
