use std::time::{Duration, SystemTime};

use homing_producer::Producer;
use homing_protocol::Timestamp;
use homing_tests::kind::Echo;
use homing_tests::{Node, Pipeline, World};
use tokio::task::block_in_place;

/// Delays of 1 to 15 s: every way through the first four tiers.
const SECS: std::ops::RangeInclusive<u64> = 1..=15;

/// Tasks of each delay.
const TASKS: u64 = 20;

/// Some wait, some are on their way from one tier to the next, and some become
/// due while the broker is away.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_in_every_tier_outlive_a_kill_of_the_broker_and_none_is_early() {
    let node = Node::start();
    let world = World::start_at(node.url()).await;
    let producer = Producer::open(world.broker()).await.unwrap();
    let mut tasks = Vec::new();
    for secs in SECS {
        for n in 0..TASKS {
            let delay = Duration::from_secs(secs);
            let due = Timestamp::from(SystemTime::now()).after(delay);
            let task = producer.submit(Echo { n }).delay(delay).await.unwrap();
            tasks.push((task.id(), due));
        }
    }

    let pipeline = Pipeline::start_in(world, &[]).await;
    let (first, _) = tasks[2 * TASKS as usize];
    pipeline.closed(first).await;
    block_in_place(|| node.kill());
    block_in_place(|| node.start_again());

    for (id, due) in tasks {
        let record = pipeline.closed(id).await;
        assert!(record.report.started_at >= due, "started before it was due");
        assert!(record.outcome::<Echo>().unwrap().result.is_ok());
    }
    let (_, _, world) = pipeline.stop().await;
    assert_eq!(world.waiting().await, []);
}
