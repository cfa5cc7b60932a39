//! Three brokers as one cluster, any of which may go.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use homing_broker::Window;
use homing_producer::Producer;
use homing_protocol::TaskId;
use homing_tests::kind::Echo;
use homing_tests::{Cluster, Follower, World, eventually, scale};
use tokio::task::{JoinHandle, block_in_place};

use crate::kills::pool::Pool;
use crate::kills::{assert_balanced, say};

/// Every second task is delayed, by each of so many seconds in turn: three
/// tiers of delays are never empty.
const DELAY_SECS: u64 = 8;

/// Between two tasks.
const PACE: Duration = Duration::from_millis(4);

/// What of a task is known to the one who submits it.
struct Submitted {
    id: TaskId,
    is_delayed: bool,
    confirmed: Instant,
}

/// Tasks submitted one after the other, for as long as something is tried.
struct Load {
    submitted: Arc<Mutex<Vec<Submitted>>>,
    ends: Arc<AtomicBool>,
    submitting: JoinHandle<()>,
}

impl Load {
    async fn start(world: &World) -> Self {
        // Nobody here gives up on a task, so each is confirmed in the end.
        let window = Window {
            deadline: Some(Duration::from_secs(300)),
            ..Window::DEFAULT
        };
        let producer = Producer::open_with(world.broker(), window).await;
        let producer = producer.unwrap();
        let (submitted, ends) = (Arc::default(), Arc::default());
        Self {
            submitted: Arc::clone(&submitted),
            ends: Arc::clone(&ends),
            submitting: tokio::spawn(async move { submit(&producer, &submitted, &ends).await }),
        }
    }

    /// Waits for a task without a delay to be confirmed after `since`, and
    /// answers how long after.
    async fn confirmed(&self, since: Instant) -> Duration {
        let look = async || {
            let submitted = self.submitted.lock().unwrap();
            let straight = submitted.iter().filter(|task| !task.is_delayed);
            let mut later = straight.map(|task| task.confirmed);
            later.find(|at| *at > since).map(|at| at - since)
        };
        eventually("a task is confirmed again", look).await
    }

    /// Answers the ids of all.
    async fn end(self) -> HashSet<TaskId> {
        self.ends.store(true, Ordering::Relaxed);
        self.submitting.await.unwrap();
        let submitted = self.submitted.lock().unwrap();
        submitted.iter().map(|task| task.id).collect()
    }
}

async fn submit(producer: &Producer, submitted: &Mutex<Vec<Submitted>>, ends: &AtomicBool) {
    for n in 0.. {
        if ends.load(Ordering::Relaxed) {
            return;
        }
        let secs = if n % 2 == 0 { 0 } else { n / 2 % DELAY_SECS };
        let task = producer.submit(Echo { n });
        let handle = task.delay(Duration::from_secs(secs)).await.unwrap();
        submitted.lock().unwrap().push(Submitted {
            id: handle.id(),
            is_delayed: secs > 0,
            confirmed: Instant::now(),
        });
        tokio::time::sleep(PACE).await;
    }
}

/// What `p` of a hundred are below.
fn percentile(sorted: &[Duration], p: usize) -> Duration {
    sorted[(sorted.len() * p).div_ceil(100).max(1) - 1]
}

fn say_waits(what: &str, mut waits: Vec<Duration>) {
    waits.sort();
    eprintln!(
        "{what}: {} times, until a task was confirmed again p50 {:.2} s, p99 {:.2} s",
        waits.len(),
        percentile(&waits, 50).as_secs_f64(),
        percentile(&waits, 99).as_secs_f64(),
    );
}

/// Whoever leads the tasks, the delays and the results in turn is killed, while
/// tasks are submitted, delayed, run and stored. With one node gone everything
/// goes on; none of our processes is started again.
#[tokio::test(flavor = "multi_thread")]
async fn that_loses_any_one_node_goes_on_and_loses_nothing() {
    let cluster = block_in_place(Cluster::start);
    let world = World::start_at(cluster.url()).await;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    let pool = Pool::start(&world);
    block_in_place(|| cluster.await_members());
    let (load, mut waits) = (Load::start(&world).await, Vec::new());

    for queue in ["tasks", "delay.0", "results"].repeat(scale()) {
        let queue = world.topology().namespace().name(queue);
        let leader = block_in_place(|| cluster.leader(&queue));
        let node = &cluster.nodes()[leader];
        block_in_place(|| node.kill());
        waits.push(load.confirmed(Instant::now()).await);
        let stored = follower.catch_up().await;
        follower.all(stored + 100).await;
        eprintln!("node {leader}, which led {queue}, was killed after {stored} outcomes");
        block_in_place(|| node.start_again());
        block_in_place(|| cluster.await_members());
    }
    let submitted = load.end().await;

    follower.all(submitted.len()).await;
    pool.stop().await;
    assert_eq!(collector.stop().await, 0);
    say_waits("a leader killed", waits);
    assert_balanced(&world, follower, &submitted).await;
    say("kills of leaders", &world, submitted.len());
}

/// Cut off is the node that leads the tasks. Whoever is linked to it finds
/// another one, at the latest when a confirm stays away, or waits for the end.
#[tokio::test(flavor = "multi_thread")]
async fn that_is_partitioned_goes_on_with_its_majority_and_loses_nothing() {
    let cluster = block_in_place(Cluster::start);
    let world = World::start_at(cluster.url()).await;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    let pool = Pool::start(&world);
    block_in_place(|| cluster.await_members());
    let (load, mut waits) = (Load::start(&world).await, Vec::new());

    for _ in 0..scale() {
        let queue = world.topology().namespace().name("tasks");
        let leader = block_in_place(|| cluster.leader(&queue));
        block_in_place(|| cluster.cut_off(leader));
        waits.push(load.confirmed(Instant::now()).await);
        block_in_place(|| cluster.rejoin(leader));
        block_in_place(|| cluster.await_members());
    }
    let submitted = load.end().await;

    follower.all(submitted.len()).await;
    pool.stop().await;
    assert_eq!(collector.stop().await, 0);
    say_waits("a leader cut off", waits);
    assert_balanced(&world, follower, &submitted).await;
    say("partitions", &world, submitted.len());
}
