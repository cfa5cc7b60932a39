//! Attempts and deliveries that take long.

use std::collections::HashSet;

use homing_protocol::Status;
use homing_tests::kind::{Echo, Gate, Sleep};
use homing_tests::{Books, Follower, How, Proxy, World, eventually};

/// More than one attempt after the other can take before the broker would lose
/// patience with the last of them.
const TASKS: usize = 10;

#[tokio::test]
async fn a_worker_says_at_start_which_timeout_the_broker_does_not_wait_for() {
    let world = World::start().await;

    let said = world
        .homing(&["worker", "--run", "a.b=true", "--timeout", "a.*=40m"])
        .await;
    let raised = [
        "worker",
        "--run",
        "a.b=true",
        "--timeout",
        "a.*=40m",
        "--consumer-timeout",
        "10m",
    ];
    let raised = world.homing(&raised).await;

    assert_eq!((said.code, raised.code), (78, 78));
    let text = "timeout of kind `a.b` (40 min) with the grace (30 s) reaches the broker's consumer timeout";
    assert!(
        said.stderr.contains(&format!("{text} (30 min)")),
        "{said:?}"
    );
    assert!(
        raised.stderr.contains(&format!("{text} (10 min)")),
        "{raised:?}"
    );
}

/// The broker takes back all that a worker holds once one delivery of it has
/// waited too long, also if it only waited for its turn.
#[tokio::test]
async fn a_delivery_that_waited_too_long_for_its_turn_goes_back_and_is_run_once() {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    let producer = world.producer().await;
    let mut ids = HashSet::new();
    for _ in 0..TASKS {
        ids.insert(producer.submit(Sleep { ms: 500 }).await.unwrap().id());
    }

    let worker = world
        .worker(
            "worker",
            &[
                "--concurrency",
                "1",
                "--prefetch",
                "16",
                "--consumer-timeout",
                "4s",
                "--timeout",
                "*=1s",
                "--grace",
                "1s",
            ],
        )
        .await;
    follower.all(TASKS).await;
    let said = worker.stderr();
    let back = said.matches("waited here so long").count();
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));

    assert!(back > 0, "{said}");
    let journal = world.journal();
    assert!(ids.iter().all(|id| journal.began(*id) == 1));
    assert_eq!(
        follower.books(&ids).await,
        Books::balanced(Status::Succeeded, TASKS)
    );
    assert_eq!(world.waiting().await, []);
}

/// Links of a worker: its outcomes, `tasks`, and the suspects.
const LINKS: usize = 3;

/// Deliveries of a connection that broke come again. To run what waits of them
/// as well would run it twice.
#[tokio::test]
async fn what_waits_in_a_worker_when_its_connection_breaks_is_run_once() {
    let mut world = World::start().await;
    let proxy = Proxy::start(&world.url);
    let direct = std::mem::replace(&mut world.url, proxy.url().to_owned());
    let flags = ["--concurrency", "1", "--prefetch", "16"];
    let worker = world.worker("worker", &flags).await;
    world.url = direct;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    let producer = world.producer().await;
    let file = world.gate("gate");
    let gate = producer.submit(Gate { file }).await.unwrap().id();
    let journal = world.journal();
    let begun = async || (journal.began(gate) == 1).then_some(());
    eventually("the gate runs", begun).await;
    let mut ids = HashSet::new();
    for n in 0..TASKS as u64 {
        ids.insert(producer.submit(Echo { n }).await.unwrap().id());
    }
    let held = async || (world.ready("tasks").await == 0).then_some(());
    eventually("the worker holds them all", held).await;

    proxy.cut(How::Reset);
    let all = async || (worker.stderr().matches("connected to").count() == LINKS).then_some(());
    eventually("every link stands again", all).await;
    world.open_gate("gate");
    follower.all(TASKS + 1).await;
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));

    assert!(ids.iter().all(|id| journal.began(*id) == 1));
    ids.insert(gate);
    assert_eq!(
        follower.books(&ids).await,
        Books::balanced(Status::Succeeded, TASKS + 1)
    );
    assert_eq!(world.waiting().await, []);
}
