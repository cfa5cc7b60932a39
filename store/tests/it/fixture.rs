//! A fresh directory with a store in it, and reports to put there.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use homing_protocol::{ContentType, Digest, Report, Run, Status, TaskId, Timestamp};
use homing_store::{Entry, Opened, Store, StoreUrl, Writer};
use uuid::Uuid;

use crate::postgres::Database;

/// Which store a claim is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum On {
    Sqlite,
    Postgres,
}

/// Makes two tests of each claim, one on each store.
macro_rules! claims {
    ($($claim:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim($crate::fixture::On::Sqlite).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $claim() {
                super::$claim($crate::fixture::On::Postgres).await;
            })+
        }
    };
}

pub(crate) use claims;

/// A place of its own for a store, removed when it is dropped.
pub(crate) struct Fixture {
    pub(crate) directory: PathBuf,
    database: Option<Database>,
}

impl Fixture {
    pub(crate) fn new(on: On) -> Self {
        let name = format!("homing-store-{}", Uuid::new_v4());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        Self {
            directory,
            database: (on == On::Postgres).then(Database::create),
        }
    }

    /// The one in a file.
    pub(crate) fn sqlite() -> Self {
        Self::new(On::Sqlite)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("homing.db")
    }

    pub(crate) fn url(&self) -> StoreUrl {
        match &self.database {
            Some(database) => database.url(),
            None => StoreUrl::sqlite(self.path()),
        }
    }

    pub(crate) fn writer(&self) -> Writer {
        writer(&self.url())
    }

    pub(crate) async fn store(&self) -> Store {
        Store::open(&self.url()).await.unwrap()
    }

    /// Writes down, as a replay does, that this run of a task is about to begin.
    pub(crate) fn begin(&self, number: u128, run: Run) {
        let hex = task(number).as_bytes().map(|byte| format!("{byte:02x}"));
        let hex = hex.concat();
        let task = match &self.database {
            Some(_) => format!("'{hex}'"),
            None => format!("x'{hex}'"),
        };
        self.sql(&format!(
            "INSERT INTO replays (task, run, repair, at, kind, queue)
             VALUES ({task}, {run}, 1, 0, 'demo.echo', 'tasks')"
        ));
    }

    /// Runs a statement as a person would, whom both stores understand.
    pub(crate) fn sql(&self, statement: &str) {
        match &self.database {
            Some(database) => _ = database.sql(statement),
            None => self.shell().execute_batch(statement).unwrap(),
        }
    }

    /// The one number that a query gives.
    pub(crate) fn number(&self, query: &str) -> i64 {
        match &self.database {
            Some(database) => {
                let rows = database.sql(query);
                rows[0][0].as_ref().unwrap().parse().unwrap()
            }
            None => {
                let shell = self.shell();
                shell.query_row(query, [], |row| row.get(0)).unwrap()
            }
        }
    }

    /// The database's URL with its password.
    pub(crate) fn text(&self) -> String {
        self.database.as_ref().unwrap().text()
    }

    /// Waits until a query gives this number.
    pub(crate) fn until(&self, query: &str, number: i64) {
        let since = Instant::now();
        while self.number(query) != number {
            assert!(since.elapsed() < Duration::from_secs(30), "{query}");
        }
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

/// The writer of a store that nobody else has.
pub(crate) fn writer(url: &StoreUrl) -> Writer {
    match Writer::open(url).unwrap() {
        Opened::Ready(writer) => writer,
        Opened::Standby(standby) => panic!("{} has it", standby.holder()),
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

/// The report of a task that succeeded, to be written.
pub(crate) fn entry(number: u128) -> Entry {
    Entry::Report(report(number, Status::Succeeded))
}

/// Writes one group for each report.
pub(crate) fn write(writer: &mut Writer, reports: &[Report]) {
    for report in reports {
        let entry = Entry::Report(report.clone());
        writer.write(&[entry], at(1_000)).unwrap();
    }
}
