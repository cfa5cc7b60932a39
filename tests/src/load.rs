//! Loads: batches of mixed tasks of which it is known what must become of each.

use std::path::Path;
use std::time::Duration;

use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::{BatchId, Digest, Payload, Reason, Report, Status, Task, TaskId, TaskKind};
use rand::rngs::StdRng;
use rand::{Rng, RngExt as _};
use serde::{Deserialize, Serialize};

use crate::kind::{Abort, Echo, Fail, Flaky, Refuse, Sleep, Unknown};

/// What must become of a task, whatever happens on the way.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Fate {
    /// Its handler gives an output.
    Succeeds,
    /// Its handler says that trying again is no use.
    Fails,
    /// Its attempts are used up.
    Exhausts,
    /// No worker knows its kind.
    Unknown,
    /// It kills whatever runs it.
    Crashes,
}

impl Fate {
    /// Whether `report` is this.
    pub fn is(self, report: &Report) -> bool {
        let told = (report.status, report.reason);
        match self {
            Self::Succeeds => told.0 == Status::Succeeded,
            Self::Fails => told.0 == Status::Failed,
            Self::Exhausts => told.0 == Status::Exhausted,
            Self::Unknown => told == (Status::Dead, Some(Reason::UnknownKind)),
            Self::Crashes => told == (Status::Dead, Some(Reason::CrashLoop)),
        }
    }
}

/// A task of a load.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Row {
    /// Its kind.
    pub kind: TaskKind,
    /// Its payload, JSON.
    pub payload: String,
    /// What must become of it.
    pub fate: Fate,
    /// How often its handler runs if nothing goes wrong.
    pub runs: u32,
    /// The delay it is submitted with.
    pub delay_ms: u64,
    /// How often it is published, under the same id.
    pub copies: u32,
    /// Whether it travels together with its neighbours.
    pub bundled: bool,
}

impl Row {
    /// A task submitted once, alone, without a delay, and run `runs` times.
    ///
    /// # Panics
    ///
    /// Panics if it is no JSON.
    pub fn of<T: Task>(task: &T, fate: Fate, runs: u32) -> Self {
        Self {
            kind: TaskKind::of::<T>(),
            payload: serde_json::to_string(task).expect("tasks of tests are JSON"),
            fate,
            runs,
            delay_ms: 0,
            copies: 1,
            bundled: false,
        }
    }

    /// Its payload as it travels.
    ///
    /// # Panics
    ///
    /// Panics if it is too large.
    pub fn payload(&self) -> Payload {
        let payload = Payload::json("a payload", &self.payload, PAYLOAD_BYTES_MAX);
        payload.expect("payloads of tests are small")
    }
}

/// How much of what a load has, out of a thousand tasks; the rest sleeps for up
/// to `sleep_ms`.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Tasks in all.
    pub tasks: usize,
    /// The longest that one sleeps.
    pub sleep_ms: u64,
    /// Those that give back their number.
    pub echo: u32,
    /// Those whose first attempt fails.
    pub flaky: u32,
    /// Those that fail for good.
    pub refuse: u32,
    /// Those that fail at their only attempt.
    pub fail: u32,
    /// Those of a kind that no worker knows.
    pub unknown: u32,
    /// Those submitted with a delay.
    pub delayed: u32,
    /// Those published two or three times.
    pub copied: u32,
    /// Those in bundles of up to eight.
    pub bundled: u32,
    /// Poison tasks: how many, not out of a thousand.
    pub poison: usize,
}

impl Mix {
    /// A little of everything.
    pub const USUAL: Self = Self {
        tasks: 850,
        sleep_ms: 24,
        echo: 150,
        flaky: 40,
        refuse: 20,
        fail: 20,
        unknown: 10,
        delayed: 30,
        copied: 20,
        bundled: 80,
        poison: 0,
    };
}

/// Tasks to be submitted as one batch.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Load {
    /// The batch.
    pub batch: BatchId,
    /// Its label.
    pub label: String,
    /// Its tasks, in order.
    pub rows: Vec<Row>,
}

impl Load {
    /// These tasks as a new batch.
    pub fn new(label: &str, rows: Vec<Row>) -> Self {
        Self {
            batch: uuid::Uuid::now_v7().into(),
            label: label.to_owned(),
            rows,
        }
    }

    /// A load of this mix, by `chance`.
    pub fn mixed(label: &str, mix: &Mix, chance: &mut StdRng) -> Self {
        let mut rows: Vec<_> = (0..mix.tasks).map(|n| row(n as u64, mix, chance)).collect();
        for _ in 0..mix.poison {
            let at = chance.random_range(0..=rows.len());
            rows.insert(at, Row::of(&Abort { times: u32::MAX }, Fate::Crashes, 0));
        }
        Self::new(label, rows)
    }

    /// The id of the task in `row`, from 1.
    pub fn id(&self, row: u64, task: &Row) -> TaskId {
        let digest = Digest::of(task.payload.as_bytes());
        TaskId::of_row(self.batch, row, &task.kind, digest)
    }

    /// Each task with its id.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &Row)> {
        let numbered = (1..).zip(&self.rows);
        numbered.map(|(number, row)| (self.id(number, row), row))
    }

    /// Writes it to a file.
    ///
    /// # Panics
    ///
    /// Panics if that cannot be written.
    pub fn write(&self, path: &Path) {
        let text = serde_json::to_vec(self).expect("a load is JSON");
        std::fs::write(path, text).expect("a file in the folder");
    }

    /// Reads one from a file.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read(path).expect("a load in the folder");
        serde_json::from_slice(&text).expect("a load is JSON")
    }
}

fn row(n: u64, mix: &Mix, chance: &mut StdRng) -> Row {
    let mut drawn = chance.random_range(0..1_000_u32);
    let mut is = |share: u32| {
        let is = drawn < share;
        drawn = drawn.wrapping_sub(share);
        is
    };
    if is(mix.bundled) {
        let mut row = Row::of(&Echo { n }, Fate::Succeeds, 1);
        row.bundled = true;
        return row;
    }
    if is(mix.unknown) {
        return Row::of(&Unknown { n }, Fate::Unknown, 0);
    }
    let mut row = if is(mix.echo) {
        Row::of(&Echo { n }, Fate::Succeeds, 1)
    } else if is(mix.flaky) {
        Row::of(&Flaky { failures: 1 }, Fate::Succeeds, 2)
    } else if is(mix.refuse) {
        Row::of(&Refuse { amount: n % 100 }, Fate::Fails, 1)
    } else if is(mix.fail) {
        let text = format!("task {n} fails");
        Row::of(&Fail { text }, Fate::Exhausts, 1)
    } else {
        let ms = chance.random_range(0..=mix.sleep_ms);
        Row::of(&Sleep { ms }, Fate::Succeeds, 1)
    };
    if once_in(chance, mix.delayed) {
        // The shortest delay there is, and twice that.
        row.delay_ms = chance.random_range(200..1_500);
    }
    if once_in(chance, mix.copied) {
        row.copies = chance.random_range(2..=3);
    }
    row
}

/// True for `share` out of a thousand.
fn once_in(chance: &mut impl Rng, share: u32) -> bool {
    chance.random_range(0..1_000) < share
}

impl Row {
    /// The delay it is submitted with.
    pub const fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }
}
