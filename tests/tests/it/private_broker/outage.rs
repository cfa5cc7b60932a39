use std::time::Duration;

use futures::FutureExt as _;
use homing_broker::Window;
use homing_producer::Producer;
use homing_protocol::{Destination, Message, Properties, QueueName};
use homing_tests::kind::Echo;
use homing_tests::{Node, World, within};
use tokio::task::block_in_place;

/// A broker that was killed needs this long to be back, on a busy machine.
const OUTAGE_MAX: Duration = Duration::from_secs(120);

fn message() -> Message {
    Message {
        destination: Destination::Queue(QueueName::tasks()),
        properties: Properties::default(),
        body: "{}".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_gone_the_window_fills_and_then_everything_is_confirmed() {
    let node = Node::start();
    let world = World::start_at(node.url()).await;
    let window = Window {
        messages: 10,
        ..Window::DEFAULT
    };
    let publisher = world.broker().publisher(window).await.unwrap();
    block_in_place(|| node.kill());

    let mut confirms = Vec::new();
    for _ in 0..10 {
        confirms.push(publisher.publish(message()).await.unwrap());
    }
    let beyond = publisher.publish(message());
    tokio::pin!(beyond);
    assert!(
        beyond.as_mut().now_or_never().is_none(),
        "the window is full"
    );
    block_in_place(|| node.start_again());

    let all = async {
        confirms.push(beyond.await.unwrap());
        for confirm in confirms {
            confirm.await.unwrap();
        }
    };
    within(OUTAGE_MAX, "all confirms", all).await;
    assert_eq!(world.ready("tasks").await, 11);
}

/// What waits in queues, delays and stores is on disk.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_wait_or_are_delayed_outlive_the_broker() {
    let node = Node::start();
    let world = World::start_at(node.url()).await;
    let producer = Producer::open(world.broker()).await.unwrap();
    let soon = Duration::from_secs(1);
    let mut ids = Vec::new();
    for n in 0..50 {
        ids.push(producer.submit(Echo { n }).await.unwrap().id());
        let delayed = producer.submit(Echo { n }).delay(soon);
        ids.push(delayed.await.unwrap().id());
    }

    block_in_place(|| node.kill());
    block_in_place(|| node.start_again());
    let pipeline = homing_tests::Pipeline::start_in(world, &[]).await;

    for id in ids {
        let outcome = pipeline.closed(id).await.outcome::<Echo>().unwrap();
        assert!(outcome.result.is_ok());
    }
}
