//! Programs of an earlier version beside those of this one, in one namespace.
//!
//! In whatever order: what an earlier collector cannot read it leaves in its
//! queue, where nothing is lost, and ends. So the order that
//! `docs/wire.md` asks for only saves the wait.
//!
//! `make upgrade` builds the old ones from the history of this repository and
//! names their folder in `HOMING_OLD_BINARIES`.

use std::path::Path;

use homing_tests::{HOMING, Process, TEST_WORKER, World, eventually, program_path};

/// Rows of each batch.
const ROWS: usize = 60;

const WORKERS: usize = 2;

/// Batches of every submission, by what becomes of their tasks: at once, after
/// attempts that fail, never.
const KINDS: [&str; 3] = ["test.sleep", "test.flaky", "test.refuse"];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    Old,
    New,
}

use Version::{New, Old};

impl Version {
    fn program(self, name: &str) -> String {
        let path = match self {
            New => program_path(name),
            Old => {
                let folder = std::env::var_os("HOMING_OLD_BINARIES");
                let folder = folder.expect("these tests are run by `make upgrade`");
                Path::new(&folder).join(name)
            }
        };
        path.display().to_string()
    }
}

/// One of the services, and what is replaced in an upgrade.
#[derive(Clone, Copy, Debug)]
enum Part {
    Producer,
    Workers,
    Collector,
}

/// A whole pipeline, each part of some version.
struct Fleet {
    world: World,
    producer: Version,
    workers: Vec<Process>,
    collector: Process,
    collector_version: Version,
    started: usize,
    batches: Vec<String>,
}

impl Fleet {
    async fn start(producer: Version, workers: Version, collector: Version) -> Self {
        let world = World::start().await;
        let mut fleet = Self {
            collector: start_collector(&world, collector, "collector").await,
            collector_version: collector,
            producer,
            world,
            workers: Vec::new(),
            started: 0,
            batches: Vec::new(),
        };
        for _ in 0..WORKERS {
            let worker = fleet.worker(workers).await;
            fleet.workers.push(worker);
        }
        fleet
    }

    async fn worker(&mut self, version: Version) -> Process {
        self.started += 1;
        let name = format!("worker-{}", self.started);
        let program = version.program(TEST_WORKER);
        let flags = ["--concurrency", "8"];
        let worker = self.world.start_program(&name, &program, &flags);
        worker.says(" from tasks").await;
        worker
    }

    /// Submits a batch of each kind.
    async fn submit(&mut self) {
        for kind in KINDS {
            let label = format!("batch-{}", self.batches.len());
            let row = |n| match kind {
                "test.sleep" => format!("{{\"ms\":{}}}\n", n % 40),
                "test.flaky" => format!("{{\"failures\":{}}}\n", n % 3),
                _ => format!("{{\"amount\":{n}}}\n"),
            };
            let rows: String = (0..ROWS).map(row).collect();
            std::fs::write(self.world.dir.join(&label), rows).expect("a file in the folder");
            let arguments = ["submit", kind, "--rows", &label, "--batch", &label];
            let program = self.producer.program(HOMING);
            let said = self.world.run_program(&program, &arguments, "").await;
            assert_eq!(said.code, 0, "{said:?}");
            self.batches.push(label);
        }
    }

    async fn upgrade(&mut self, part: Part) {
        match part {
            Part::Producer => self.producer = New,
            Part::Workers => {
                for index in 0..WORKERS {
                    let next = self.worker(New).await;
                    let old = std::mem::replace(&mut self.workers[index], next);
                    assert_eq!(old.stop().await, 0);
                }
            }
            Part::Collector => {
                self.collector.term();
                let code = self.collector.ended().await;
                assert!(code == 0 || self.gives_up(code));
                self.start_new_collector().await;
            }
        }
    }

    /// Whether that is how a collector may end by itself: one of an earlier
    /// version leaves outcomes that it cannot read to one of this.
    fn gives_up(&self, code: i32) -> bool {
        code == 78 && self.collector_version == Old
    }

    async fn start_new_collector(&mut self) {
        self.collector = start_collector(&self.world, New, "new").await;
        self.collector_version = New;
    }

    /// Waits until `batch` is done, and answers as `homing wait` does. Where a
    /// collector gives up, does what its operator would: starts a new one.
    async fn wait(&mut self, batch: &str) -> i32 {
        loop {
            let program = self.collector_version.program(HOMING);
            let arguments = ["wait", "--batch", batch];
            let done = async || {
                let said = self.world.run_program(&program, &arguments, "").await;
                // Not found: its record is still on its way.
                (said.code != 5).then_some(said.code)
            };
            let what = format!("{batch} is done");
            let ended = tokio::select! {
                code = eventually(&what, done) => return code,
                code = self.collector.ended() => code,
            };
            assert!(self.gives_up(ended), "{ended}: {}", self.collector.stderr());
            eprintln!("a new collector takes over");
            self.start_new_collector().await;
        }
    }

    /// Waits until every batch is done, stops all, and balances the books.
    async fn balance(mut self) {
        for batch in self.batches.clone() {
            let code = self.wait(&batch).await;
            // 1 and 3: all of its tasks failed, or some did.
            assert!([0, 1, 3].contains(&code), "{batch}: {code}");
        }
        for worker in self.workers.drain(..) {
            assert_eq!(worker.stop().await, 0);
        }
        if self.collector_version == Old {
            // The books are this version's. It migrates the store first.
            self.upgrade(Part::Collector).await;
        }
        let said = self.world.homing(&["audit", "--json"]).await;
        assert_eq!(said.code, 0, "{said:?}");
        self.collector.term();
        assert_eq!(self.collector.ended().await, 0);

        let store = self.world.store().await;
        let records = store.list(&homing_store::Filter::all(), 10_000).await;
        let records = records.expect("the store is readable");
        let failed = |record: &homing_store::Record| record.report.status.is_problem();
        let failures = records.iter().filter(|record| failed(record)).count();
        assert_eq!(records.len(), self.batches.len() * ROWS);
        assert_eq!(failures, self.batches.len() / KINDS.len() * ROWS);
        assert_eq!(self.world.waiting().await, []);
    }
}

async fn start_collector(world: &World, version: Version, name: &str) -> Process {
    let collector = world.start_program(name, &version.program(HOMING), &["collector"]);
    collector.says("collecting from").await;
    collector
}

#[tokio::test]
async fn old_and_new_producers_workers_and_collectors_understand_each_other() {
    for producer in [Old, New] {
        for workers in [Old, New] {
            for collector in [Old, New] {
                eprintln!("producer {producer:?}, workers {workers:?}, collector {collector:?}");
                let mut fleet = Fleet::start(producer, workers, collector).await;
                fleet.submit().await;
                fleet.balance().await;
            }
        }
    }
}

#[tokio::test]
async fn a_rolling_upgrade_in_either_order_loses_nothing() {
    for order in [
        [Part::Collector, Part::Workers, Part::Producer],
        [Part::Producer, Part::Workers, Part::Collector],
    ] {
        let mut fleet = Fleet::start(Old, Old, Old).await;
        fleet.submit().await;
        for part in order {
            fleet.upgrade(part).await;
            fleet.submit().await;
        }
        fleet.balance().await;
    }
}
