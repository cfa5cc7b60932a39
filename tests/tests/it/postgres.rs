//! The pipeline with its outcomes in PostgreSQL.

use std::collections::BTreeSet;

use homing_protocol::{Status, TaskId};
use homing_store::{Filter, Store, StoreUrl};
use homing_tests::kind::{Echo, Refuse};
use homing_tests::{Database, HOMING, How, Postgres, Process, Proxy, World, eventually};

fn collector(world: &World, name: &str, store: &str) -> Process {
    world.start_program_with(name, HOMING, &["collector"], &[("HOMING_STORE", store)])
}

async fn started(world: &World, name: &str, store: &str) -> Process {
    let collector = collector(world, name, store);
    collector.says("collecting from").await;
    collector
}

async fn submit(world: &World, tasks: u64) -> Vec<TaskId> {
    let producer = world.producer().await;
    let mut ids = Vec::new();
    for n in 0..tasks {
        ids.push(producer.submit(Echo { n }).await.unwrap().id());
    }
    ids
}

/// Waits until all of them have an answer in the store.
async fn stored(url: &str, tasks: &[TaskId]) -> Store {
    let url: StoreUrl = url.parse().unwrap();
    eventually("every outcome is stored", async || {
        let store = Store::open(&url).await.ok()?;
        let unclosed = store.unclosed(tasks.to_vec()).await.ok()?;
        unclosed.is_empty().then_some(store)
    })
    .await
}

/// Every task once, succeeded, in the counts and in the log.
async fn balances(store: &Store, tasks: usize) {
    let counts = store.stats(None).await.unwrap()[0].counts;
    assert_eq!(counts.get(Status::Succeeded), tasks as u64);
    assert_eq!(counts.total(), tasks as u64);
    let log = store.last(&Filter::all(), 100_000).await.unwrap().records;
    let distinct: BTreeSet<_> = log.iter().map(|record| record.report.task).collect();
    assert_eq!((log.len(), distinct.len()), (tasks, tasks));
}

#[tokio::test]
async fn a_task_comes_home_to_postgres_and_every_verb_that_reads_finds_it() {
    let world = World::start().await;
    let database = Database::create();
    let url = database.text();
    let _worker = world.worker("worker", &[]).await;
    let collector = started(&world, "collector", &url).await;
    let [id] = submit(&world, 1).await[..] else {
        panic!("one task");
    };
    stored(&url, &[id]).await;
    let task = id.to_string();

    for arguments in [
        &["show", &task][..],
        &["wait", &task],
        &["list"],
        &["tail"],
        &["stats"],
        &["audit"],
        &["dead", "list"],
        &["replay", &task, "--dry-run"],
    ] {
        let arguments = [arguments, &["--store", &url]].concat();
        let said = world.homing(&arguments).await;
        assert!(said.code < 2, "{arguments:?}: {said:?}");
        let all = format!("{} {}", said.stdout, said.stderr);
        assert!(!all.contains(database.password()), "{all}");
        if ["show", "list", "tail"].contains(&arguments[0]) {
            assert!(said.stdout.contains(&task), "{arguments:?}: {said:?}");
        }
    }
    assert!(!collector.stderr().contains(database.password()));
    assert!(collector.stderr().contains(":***@"));
    assert_eq!(collector.stop().await, 0);
}

#[tokio::test]
async fn a_replay_in_postgres_brings_a_task_home_again() {
    let world = World::start().await;
    let database = Database::create();
    let url = database.text();
    let _worker = world.worker("worker", &[]).await;
    let _collector = started(&world, "collector", &url).await;
    let producer = world.producer().await;
    let id = producer.submit(Refuse { amount: 1 }).await.unwrap().id();
    let store = stored(&url, &[id]).await;
    let task = id.to_string();

    let said = world.homing(&["replay", &task, "--store", &url]).await;

    assert_eq!(said.code, 0, "{said:?}");
    eventually("the second run is stored", async || {
        let record = store.record(id).await.unwrap().unwrap().report;
        (record.run.get() == 2 && record.status.is_closed()).then_some(())
    })
    .await;
    let found = store.task(id).await.unwrap().unwrap();
    assert_eq!((found.earlier.len(), found.replays.len()), (1, 1));
}

#[tokio::test]
async fn two_collectors_store_at_once_and_each_task_once() {
    const TASKS: u64 = 3_000;
    let world = World::start().await;
    let database = Database::create();
    let url = database.text();
    let _worker = world.worker("worker", &[]).await;
    let first = started(&world, "first", &url).await;
    let second = started(&world, "second", &url).await;

    let tasks = submit(&world, TASKS).await;
    let store = stored(&url, &tasks).await;

    balances(&store, tasks.len()).await;
    assert_eq!(first.stop().await, 0);
    assert_eq!(second.stop().await, 0);
    assert_eq!(world.waiting().await, []);
}

#[tokio::test]
async fn a_collector_waits_for_a_server_that_is_not_there_and_says_so_once() {
    let world = World::start().await;
    let server = Postgres::start();
    server.stop();
    let collector = collector(&world, "collector", server.url());
    collector.says("waiting for the store").await;
    let _worker = world.worker("worker", &[]).await;
    let tasks = submit(&world, 50).await;

    server.start_again();
    let store = stored(server.url(), &tasks).await;

    balances(&store, tasks.len()).await;
    let said = collector.stderr();
    assert_eq!(said.matches("waiting for the store").count(), 1, "{said}");
    assert_eq!(collector.stop().await, 0);
    assert_eq!(world.waiting().await, []);
}

