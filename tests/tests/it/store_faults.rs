//! A collector goes on when its store does, and loses nothing meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use homing_broker::Window;
use homing_protocol::{
    ContentType, Destination, Envelope, Payload, Reason, Report, Status, Task, TaskId, TaskKind,
    Timestamp, encode_reports,
};
use homing_store::{Store, StoreUrl};
use homing_tests::kind::Echo;
use homing_tests::{HOMING, How, Process, Proxy, SmallDisk, World, eventually, scale};
use rusqlite::Connection;

/// What a collector may take at most: it is 20 MiB when nothing happens, and the
/// prefetch bounds what it holds.
const MEMORY_MIB_MAX: u64 = 150;

/// A world whose collector stores into a folder of its own.
struct Place {
    collector: Process,
    // Before the world, whose folder it is in.
    disk: Option<SmallDisk>,
    world: World,
    url: StoreUrl,
}

impl Place {
    async fn start() -> Self {
        let world = World::start().await;
        fs::create_dir(world.dir.join("data")).unwrap();
        Self::start_in(world, None).await
    }

    async fn start_in(world: World, disk: Option<SmallDisk>) -> Self {
        let url = StoreUrl::sqlite(world.dir.join("data/homing.db"));
        let store = url.to_string();
        let arguments = ["collector", "--store", &store];
        let collector = world.start_program("collector", HOMING, &arguments);
        collector.says("collecting from").await;
        Self {
            collector,
            disk,
            world,
            url,
        }
    }

    fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.world.dir.join("data")
    }

    async fn store(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }

    /// Publishes `count` outcomes with outputs of `bytes`, as a worker would.
    async fn outcomes(&self, count: usize, bytes: usize) -> Vec<TaskId> {
        let publisher = self
            .world
            .broker()
            .publisher(Window::DEFAULT)
            .await
            .unwrap();
        let reports: Vec<_> = (0..count).map(|_| report(bytes)).collect();
        let mut confirms = Vec::new();
        for report in &reports {
            confirms.push(
                publisher
                    .publish(message(std::slice::from_ref(report)))
                    .await
                    .unwrap(),
            );
        }
        for confirm in confirms {
            confirm.await.unwrap();
        }
        reports.iter().map(|report| report.task).collect()
    }

    async fn stored(&self, tasks: &[TaskId]) {
        eventually("every outcome is stored", async || {
            let store = Store::open(&self.url).await.ok()?;
            let unclosed = store.unclosed(tasks.to_vec()).await.ok()?;
            unclosed.is_empty().then_some(())
        })
        .await;
    }

    /// Shows that nothing is left, and that it was said once.
    async fn ends_well(self) {
        self.collector.says("can be written again").await;
        let said = self.collector.stderr();
        assert_eq!(
            said.matches("the store cannot be written").count(),
            1,
            "{said}"
        );
        assert_eq!(said.matches("can be written again").count(), 1, "{said}");
        assert!(self.collector.memory_mib() < MEMORY_MIB_MAX);
        assert_eq!(self.collector.stop().await, 0);
        assert_eq!(self.world.waiting().await, []);
    }
}

fn report(bytes: usize) -> Report {
    let payload = Payload::encode("a payload", &Echo { n: 1 }, ContentType::Json, 1_000);
    let kind: TaskKind = Echo::KIND.parse().unwrap();
    let now = Timestamp::from(SystemTime::now());
    let id = uuid::Uuid::now_v7().into();
    let envelope = Envelope::new(id, kind, payload.unwrap(), now);
    let mut report = Report::new(&envelope, Status::Succeeded, "tasks", now);
    report.attempt = 1;
    report.attempt_id = Some(uuid::Uuid::now_v7().into());
    report.output = Some(format!("\"{}\"", "x".repeat(bytes)).into());
    report
}

fn message(reports: &[Report]) -> homing_protocol::Message {
    let to = Destination::Results { key: 0 };
    let id = uuid::Uuid::now_v7().to_string();
    encode_reports(reports, to, id, Timestamp::from(SystemTime::now())).unwrap()
}

fn moved(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap();
}

#[tokio::test]
async fn on_a_full_disk_outcomes_wait_in_their_queue_until_there_is_room() {
    let world = World::start().await;
    let disk = SmallDisk::mount(&world.dir.join("data"), 16);
    let place = Place::start_in(world, Some(disk)).await;
    place.disk().fill();

    let tasks = place.outcomes(20, 256 << 10).await;
    place.collector.says("no space left for the store").await;
    let stored = place.store().await.unclosed(tasks.clone()).await.unwrap();
    place.disk().make_room();
    place.stored(&tasks).await;

    assert_eq!(stored.len(), tasks.len());
    place.ends_well().await;
}

/// A group that fits only in part leaves nothing behind.
#[tokio::test]
async fn a_disk_that_fills_up_under_load_and_grows_has_every_outcome_in_the_end() {
    let world = World::start().await;
    let disk = SmallDisk::mount(&world.dir.join("data"), 16);
    let place = Place::start_in(world, Some(disk)).await;

    let tasks = place.outcomes(100 * scale(), 256 << 10).await;
    place.collector.says("no space left for the store").await;
    let larger = std::process::Command::new("mount")
        .args(["-o", "remount,size=256m"])
        .arg(place.disk().folder())
        .status();
    assert!(larger.unwrap().success());
    place.stored(&tasks).await;

    place.ends_well().await;
}

