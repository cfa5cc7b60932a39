//! A fresh directory with a store in it, and reports to put there.

use std::fs;
use std::path::PathBuf;

use homing_protocol::{ContentType, Digest, Report, Run, Status, TaskId, Timestamp};
use homing_store::{Entry, Opened, Store, StoreUrl, Writer};
use uuid::Uuid;

/// A directory of its own, removed when it is dropped.
pub(crate) struct Fixture {
    pub(crate) directory: PathBuf,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let name = format!("homing-store-{}", Uuid::new_v4());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        Self { directory }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("homing.db")
    }

    pub(crate) fn url(&self) -> StoreUrl {
        StoreUrl::sqlite(self.path())
    }

    pub(crate) fn writer(&self) -> Writer {
        match Writer::open(&self.url()).unwrap() {
            Opened::Ready(writer) => writer,
            Opened::Standby(standby) => panic!("{} has it", standby.holder()),
        }
    }

    pub(crate) async fn store(&self) -> Store {
        Store::open(&self.url()).await.unwrap()
    }

    /// Writes down, as a replay does, that this run of a task is about to begin.
    pub(crate) fn begin(&self, number: u128, run: Run) {
        let begin = "INSERT INTO replays (task, run, repair, at, kind, queue)
             VALUES (?1, ?2, 1, 0, 'demo.echo', 'tasks')";
        let task = task(number);
        let begun = (task.as_bytes(), run.get());
        self.shell().execute(begin, begun).unwrap();
    }

    /// A plain SQLite connection, as a person's shell would have.
    pub(crate) fn shell(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn task(number: u128) -> TaskId {
    Uuid::from_u128(number).into()
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(ms)
}

/// What attempt 1 at a task of kind `demo.echo` came to, as every field shows.
pub(crate) fn report(number: u128, status: Status) -> Report {
    let kind = "demo.echo".to_owned();
    let digest = Digest::of(&number.to_be_bytes());
    let mut report = Report::bare(task(number), Run::FIRST, kind, status, digest);
    report.attempt = 1;
    report.attempts_max = 5;
    report.attempt_id = Some(Uuid::from_u128(number << 32 | status as u128).into());
    report.queue = "tasks".to_owned();
    report.submitted_at = at(100);
    report.started_at = at(120);
    report.waited_ms = 20;
    report.run_us = 3_000;
    report.worker = "host:1".to_owned();
    report.content_type = ContentType::Json;
    if status == Status::Succeeded {
        report.output = Some((&b"{\"a\": 1.0}"[..]).into());
    } else {
        report.error = Some("no luck".to_owned());
    }
    if status.is_closed() && status != Status::Succeeded {
        report.payload = Some((&b"[1]"[..]).into());
    }
    report
}

/// Writes one group for each report.
pub(crate) fn write(writer: &mut Writer, reports: &[Report]) {
    for report in reports {
        let entry = Entry::Report(report.clone());
        writer.write(&[entry], at(1_000)).unwrap();
    }
}
