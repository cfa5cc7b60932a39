//! Every point at which a process can be made to die: it dies there in a small
//! pipeline, is started again, and the oracle finds nothing wrong.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use homing_faults::{CRASH_VARIABLE, Point, is_enabled};
use homing_tests::chaos::{Fleet, Role, Size, Submission, Submitter, settle};
use homing_tests::kind::{Echo, Fail, Flaky, Refuse, Sleep, Unknown};
use homing_tests::{Claims, Fate, HOMING, Load, Oracle, Row, World, eventually, scale};
use rand::RngExt as _;

/// How long nothing may happen before something is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// Times that a point is passed before the process dies there, in rounds after
/// the first.
const NTH_MAX: u32 = 8;

/// Who dies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    Worker,
    Collector,
    /// The first one, which makes the store.
    FirstCollector,
    Library,
    CommandLine,
}

/// What it takes to get there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scene {
    /// Tasks that succeed or fail.
    Plain,
    /// A task whose first attempt fails.
    Retry,
    /// A task that no worker knows.
    Dead,
    /// A bundle that a worker had when it died.
    Split,
    /// A worker that is told to end.
    Drain,
}

use Scene::{Dead, Drain, Plain, Retry, Split};
use Who::{Collector, CommandLine, FirstCollector, Library, Worker};

const CASES: &[(Point, Who, Scene)] = &[
    (Point::WorkerReceived, Worker, Plain),
    (Point::WorkerBeforeHandler, Worker, Plain),
    (Point::WorkerAfterHandler, Worker, Plain),
    (Point::WorkerBeforeOutcome, Worker, Plain),
    (Point::WorkerOutcomeConfirmed, Worker, Plain),
    (Point::WorkerOutcomeAcked, Worker, Plain),
    (Point::LinkBeforeWrite, Worker, Plain),
    (Point::LinkWritten, Worker, Plain),
    (Point::LinkConfirmed, Worker, Plain),
    (Point::LinkBeforeAck, Worker, Plain),
    (Point::LinkAcked, Worker, Plain),
    (Point::WorkerBeforeRetry, Worker, Retry),
    (Point::LinkPartConfirmed, Worker, Retry),
    (Point::WorkerRetryConfirmed, Worker, Retry),
    (Point::WorkerRetryAcked, Worker, Retry),
    (Point::WorkerBeforeDead, Worker, Dead),
    (Point::WorkerDeadConfirmed, Worker, Dead),
    (Point::WorkerBeforeRepublish, Worker, Split),
    (Point::LinkPartConfirmed, Worker, Split),
    (Point::WorkerRepublished, Worker, Split),
    (Point::WorkerDrainBegun, Worker, Drain),
    (Point::WorkerDrainFinished, Worker, Drain),
    (Point::WorkerDrainFlushed, Worker, Drain),
    (Point::StoreCreated, FirstCollector, Plain),
    (Point::StoreLocked, FirstCollector, Plain),
    (Point::StoreMigrating, FirstCollector, Plain),
    (Point::StoreMigrated, FirstCollector, Plain),
    (Point::CollectorReceived, Collector, Plain),
    (Point::CollectorBeforeWrite, Collector, Plain),
    (Point::StoreBegun, Collector, Plain),
    (Point::StoreBeforeCommit, Collector, Plain),
    (Point::StoreCommitted, Collector, Plain),
    (Point::CollectorAcked, Collector, Plain),
    (Point::LinkBeforeAck, Collector, Plain),
    (Point::LinkAcked, Collector, Plain),
    (Point::ProducerBatchOpened, Library, Plain),
    (Point::ProducerBeforePublish, Library, Plain),
    (Point::ProducerPublished, Library, Plain),
    (Point::ProducerBeforeSeal, Library, Plain),
    (Point::ProducerSealed, Library, Plain),
    (Point::LinkBeforeWrite, Library, Plain),
    (Point::LinkWritten, Library, Plain),
    (Point::LinkConfirmed, Library, Plain),
    (Point::SubmitJournalCreated, CommandLine, Plain),
    (Point::SubmitConfirmed, CommandLine, Plain),
    (Point::SubmitJournalWritten, CommandLine, Plain),
    (Point::SubmitJournalFinished, CommandLine, Plain),
    (Point::ProducerBeforeSeal, CommandLine, Plain),
    (Point::ProducerSealed, CommandLine, Plain),
];

const ONE_EACH: Size = Size {
    workers: 1,
    collectors: 1,
};