#[tokio::test]
async fn a_store_that_is_moved_away_and_back_misses_nothing() {
    let place = Place::start().await;
    let before = place.outcomes(10, 10).await;
    place.stored(&before).await;
    let away = place.world.dir.join("away");

    moved(&place.folder(), &away);
    let meanwhile = place.outcomes(10, 10).await;
    place.collector.says("moved, deleted or replaced").await;
    moved(&away, &place.folder());

    place.stored(&[before, meanwhile].concat()).await;
    place.collector.says("can be written again").await;
    assert_eq!(place.collector.stop().await, 0);
    assert_eq!(place.world.waiting().await, []);
}

/// As from a backup, folder and all: what the collector had not acked goes into
/// the one that is there now.
#[tokio::test]
async fn a_store_that_is_replaced_by_another_is_written_on_from_there() {
    let place = Place::start().await;
    let before = place.outcomes(10, 10).await;
    place.stored(&before).await;
    let (away, copy) = (place.world.dir.join("away"), place.world.dir.join("copy"));
    fs::create_dir(&copy).unwrap();
    let path = copy.join("homing.db").display().to_string();
    let backup = format!("VACUUM INTO '{path}'");
    Connection::open(place.url.path())
        .and_then(|store| store.execute_batch(&backup))
        .unwrap();

    moved(&place.folder(), &away);
    moved(&copy, &place.folder());
    let after = place.outcomes(10, 10).await;

    place.stored(&[before, after].concat()).await;
    assert_eq!(place.collector.stop().await, 0);
    assert_eq!(place.world.waiting().await, []);
}

/// Without the write-ahead log that belongs to it SQLite would take the one of
/// the file before for its own.
#[tokio::test]
async fn another_file_beside_the_log_of_the_one_before_is_left_alone_until_it_is_put_back() {
    let place = Place::start().await;
    let before = place.outcomes(10, 10).await;
    place.stored(&before).await;
    let (file, away) = (place.url.path().to_owned(), place.world.dir.join("away.db"));

    moved(&file, &away);
    fs::copy(&away, &file).unwrap();
    let after = place.outcomes(10, 10).await;
    place.collector.says("moved, deleted or replaced").await;
    moved(&away, &file);

    place.stored(&[before, after].concat()).await;
    let check = Connection::open(&file).unwrap();
    let checked: String = check
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(checked, "ok");
    place.ends_well().await;
}

/// A trigger that somebody added refuses two of five outcomes in one message.
#[tokio::test]
async fn an_outcome_that_the_store_refuses_is_a_dead_letter_and_holds_up_no_other() {
    let place = Place::start().await;
    let reports: Vec<_> = (0..5).map(|_| report(10)).collect();
    let refused = [reports[1].task, reports[4].task];
    let hex = |task: TaskId| task.as_bytes().map(|byte| format!("{byte:02x}")).concat();
    let trigger = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON tasks
         WHEN new.status = 'succeeded' AND hex(new.task) IN (upper('{}'), upper('{}'))
         BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        hex(refused[0]),
        hex(refused[1])
    );
    Connection::open(place.url.path())
        .and_then(|store| store.execute_batch(&trigger))
        .unwrap();

    let publisher = place
        .world
        .broker()
        .publisher(Window::DEFAULT)
        .await
        .unwrap();
    let sent = publisher.publish(message(&reports)).await.unwrap();
    sent.await.unwrap();
    let tasks: Vec<_> = reports.iter().map(|report| report.task).collect();
    place.stored(&tasks).await;

    let store = place.store().await;
    for report in &reports {
        let record = store.record(report.task).await.unwrap().unwrap().report;
        let expected = match refused.contains(&report.task) {
            true => (Status::Dead, Some(Reason::Rejected)),
            false => (Status::Succeeded, None),
        };
        assert_eq!((record.status, record.reason), expected);
    }
    let said = place.collector.stderr();
    assert_eq!(said.matches("not this one").count(), 2, "{said}");
    assert_eq!(place.collector.stop().await, 0);
    assert_eq!(place.world.waiting().await, []);
}

/// What a connection held when it broke comes again over the next one. A
/// collector that waits for its store does not ask for it a second time.
#[tokio::test]
async fn connections_that_break_while_the_store_is_locked_cost_no_memory() {
    const OUTCOMES: usize = 256;
    const CUTS: usize = 8;
    let proxy = Proxy::start(&World::broker_url());
    let world = World::start_at(proxy.url()).await;
    fs::create_dir(world.dir.join("data")).unwrap();
    let place = Place::start_in(world, None).await;
    let lock = Connection::open(place.folder().join("homing.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let tasks = place.outcomes(OUTCOMES, 100 << 10).await;
    place.collector.says("the store cannot be written").await;
    let before = place.collector.memory_mib();

    for _ in 0..CUTS {
        let connections = proxy.count();
        proxy.cut(How::Reset);
        // Its two links and the publisher's.
        eventually("the links are back", async || {
            (proxy.count() >= connections + 2 && proxy.open() >= 2).then_some(())
        })
        .await;
    }
    let after = place.collector.memory_mib();
    lock.execute_batch("COMMIT").unwrap();

    place.stored(&tasks).await;
    // A prefetch for each would be 200 MiB more.
    assert!(after < before + 60, "{before} MiB, then {after} MiB");
    place.ends_well().await;
}
