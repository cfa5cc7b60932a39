use homing_protocol::Status;
use homing_tests::kind::{Echo, Gate};
use homing_tests::{Books, Follower, Node, TEST_WORKER, World, eventually};
use tokio::task::block_in_place;

const TASKS: usize = 50;

/// A worker whose outcomes nobody takes, one whose broker is gone, and one that
/// never had one: each ends when it is told to, and nothing of theirs is lost.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_worker_whose_broker_takes_nothing_or_is_away() {
    let node = Node::start();
    let world = World::start_at(node.url()).await;
    let producer = world.producer().await;
    let mut ids = std::collections::HashSet::new();
    for n in 0..TASKS as u64 {
        ids.insert(producer.submit(Echo { n }).await.unwrap().id());
    }
    let file = world.gate("gate");
    ids.insert(producer.submit(Gate { file }).await.unwrap().id());
    drop(producer);

    // Outcomes wait for the end of the alarm.
    block_in_place(|| node.alarm());
    let flags = ["--concurrency", "4", "--grace", "1s"];
    let worker = world.worker("blocked", &flags).await;
    let ran = async || (!world.journal().runs().is_empty()).then_some(());
    eventually("the worker runs what it holds", ran).await;
    let blocked = worker.stop().await;
    block_in_place(|| node.calm());

    // The gate is the last, so it runs alone, and ends after the broker.
    let mut worker = world.worker("alone", &["--grace", "5s"]).await;
    let gate = async || (world.journal().runs().len() > TASKS).then_some(());
    eventually("the gate runs", gate).await;
    block_in_place(|| node.kill());
    worker.says("waiting for the broker").await;
    worker.term();
    worker.says("stopping").await;
    world.open_gate("gate");
    let alone = worker.ended().await;

    let worker = world.start_program("never", TEST_WORKER, &flags);
    worker.says("waiting for the broker").await;
    let never = worker.stop().await;

    assert_eq!((blocked, alone, never), (0, 0, 0));
    block_in_place(|| node.start_again());
    let worker = world.worker("last", &flags).await;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    follower.all(ids.len()).await;
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
    let books = follower.books(&ids).await;
    assert_eq!(books, Books::balanced(Status::Succeeded, ids.len()));
    assert_eq!(world.waiting().await, []);
}