fn rows(scene: Scene) -> Vec<Row> {
    let ok = Fate::Succeeds;
    let mut rows: Vec<_> = (0..12).map(|n| Row::of(&Echo { n }, ok, 1)).collect();
    rows[3].copies = 2;
    rows[6..10].iter_mut().for_each(|row| row.bundled = true);
    rows.extend((0..8).map(|ms| Row::of(&Sleep { ms: ms * 5 }, ok, 1)));
    rows.push(Row::of(&Refuse { amount: 1 }, Fate::Fails, 1));
    let text = "no".to_owned();
    rows.push(Row::of(&Fail { text }, Fate::Exhausts, 1));
    match scene {
        Plain => {}
        Drain => rows.extend((0..4).map(|_| Row::of(&Sleep { ms: 300 }, ok, 1))),
        Retry => rows.push(Row::of(&Flaky { failures: 1 }, ok, 2)),
        Dead => rows.push(Row::of(&Unknown { n: 1 }, Fate::Unknown, 0)),
        Split => {
            // Nothing else is on its way while they are, and they run for long enough
            // to see the process die.
            rows = (0..4)
                .map(|_| Row::of(&Sleep { ms: 1_000 }, ok, 1))
                .collect();
            rows.iter_mut().for_each(|row| row.bundled = true);
        }
    }
    rows
}

/// A pipeline in which one process after the other dies.
struct Theatre {
    fleet: Fleet,
    oracle: Oracle,
}

impl Theatre {
    async fn open() -> Self {
        assert!(
            is_enabled(),
            "build programs and tests with --features homing-tests/faults, as `make test` does"
        );
        let fleet = Fleet::start(World::start().await, ONE_EACH, None);
        let oracle = Oracle::new(&fleet.world).await;
        Self { fleet, oracle }
    }

    /// Plays all cases of somebody, and more rounds of them where there is time.
    async fn play(mut self, whose: impl Fn(&(Point, Who, Scene)) -> bool) {
        let mut deaths = 0;
        for round in 0..scale() {
            for (point, who, scene) in CASES.iter().filter(|case| whose(case)) {
                let once = matches!(scene, Drain | Retry | Dead | Split);
                let nth = match (round, once) {
                    (0, _) | (_, true) => 1,
                    _ => rand::rng().random_range(1..=NTH_MAX),
                };
                deaths += self.case(*point, *who, *scene, nth).await;
            }
        }
        let (_world, codes) = self.fleet.stop().await;
        assert!(codes.iter().all(|(_, code)| *code == 0), "{codes:?}");
        eprintln!("{deaths} deaths at crash points: lost 0, changed 0");
    }

    /// Answers how often the process died there: once, but for a late round that
    /// does not come by so often.
    async fn case(&mut self, point: Point, who: Who, scene: Scene, nth: u32) -> usize {
        let crash = format!("{point}:{nth}");
        self.fleet.crashes.clear();
        match who {
            Worker if scene != Split => self.replace(Role::Worker, &crash).await,
            Collector => self.replace(Role::Collector, &crash).await,
            _ => {}
        }
        let submitter = match who {
            CommandLine => Submitter::CommandLine,
            _ => Submitter::Library,
        };
        let rows = match who {
            CommandLine => (0..40)
                .map(|n| Row::of(&Echo { n }, Fate::Succeeds, 1))
                .collect(),
            _ => rows(scene),
        };
        let of_producer = matches!(who, Library | CommandLine).then(|| crash.clone());
        let load = Load::new(point.name(), rows);
        let runs_before = self.fleet.world.journal().runs().len();
        let submission = Submission::begin(load, submitter, of_producer, &mut self.fleet);
        self.fleet.submissions.push(submission);
        if matches!(scene, Split | Drain) {
            self.runs(runs_before).await;
        }
        match scene {
            Split => self.replace(Role::Worker, &crash).await,
            Drain => self.fleet.term(self.fleet.of(Role::Worker)[0], 1),
            _ => {}
        }
        let none = Claims::default();
        let (_, findings) = settle(&mut self.fleet, &mut self.oracle, &none, PATIENCE).await;
        assert!(findings.is_clean(), "after {crash} of {who:?}:\n{findings}");
        if nth == 1 || scene == Drain {
            self.dead(point).await;
        }
        self.fleet.crashes.len()
    }

    async fn replace(&mut self, role: Role, crash: &str) {
        let at = self.fleet.of(role)[0];
        self.fleet.replace(at, Some(crash)).await;
    }

