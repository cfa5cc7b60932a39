//! The link to the broker: publish, confirm, receive, answer.

use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use homing_broker::{PublishError, Source, Window};
use homing_protocol::{Destination, HeaderValue, Message, Properties, QueueName};
use homing_tests::{Answer, Raw, RawProperties, World};
use tokio::time::timeout;

fn message(destination: Destination, body: &str) -> Message {
    let headers = vec![
        ("homing-version".to_owned(), HeaderValue::Int(1)),
        ("homing-b".to_owned(), HeaderValue::Bytes(vec![0, 255])),
        ("homing-t".to_owned(), HeaderValue::Text("ä".to_owned())),
    ];
    Message {
        destination,
        properties: Properties {
            message_id: Some(uuid::Uuid::now_v7().to_string()),
            correlation_id: Some("c".to_owned()),
            kind: Some("demo.echo".to_owned()),
            content_type: Some("application/json".to_owned()),
            timestamp: Some(1_700_000_000),
            headers,
            ..Properties::default()
        },
        body: body.to_owned().into(),
    }
}

fn prefetch(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("not 0")
}

fn tasks() -> Destination {
    Destination::Queue(QueueName::tasks())
}

#[tokio::test]
async fn a_confirmed_message_arrives_as_it_was_published() {
    let world = World::start().await;
    let broker = world.broker();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    let source = Source::Tasks(QueueName::tasks());
    let mut consumer = broker.consumer(source, prefetch(10)).await.unwrap();
    let sent = message(tasks(), "{}");

    publisher
        .publish(sent.clone())
        .await
        .unwrap()
        .await
        .unwrap();
    let mut delivery = consumer.recv().await.unwrap();

    // Headers have no order.
    let mut properties = sent.properties;
    for headers in [
        &mut properties.headers,
        &mut delivery.received.properties.headers,
    ] {
        headers.sort_by(|a, b| a.0.cmp(&b.0));
    }
    assert_eq!(delivery.received.properties, properties);
    assert_eq!(delivery.received.body, sent.body);
    assert!(!delivery.received.redelivered);
}

#[tokio::test]
async fn an_unroutable_message_is_an_error_not_a_loss() {
    let world = World::start().await;
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    let nowhere = Destination::Queue("tasks.nowhere".parse().unwrap());

    let answer = publisher
        .publish(message(nowhere, "{}"))
        .await
        .unwrap()
        .await;

    assert!(
        matches!(answer, Err(PublishError::Unroutable { .. })),
        "{answer:?}"
    );
}

/// The client beside ours, which takes what ours cannot read out of the way,
/// delivers the first message that both can read; that one counts as well.
#[tokio::test]
async fn a_held_consumer_is_not_quiet_before_what_was_found_beside_it_is_answered() {
    let world = World::start().await;
    let broker = world.broker();
    let source = Source::Tasks(QueueName::tasks());
    let mut consumer = broker.consumer(source, prefetch(10)).await.unwrap();
    let mut quiet = consumer.quiet();
    consumer.hold();
    quiet.reached().await;
    let mut raw = Raw::connect(&world.url).await;
    raw.confirm().await;
    let (exchange, key) = (
        world.topology().namespace().name("tasks"),
        world.topology().namespace().name("tasks"),
    );
    for (kind, body) in [(&b"\xff\xfe"[..], "1"), (b"demo.echo", "2")] {
        let properties = RawProperties::default().kind(kind);
        let answer = raw
            .publish(&exchange, &key, &properties, body.as_bytes())
            .await;
        assert_eq!(answer, Answer::Confirmed);
    }

    consumer.resume();
    let delivery = consumer.recv().await.unwrap();
    consumer.hold();
    let too_early = quiet.reached().now_or_never();
    drop(delivery);
    quiet.reached().await;

    assert_eq!(too_early, None);
}

