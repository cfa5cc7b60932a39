//! Outcomes that are spread over several queues, while everything runs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use homing_broker::{BrokerError, Window};
use homing_faults::{CRASH_VARIABLE, Point, is_enabled};
use homing_protocol::topology::RESULT_KEYS;
use homing_protocol::{ResultsQueues, Status, TaskId};
use homing_store::{Store, StoreUrl};
use homing_tests::kind::Echo;
use homing_tests::{Books, Database, Follower, HOMING, Process, Raw, World, eventually};

use crate::collector::{envelope, message, report};

/// The queues of four.
const NAMES: [&str; 4] = ["results", "results.1", "results.2", "results.3"];

async fn apply(world: &World, results: &str) {
    let said = world
        .homing(&["topology", "apply", "--results", results])
        .await;
    assert_eq!(said.code, 0, "{said:?}");
}

/// What waits in each of the four.
async fn depths(world: &World) -> [u64; 4] {
    let mut depths = [0; 4];
    for (depth, name) in depths.iter_mut().zip(NAMES) {
        *depth = world.ready(name).await;
    }
    depths
}

/// One outcome with each key, each confirmed and of a task of its own.
async fn publish_with_each_key(world: &World) -> Vec<TaskId> {
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    let mut tasks = Vec::new();
    for key in 0..RESULT_KEYS {
        let envelope = envelope(key.into());
        let outcome = message(&report(&envelope, Status::Succeeded, 1), key as u8);
        publisher.publish(outcome).await.unwrap().await.unwrap();
        tasks.push(envelope.id);
    }
    tasks
}

/// A collector that soon finds new queues.
async fn collector(world: &World, name: &str, store: &str) -> Process {
    let arguments = ["collector", "--store", store, "--look-every", "100ms"];
    let collector = world.start_program(name, HOMING, &arguments);
    collector.says("collecting from").await;
    collector
}

/// Waits until each of so many queues has so many consumers.
async fn consumed(world: &World, queues: usize, consumers: u64) {
    eventually("collectors receive from every queue", async || {
        let said = world.homing(&["queues", "--json"]).await.json();
        let names = NAMES.map(|name| world.topology().namespace().name(name));
        let consumed = said.iter().filter(|line| {
            names.iter().any(|name| line["queue"] == **name) && line["consumers"] == consumers
        });
        (consumed.count() == queues).then_some(())
    })
    .await;
}

async fn store_of(url: &str) -> Store {
    let url: StoreUrl = url.parse().unwrap();
    eventually("there is a store", async || Store::open(&url).await.ok()).await
}

/// Submits tasks until `change` has ended, and some before and after it.
async fn submit_during(world: &World, change: impl Future<Output = ()>) -> HashSet<TaskId> {
    const AROUND: u64 = 300;
    let (producer, changed) = (world.producer().await, AtomicBool::new(false));
    let submit = async {
        let (mut tasks, mut after) = (HashSet::new(), 0);
        while after < AROUND {
            let n = tasks.len() as u64;
            tasks.insert(producer.submit(Echo { n }).await.unwrap().id());
            after += u64::from(changed.load(Ordering::Relaxed));
        }
        tasks
    };
    let change = async {
        change.await;
        changed.store(true, Ordering::Relaxed);
    };
    let (tasks, ()) = tokio::join!(submit, change);
    tasks
}

