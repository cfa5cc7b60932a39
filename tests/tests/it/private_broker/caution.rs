//! A consumer whose connection died right after its first delivery.

use std::num::NonZeroU16;

use homing_broker::{Broker, Consumer, Delivery, Publisher, Source, Window};
use homing_protocol::{Destination, Message, Properties, QueueName};
use homing_tests::{Node, World};

const TASKS: usize = 200;

fn message(destination: Destination) -> Message {
    Message {
        destination,
        properties: Properties {
            message_id: Some(uuid::Uuid::now_v7().to_string()),
            ..Properties::default()
        },
        body: "{}".into(),
    }
}

async fn submit(broker: &dyn Broker) -> Publisher {
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    for _ in 0..TASKS {
        let task = message(Destination::Queue(QueueName::tasks()));
        publisher.publish(task).await.unwrap().await.unwrap();
    }
    publisher
}

async fn next(consumer: &mut Consumer) -> Delivery {
    let delivery = tokio::time::timeout(homing_tests::TIME_MAX, consumer.recv());
    delivery.await.expect("a delivery").expect("a link")
}

#[tokio::test]
async fn its_prefetch_grows_again_once_deliveries_are_answered() {
    let node = Node::start();
    let world = World::start_at(node.url()).await;
    let broker = world.broker();
    let publisher = submit(broker.as_ref()).await;
    // A queue younger than a second may lose its leader over a kill.
    node.ctl(&["list_queues"]);
    let source = Source::Tasks(QueueName::tasks());
    let prefetch = NonZeroU16::new(20).unwrap();
    let mut consumer = broker.consumer(source, prefetch).await.unwrap();

    let first = next(&mut consumer).await;
    node.kill();
    drop(first);
    node.start_again();
    let mut held = Vec::new();
    // What the dead connection still delivered is stale; past it, and past the
    // careful stretch, deliveries come several at a time again.
    for _ in 0..TASKS * 3 / 4 {
        let delivery = next(&mut consumer).await;
        let outcome = message(Destination::Results { key: 0 });
        let replaced = publisher.replace(vec![delivery.token], vec![outcome]);
        replaced.await.unwrap().ack();
    }
    while held.len() < 10 {
        held.push(next(&mut consumer).await);
    }

    assert_eq!(held.len(), 10);
}