/// A subscription ends on the broker's word, and what is wished may change
/// meanwhile: here at any time of that.
#[tokio::test]
async fn a_consumer_that_resumes_while_it_begins_to_hold_receives() {
    const TIMES: u32 = 200;
    let world = World::start().await;
    let broker = world.broker();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    let source = Source::Tasks(QueueName::tasks());
    let mut consumer = broker.consumer(source, prefetch(10)).await.unwrap();
    for time in 0..TIMES {
        consumer.hold();
        let began = Instant::now();
        while began.elapsed() < time * Duration::from_micros(10) {
            tokio::task::yield_now().await;
        }
        consumer.resume();
        let confirm = publisher.publish(message(tasks(), "{}")).await.unwrap();
        let confirmed = confirm.await.unwrap();

        let delivery = timeout(Duration::from_secs(10), consumer.recv()).await;

        let delivery = delivery.expect("it receives").unwrap();
        delivery.token.ack(&confirmed);
    }
}

#[tokio::test]
async fn a_dropped_delivery_comes_again_and_an_acked_one_does_not() {
    let world = World::start().await;
    let broker = world.broker();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    let source = Source::Tasks(QueueName::tasks());
    let mut consumer = broker.consumer(source.clone(), prefetch(10)).await.unwrap();
    for body in ["1", "2", "3"] {
        publisher
            .publish(message(tasks(), body))
            .await
            .unwrap()
            .await
            .unwrap();
    }

    let first = consumer.recv().await.unwrap();
    let second = consumer.recv().await.unwrap();
    let third = consumer.recv().await.unwrap();
    drop(first);
    let outcome = message(Destination::Results { key: 7 }, "out");
    let replaced = publisher.replace(vec![second.token, third.token], vec![outcome]);
    replaced.await.unwrap().ack();
    let again = consumer.recv().await.unwrap();

    assert_eq!(&again.received.body[..], b"1");
    assert!(again.received.redelivered);
    drop(again);
    consumer.close().await;
    let depths = broker.depths().await.unwrap();
    let ready = |name: &str| {
        let name = format!("{}.{name}", world.namespace);
        depths
            .iter()
            .find(|depth| depth.queue == name)
            .and_then(|d| d.ready)
    };
    assert_eq!((ready("tasks"), ready("results")), (Some(1), Some(1)));
}

#[tokio::test]
async fn a_pipelined_window_confirms_every_message() {
    let world = World::start().await;
    let broker = world.broker();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    let mut confirms = Vec::new();
    for n in 0..5_000 {
        confirms.push(
            publisher
                .publish(message(tasks(), &n.to_string()))
                .await
                .unwrap(),
        );
    }
    for confirm in confirms {
        confirm.await.unwrap();
    }

    let depths = broker.depths().await.unwrap();

    assert_eq!(depths[0].ready, Some(5_000));
}

#[tokio::test]
async fn a_delayed_message_is_never_early() {
    let world = World::start().await;
    let broker = world.broker();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    let source = Source::Tasks(QueueName::tasks());
    let mut consumer = broker.consumer(source, prefetch(10)).await.unwrap();
    let queue = QueueName::tasks();
    let destination = Destination::Delayed { queue, secs: 3 };
    let since = Instant::now();

    publisher
        .publish(message(destination, "{}"))
        .await
        .unwrap()
        .await
        .unwrap();
    let delivery = consumer.recv().await.unwrap();

    assert!(since.elapsed().as_secs() >= 3);
    assert_eq!(&delivery.received.body[..], b"{}");
}

#[tokio::test]
async fn a_topology_that_was_applied_has_no_differences() {
    let world = World::start().await;

    let differences = world.broker().check().await.unwrap();

    assert_eq!(differences, []);
}

#[tokio::test]
async fn a_reply_address_that_fits_no_routing_key_is_refused_and_the_link_goes_on() {
    let world = World::start().await;
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    let address = "a".repeat(256);

    let refused = publisher
        .publish(message(Destination::Reply { address }, "{}"))
        .await;
    let confirmed = publisher
        .publish(message(tasks(), "{}"))
        .await
        .unwrap()
        .await;

    assert!(matches!(refused, Err(PublishError::TooLarge { .. })));
    assert!(confirmed.is_ok());
}