#[tokio::test]
async fn each_key_leads_to_one_queue_and_apply_without_a_number_leaves_it_so() {
    let world = World::start().await;

    apply(&world, "4").await;
    publish_with_each_key(&world).await;
    assert_eq!(depths(&world).await, [64; 4]);

    let said = world.homing(&["topology", "apply"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let check = world.homing(&["topology", "check"]).await;
    assert!(
        check.code == 0 && check.stderr.contains("25 queues"),
        "{check:?}"
    );
    publish_with_each_key(&world).await;
    assert_eq!(depths(&world).await, [128; 4]);

    apply(&world, "3").await;
    publish_with_each_key(&world).await;
    assert_eq!(depths(&world).await, [214, 213, 213, 128]);
}

/// Somebody who deletes a queue deletes the bindings of its keys.
#[tokio::test]
async fn apply_after_a_queue_was_deleted_by_hand_leaves_no_key_without_a_queue() {
    let world = World::start().await;
    apply(&world, "4").await;
    for gone in [0, 2] {
        let queue = world.topology().results_queue(gone);
        Raw::connect(&World::broker_url())
            .await
            .delete_queue(&queue)
            .await;

        let applied = world.homing(&["topology", "apply"]).await;

        assert_eq!(applied.code, 0, "{applied:?}");
        // Each is confirmed, which no key without a queue is.
        publish_with_each_key(&world).await;
        assert_eq!(world.homing(&["topology", "check"]).await.code, 0);
        apply(&world, "4").await;
    }
    let before = depths(&world).await;
    publish_with_each_key(&world).await;
    let after = depths(&world).await;
    let each = after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before);
    assert_eq!(each.collect::<Vec<_>>(), [64; 4]);
}

#[tokio::test]
async fn back_at_one_queue_what_is_in_the_others_is_stored_and_they_stay() {
    let world = World::start().await;
    apply(&world, "4").await;
    let mut tasks = publish_with_each_key(&world).await;

    let said = world.homing(&["topology", "apply", "--results", "1"]).await;
    tasks.extend(publish_with_each_key(&world).await);
    let before = depths(&world).await;
    let _collector = collector(&world, "collector", &world.store_url().to_string()).await;
    let store = world.store().await;

    assert!(said.stderr.contains("results.1"), "{said:?}");
    assert_eq!(before, [64 + 256, 64, 64, 64]);
    eventually("all of it is stored", async || {
        let unclosed = store.unclosed(tasks.clone()).await.ok()?;
        unclosed.is_empty().then_some(())
    })
    .await;
    consumed(&world, 4, 1).await;
}

#[tokio::test]
async fn check_names_the_queues_of_outcomes_that_are_missing() {
    let world = World::start().await;
    apply(&world, "2").await;

    let said = world
        .homing(&["topology", "check", "--results", "3", "--json"])
        .await;

    let name = world.topology().namespace().name("results.2");
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(said.json()[0]["what"], format!("queue `{name}`"));
    assert!(said.stderr.contains("apply --results 3"), "{said:?}");
}

/// The collector is there from before the first change to after the last.
#[tokio::test]
async fn from_one_queue_to_four_and_back_under_load_loses_nothing() {
    let world = World::start().await;
    let worker = world.worker("worker", &[]).await;
    let collector = collector(&world, "collector", &world.store_url().to_string()).await;
    let mut follower = Follower::new(world.store().await);

    let tasks = submit_during(&world, async {
        apply(&world, "4").await;
        consumed(&world, 4, 1).await;
        apply(&world, "2").await;
        apply(&world, "1").await;
    })
    .await;
    follower.all(tasks.len()).await;

    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
    let books = follower.books(&tasks).await;
    assert_eq!(books, Books::balanced(Status::Succeeded, tasks.len()));
    assert_eq!(world.waiting().await, []);
}

/// The process dies when a key leads to two queues, and the next call goes on.
#[tokio::test]
async fn a_change_that_is_cut_off_leaves_no_key_without_a_queue_and_is_finished_by_the_next() {
    assert!(is_enabled(), "build with --features homing-tests/faults");
    const KEYS: u64 = 100;
    let world = World::start().await;
    let arguments = ["topology", "apply", "--results", "4"];
    let crash = format!("{}:{KEYS}", Point::ResultsBound.name());

    let mut dying =
        world.start_program_with("dying", HOMING, &arguments, &[(CRASH_VARIABLE, &crash)]);
    assert_ne!(dying.ended().await, 0);
    publish_with_each_key(&world).await;
    let cut_off = depths(&world).await;
    // The broker may not have noticed yet that the other is dead.
    eventually("the change comes to its end", async || {
        let said = world.homing(&arguments).await;
        (said.code == 0).then_some(())
    })
    .await;
    publish_with_each_key(&world).await;

    // The keys 0 to 98 have moved, 99 leads to `results.3` and to `results` still.
    assert_eq!(cut_off, [25 + 157, 25, 25, 25]);
    assert_eq!(depths(&world).await, cut_off.map(|depth| depth + 64));
}

#[tokio::test]
async fn two_that_spread_at_once_leave_no_key_without_a_queue() {
    let world = World::start().await;
    let brokers = [world.broker(), world.broker()];

    for round in 0..4 {
        let counts = [2 + round, 6 - round].map(|count| ResultsQueues::new(count).unwrap());
        let [first, second] = [0, 1].map(|at| brokers[at].spread(counts[at]));
        let (first, second) = tokio::join!(first, second);

        assert!(first.is_ok() || second.is_ok(), "{first:?} {second:?}");
        for ended in [first, second] {
            assert!(matches!(ended, Ok(_) | Err(BrokerError::Spreading { .. })));
        }
        // Each is confirmed: it is in a queue.
        publish_with_each_key(&world).await;
    }
}

/// One is killed while it has outcomes of every queue, and another takes its
/// place.
#[tokio::test]
async fn two_collectors_on_postgres_share_the_queues_and_the_death_of_one_loses_nothing() {
    let world = World::start().await;
    apply(&world, "4").await;
    let (database, worker) = (Database::create(), world.worker("worker", &[]).await);
    let url = database.text();
    let mut dying = collector(&world, "dying", &url).await;
    let other = collector(&world, "other", &url).await;
    consumed(&world, 4, 2).await;
    let mut follower = Follower::new(store_of(&url).await);

    let tasks = submit_during(&world, async {
        eventually("some are stored", async || {
            (follower.catch_up().await > 100).then_some(())
        })
        .await;
        dying.kill().await;
    })
    .await;
    let next = collector(&world, "next", &url).await;
    follower.all(tasks.len()).await;

    assert_eq!(worker.stop().await, 0);
    assert_eq!((other.stop().await, next.stop().await), (0, 0));
    let books = follower.books(&tasks).await;
    assert_eq!(books, Books::balanced(Status::Succeeded, tasks.len()));
    assert_eq!(world.waiting().await, []);
}