#[tokio::test]
async fn a_collector_that_is_stopped_while_it_waits_for_its_server_ends() {
    let world = World::start().await;
    let server = Postgres::start();
    server.stop();
    let collector = collector(&world, "collector", server.url());
    collector.says("waiting for the store").await;

    assert_eq!(collector.stop().await, 0);
}

#[tokio::test]
async fn a_server_that_is_killed_under_load_costs_no_outcome() {
    const KILLS: usize = 3;
    let world = World::start().await;
    let server = Postgres::start();
    let _worker = world.worker("worker", &[]).await;
    let collector = started(&world, "collector", server.url()).await;
    let url: StoreUrl = server.url().parse().unwrap();
    let mut tasks = Vec::new();

    for kill in 1..=KILLS {
        let submitted = submit(&world, 400).await;
        // Some are stored, and some are on their way.
        eventually("the collector is at it", async || {
            let store = Store::open(&url).await.ok()?;
            let unclosed = store.unclosed(submitted.clone()).await.ok()?;
            (unclosed.len() < submitted.len()).then_some(())
        })
        .await;
        tasks.extend(submitted);
        tasks.extend(submit(&world, 200).await);
        server.kill();
        tasks.extend(submit(&world, 50).await);
        let stalls = "the store cannot be written";
        eventually("the collector notices", async || {
            (collector.stderr().matches(stalls).count() >= kill).then_some(())
        })
        .await;
        server.start_again();
        eventually("the collector goes on", async || {
            let again = collector.stderr().matches("can be written again").count();
            (again >= kill).then_some(())
        })
        .await;
    }

    let store = stored(server.url(), &tasks).await;
    balances(&store, tasks.len()).await;
    let said = collector.stderr();
    assert_eq!(
        said.matches("the store cannot be written").count(),
        KILLS,
        "{said}"
    );
    assert_eq!(collector.stop().await, 0);
    assert_eq!(world.waiting().await, []);
}

#[tokio::test]
async fn a_link_to_the_server_that_is_cut_again_and_again_costs_no_outcome() {
    const CUTS: usize = 8;
    let world = World::start().await;
    let database = Database::create();
    let proxy = Proxy::start(&database.text());
    let _worker = world.worker("worker", &[]).await;
    let collector = started(&world, "collector", proxy.url()).await;
    let mut tasks = Vec::new();

    for cut in 0..CUTS {
        let before = proxy.count();
        tasks.extend(submit(&world, 150).await);
        proxy.cut(if cut % 2 == 0 { How::Reset } else { How::Close });
        tasks.extend(submit(&world, 50).await);
        eventually("the link is back", async || {
            (proxy.count() > before && proxy.open() > 0).then_some(())
        })
        .await;
    }

    let store = stored(&database.text(), &tasks).await;
    balances(&store, tasks.len()).await;
    assert_eq!(collector.stop().await, 0);
    assert_eq!(world.waiting().await, []);
}

/// The server undoes its transaction, and the broker gives its deliveries to the
/// other.
#[tokio::test]
async fn a_collector_that_dies_in_the_middle_of_a_group_is_replaced_by_another() {
    let world = World::start().await;
    let database = Database::create();
    let url = database.text();
    let _worker = world.worker("worker", &[]).await;
    let mut dying = world.start_program_with(
        "dying",
        HOMING,
        &["collector"],
        &[
            ("HOMING_STORE", &url),
            ("HOMING_CRASH_AT", "store.before-commit:5"),
        ],
    );
    dying.says("collecting from").await;
    let other = started(&world, "other", &url).await;

    let tasks = submit(&world, 1_000).await;
    let store = stored(&url, &tasks).await;

    assert_ne!(dying.ended().await, 0);
    balances(&store, tasks.len()).await;
    assert_eq!(other.stop().await, 0);
}

#[tokio::test]
async fn who_follows_sees_every_outcome_although_the_server_is_killed() {
    let world = World::start().await;
    let server = Postgres::start();
    let _worker = world.worker("worker", &[]).await;
    let _collector = started(&world, "collector", server.url()).await;
    let follower = world.start_program(
        "follower",
        HOMING,
        &[
            "tail",
            "--follow",
            "--json",
            "--from",
            "0",
            "--store",
            server.url(),
        ],
    );
    let tasks = submit(&world, 20).await;
    stored(server.url(), &tasks).await;
    let seen = async |count: usize| {
        let lines = || follower.stdout().lines().count();
        eventually("the follower sees them", async || {
            (lines() >= count).then_some(())
        })
        .await;
    };
    seen(20).await;

    server.kill();
    let more = submit(&world, 20).await;
    server.start_again();
    stored(server.url(), &more).await;
    seen(40).await;

    let said = follower.stdout();
    for id in tasks.iter().chain(&more) {
        assert_eq!(said.matches(&id.to_string()).count(), 1, "{id}: {said}");
    }
}
