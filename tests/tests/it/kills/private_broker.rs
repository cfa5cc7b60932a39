use std::time::Duration;

use homing_broker::Window;
use homing_producer::Producer;
use homing_tests::{Follower, Node, World};
use tokio::task::block_in_place;

use super::pool::Pool;
use super::{TASKS, assert_balanced, say, submit};

/// So that the broker goes down while tasks are submitted.
const PACE: Duration = Duration::from_millis(2);

type End = fn(&Node);

/// How the broker goes down, each time once part of the tasks is stored.
const ENDS: [(&str, End); 3] = [
    ("killed", Node::kill),
    ("stopped", Node::stop),
    ("killed", Node::kill),
];

/// Producer, workers and collector live through all of it: none is started
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn of_the_broker_and_its_restarts_lose_nothing_and_everybody_goes_on() {
    let node = Node::start();
    let world = World::start_at(node.url()).await;
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    let pool = Pool::start(&world);
    // Its default is to give up on a confirm after 30 s.
    let producer = Producer::open_with(world.broker(), Window::DEFAULT).await;
    let producer = producer.unwrap();
    let submitting = tokio::spawn(async move { submit(&producer, PACE).await });

    for (number, (how, end)) in ENDS.into_iter().enumerate() {
        follower.all(TASKS / 8 * (number + 1)).await;
        block_in_place(|| end(&node));
        block_in_place(|| node.start_again());
        let stored = follower.catch_up().await;
        eprintln!("broker {how} and started again after {stored} outcomes");
    }

    let submitted = submitting.await.unwrap();
    follower.all(TASKS).await;
    pool.stop().await;
    assert_eq!(collector.stop().await, 0);
    assert_balanced(&world, follower, &submitted).await;
    say("2 kills and a restart of the broker", &world, TASKS);
}
