//! Tasks that kill their worker, in each way there is, and what is near them.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use homing_broker::Window;
use homing_producer::Producer;
use homing_protocol::{Reason, Status, Task, TaskId};
use homing_store::Store;
use homing_tests::kind::{Death, Die, Sleep};
use homing_tests::{Process, TEST_WORKER, World, scale, within};
use rand::RngExt as _;

use crate::bundles::bundle;

/// The ways of a task to kill its worker.
const DEATHS: [Death; 4] = [Death::Abort, Death::Overflow, Death::Memory, Death::Kill];

/// Crashes alone before a task is dead.
const CRASHES: usize = 10;

/// The address space of a worker: many times what it takes.
const MEMORY_BYTES: u64 = 3 << 30;

/// Workers at once.
const WORKERS: usize = 3;

/// How long each test may take for each unit of its scale.
const TIME_MAX: Duration = Duration::from_secs(200);

/// Workers that are killed by what they run, or by a test, and replaced.
struct Pool<'a> {
    world: &'a World,
    workers: Vec<Process>,
    started: usize,
    /// Those the test has killed.
    kills: usize,
}

impl<'a> Pool<'a> {
    fn start(world: &'a World) -> Self {
        let mut pool = Self {
            world,
            workers: Vec::new(),
            started: 0,
            kills: 0,
        };
        pool.revive();
        pool
    }

    /// Starts as many as have died.
    fn revive(&mut self) {
        self.workers
            .retain_mut(|worker| worker.has_ended().is_none());
        while self.workers.len() < WORKERS {
            self.started += 1;
            let name = format!("worker-{}", self.started);
            let flags = ["--concurrency", "4", "--quiet"];
            let worker = self.world.start_program(&name, TEST_WORKER, &flags);
            worker.limit_memory(MEMORY_BYTES);
            self.workers.push(worker);
        }
    }

    async fn kill_one(&mut self) {
        let victim = rand::rng().random_range(0..self.workers.len());
        self.workers.swap_remove(victim).kill().await;
        self.kills += 1;
    }

    /// Those that died of what they ran.
    fn crashes(&self) -> usize {
        self.started - self.workers.len() - self.kills
    }
}

/// Waits for the outcomes of tasks, and looks only at those that have none yet.
struct Awaited {
    store: Store,
    open: HashSet<TaskId>,
    statuses: HashMap<TaskId, (Status, Option<Reason>)>,
}

impl Awaited {
    fn new(store: Store, tasks: impl IntoIterator<Item = TaskId>) -> Self {
        Self {
            store,
            open: tasks.into_iter().collect(),
            statuses: HashMap::new(),
        }
    }

    async fn all_closed(&mut self) -> bool {
        for id in self.open.clone() {
            let record = self.store.record(id).await.unwrap();
            let Some(report) = record.map(|record| record.report) else {
                continue;
            };
            if report.status.is_closed() {
                self.open.remove(&id);
                self.statuses.insert(id, (report.status, report.reason));
            }
        }
        self.open.is_empty()
    }

    fn dead(&self) -> HashSet<TaskId> {
        let dead = self
            .statuses
            .iter()
            .filter(|(_, (status, _))| *status == Status::Dead);
        dead.map(|(id, _)| *id).collect()
    }
}

async fn submit<T: Task>(producer: &Producer, tasks: impl IntoIterator<Item = T>) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for task in tasks {
        ids.push(producer.submit(task).await.unwrap().id());
    }
    ids
}

fn innocents(count: usize) -> impl Iterator<Item = Sleep> {
    (0..count as u64).map(|n| Sleep { ms: n % 20 })
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Each way to kill a worker, alone in a message and among others in a bundle.
#[tokio::test]
async fn a_task_that_kills_its_worker_in_any_way_is_dead_after_ten_crashes_alone() {
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let producer = world.producer().await;
    let mut innocent = submit(&producer, innocents(100)).await;
    let mut poison = submit(&producer, DEATHS.map(|by| Die { by })).await;
    let (message, ids) = bundle(DEATHS[..1].iter().map(|by| Die { by: *by }));
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    publisher.publish(message).await.unwrap().await.unwrap();
    poison.extend(ids);
    innocent.extend(submit(&producer, innocents(100)).await);
    let all = innocent.iter().chain(&poison).copied();
    let mut awaited = Awaited::new(world.store().await, all);
    let mut pool = Pool::start(&world);

    let living = async {
        while !awaited.all_closed().await {
            pool.revive();
            pause().await;
        }
    };
    within(TIME_MAX, "an outcome of each task", living).await;

    assert_eq!(awaited.dead(), poison.iter().copied().collect());
    for (id, by) in poison.iter().zip(DEATHS) {
        let record = awaited.store.record(*id).await.unwrap().unwrap();
        let runs = world.journal().began(*id);
        let payload = format!(r#"{{"by":"{by:?}"}}"#);
        assert_eq!(record.report.reason, Some(Reason::CrashLoop));
        assert_eq!(record.payload_json(), Some(payload));
        assert!(runs >= CRASHES, "{by:?} is dead after {runs} runs");
    }
    let crashes = pool.crashes();
    eprintln!(
        "{} poison tasks dead after {crashes} crashes of workers, {} innocent ones succeeded",
        poison.len(),
        innocent.len()
    );
}

/// Workers are killed all the time while tasks among them kill workers too.
#[tokio::test]
async fn under_random_kills_the_dead_are_exactly_the_poison_tasks() {
    let scale = scale();
    let (kills, innocent) = (80 * scale, 150 * scale);
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let producer = world.producer().await;
    let mut poison = HashSet::new();
    let mut all = Vec::new();
    for n in 0..2 * scale {
        all.extend(submit(&producer, innocents(innocent / 2 / scale)).await);
        let by = DEATHS[n % DEATHS.len()];
        poison.insert(producer.submit(Die { by }).await.unwrap().id());
    }
    all.extend(&poison);
    let mut awaited = Awaited::new(world.store().await, all);
    let mut pool = Pool::start(&world);
    let begun = Instant::now();

    let killing = async {
        while pool.kills < kills || !awaited.all_closed().await {
            if pool.kills < kills {
                pool.kill_one().await;
            }
            pool.revive();
            let ms = rand::rng().random_range(40..160);
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    };
    let time_max = TIME_MAX * u32::try_from(scale).unwrap();
    within(time_max, "an outcome of each task", killing).await;

    let dead = awaited.dead();
    let guilty = dead.difference(&poison).count();
    eprintln!(
        "{} kills, {} poison crashes, {innocent} innocent tasks, {guilty} of them dead, {} of {} \
         poison ones found, {} s",
        pool.kills,
        pool.crashes(),
        dead.intersection(&poison).count(),
        poison.len(),
        begun.elapsed().as_secs(),
    );
    assert_eq!(dead, poison);
}