    /// Waits until a handler runs.
    async fn runs(&mut self, before: usize) {
        let began = Instant::now();
        while self.fleet.world.journal().runs().len() == before {
            assert!(began.elapsed() < PATIENCE, "no handler runs");
            self.fleet.pass(Duration::from_millis(5)).await;
        }
    }

    /// Waits until somebody has died there.
    async fn dead(&mut self, point: Point) {
        let began = Instant::now();
        while self.fleet.crashes != [point] {
            let crashes = &self.fleet.crashes;
            assert!(began.elapsed() < PATIENCE, "at {point} died {crashes:?}");
            self.fleet.pass(Duration::from_millis(5)).await;
        }
    }
}

#[test]
fn every_point_is_in_the_table() {
    let in_table: BTreeSet<_> = CASES.iter().map(|(point, ..)| *point).collect();

    // Those of a replay have a test of their own, and so have the task that lost
    // its way and outcomes that are spread.
    let elsewhere = |point: &Point| {
        point.name().starts_with("replay.")
            || matches!(point, Point::CollectorStraySent | Point::ResultsBound)
    };
    let others = Point::ALL.iter().copied().filter(|point| !elsewhere(point));
    assert_eq!(in_table, others.collect());
}

#[tokio::test]
async fn of_a_worker_that_runs_tasks_lose_nothing() {
    let theatre = Theatre::open().await;

    theatre
        .play(|case| case.1 == Worker && case.2 == Plain)
        .await;
}

#[tokio::test]
async fn of_a_worker_that_retries_buries_splits_or_drains_lose_nothing() {
    let theatre = Theatre::open().await;

    theatre
        .play(|case| case.1 == Worker && case.2 != Plain)
        .await;
}

#[tokio::test]
async fn of_a_collector_lose_nothing() {
    let theatre = Theatre::open().await;

    theatre.play(|case| case.1 == Collector).await;
}

#[tokio::test]
async fn of_a_producer_lose_nothing() {
    let theatre = Theatre::open().await;

    theatre
        .play(|case| matches!(case.1, Library | CommandLine))
        .await;
}

/// Which schema the store has, and how many tables, however its collector died.
fn schema(world: &World) -> (i64, i64) {
    let db = rusqlite::Connection::open(world.sqlite()).unwrap();
    let schema = "SELECT (SELECT user_version FROM pragma_user_version),
                         (SELECT count(*) FROM sqlite_schema WHERE type = 'table')";
    db.query_row(schema, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
}

/// Starts a collector that dies at `crash`; false if it lives.
async fn dies(world: &World, name: &str, crash: &str) -> bool {
    let variables = [(CRASH_VARIABLE, crash)];
    let mut collector = world.start_program_with(name, HOMING, &["collector"], &variables);
    let look = async || match collector.has_ended() {
        Some(_) => Some(true),
        None => collector
            .stderr()
            .contains("collecting from")
            .then_some(false),
    };
    let died = eventually("the collector dies, or collects", look).await;
    let says = collector.stderr();
    assert_eq!(died, says.contains("crash point"), "{says}");
    died
}

/// At each statement of each migration, and around them.
#[tokio::test]
async fn of_a_collector_that_makes_its_store_leave_no_step_half_done() {
    assert!(is_enabled(), "build with --features homing-tests/faults");
    let world = World::start().await;
    let names = [Point::StoreMigrated, Point::StoreMigrating];
    let [migrated, migrating] = names.map(Point::name);
    let mut whole = BTreeSet::from([(0, 0)]);
    let mut deaths = 0;

    for point in [
        Point::StoreCreated.name(),
        Point::StoreLocked.name(),
        migrated,
        migrating,
    ] {
        for nth in 1.. {
            for file in ["homing.db", "homing.db-wal", "homing.db-shm"] {
                let _none = std::fs::remove_file(world.dir.join(file));
            }
            let crash = format!("{point}:{nth}");
            if !dies(&world, &format!("dies-{crash}"), &crash).await {
                break;
            }
            deaths += 1;
            if point == migrated {
                whole.insert(schema(&world));
            }
            assert!(whole.contains(&schema(&world)), "after {crash}");
            let collector = world.collector(&format!("goes-on-{crash}")).await;
            if point == migrating {
                assert_eq!(whole.last(), Some(&schema(&world)));
            }
            drop(collector);
        }
    }

    assert!(deaths > 10, "{deaths} statements");
    eprintln!("{deaths} deaths of a collector that makes its store: each step all or nothing");
}
