use std::time::Duration;

use homing_broker::{PublishError, Window};
use homing_producer::{Producer, SubmitError};
use homing_protocol::Status;
use homing_tests::kind::Echo;
use homing_tests::{Books, Follower, Node, World, eventually};
use tokio::task::block_in_place;

const TASKS: usize = 200;

const PREFETCH: usize = 8;

/// A broker short of memory takes no messages but goes on delivering.
#[tokio::test(flavor = "multi_thread")]
async fn during_an_alarm_producers_are_told_and_workers_run_no_more_than_they_hold() {
    let node = Node::start();
    let world = World::start_at(node.url()).await;
    let window = Window {
        deadline: Some(Duration::from_secs(2)),
        ..Window::DEFAULT
    };
    let producer = Producer::open_with(world.broker(), window).await.unwrap();
    let mut ids = std::collections::HashSet::new();
    for n in 0..TASKS as u64 {
        ids.insert(producer.submit(Echo { n }).await.unwrap().id());
    }
    let flags = ["--concurrency", "4", "--prefetch", &PREFETCH.to_string()];

    block_in_place(|| node.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]));
    let worker = world.worker("worker", &flags).await;
    let runs = async || (world.journal().runs().len() >= PREFETCH / 2).then_some(());
    eventually("the worker runs what it holds", runs).await;
    let told = producer.submit(Echo { n: 0 }).await.unwrap_err();
    let ran = world.journal().runs().len();
    block_in_place(|| node.ctl(&["set_vm_memory_high_watermark", "0.4"]));

    let SubmitError::Publish { id, source } = told else {
        panic!("another error: {told:?}");
    };
    assert!(
        matches!(source, PublishError::Unconfirmed { .. }),
        "{source:?}"
    );
    assert!(
        ran <= PREFETCH,
        "{ran} ran while nothing could be published"
    );
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    follower.all(TASKS).await;
    drop(producer);
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
    // Of the one that was not confirmed it is not known; if it is there, it is
    // that one task.
    follower.catch_up().await;
    let books = follower.books(&ids).await;
    let unconfirmed = books.foreign;
    let expected = Books {
        foreign: unconfirmed,
        ..Books::balanced(Status::Succeeded, TASKS)
    };
    assert_eq!(books, expected);
    assert!(unconfirmed <= 1, "task {id} and others");
}
