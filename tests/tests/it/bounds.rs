//! What is too large, goes nowhere, or is too much at once.

use std::time::SystemTime;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use homing_broker::{PublishError, Window};
use homing_producer::SubmitError;
use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::{
    ContentType, Destination, EncodeError, Envelope, Payload, Report, Status, Task, Timestamp,
    encode_reports,
};
use homing_tests::kind::Echo;
use homing_tests::{Raw, World, eventually, scale};

/// What a collector may take at most while 10 times more comes than it stores.
const MEMORY_MIB_MAX: u64 = 150;

/// JSON of exactly so many bytes.
fn json(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

#[tokio::test]
async fn a_payload_of_the_limit_travels_and_one_byte_more_is_never_sent() {
    let world = World::start().await;
    let producer = world.producer().await;
    let kind = || Echo::KIND.parse().unwrap();

    for bytes in [PAYLOAD_BYTES_MAX - 1, PAYLOAD_BYTES_MAX] {
        producer.submit_json(kind(), &json(bytes)).await.unwrap();
    }
    let refused = producer
        .submit_json(kind(), &json(PAYLOAD_BYTES_MAX + 1))
        .await;
    let after = producer.submit_json(kind(), "1").await;

    let Err(SubmitError::Encode { source, .. }) = refused else {
        panic!("not refused: {refused:?}");
    };
    let bytes = PAYLOAD_BYTES_MAX + 1;
    assert!(
        matches!(source, EncodeError::TooLarge { bytes: told, .. } if told == bytes),
        "{source:?}"
    );
    assert!(after.is_ok());
    assert_eq!(world.waiting().await.iter().map(|(_, n)| n).sum::<u64>(), 3);
}

/// Somebody takes the binding away while rows are on their way. What was
/// confirmed is in the queue; what was not is told.
#[tokio::test]
async fn a_binding_that_is_removed_is_an_error_of_what_was_not_queued_and_of_nothing_else() {
    let world = World::start().await;
    let queue = world.topology().namespace().name("tasks");
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    let mut raw = Raw::connect(&world.url).await;
    let (mut confirmed, mut unroutable) = (0, 0);
    let mut confirms = FuturesUnordered::new();
    for n in 0..4_000 {
        if n == 1_000 {
            raw.unbind_queue(&queue, &queue, &queue).await;
        }
        let payload = Payload::encode("a payload", &Echo { n }, ContentType::Json, 1_000).unwrap();
        let now = Timestamp::from(SystemTime::now());
        let id = uuid::Uuid::now_v7().into();
        let envelope = Envelope::new(id, Echo::KIND.parse().unwrap(), payload, now);
        let to = Destination::Queue(homing_protocol::QueueName::tasks());
        let message = envelope.to_message(to, uuid::Uuid::now_v7().to_string());
        confirms.push(publisher.publish(message).await.unwrap());
    }
    while let Some(answer) = confirms.next().await {
        match answer {
            Ok(_) => confirmed += 1,
            Err(PublishError::Unroutable { .. }) => unroutable += 1,
            Err(other) => panic!("{other:?}"),
        }
    }

    assert_eq!(confirmed + unroutable, 4_000);
    assert!(unroutable > 0);
    assert_eq!(world.ready("tasks").await, confirmed);
    world.broker().apply().await.unwrap();
    let producer = world.producer().await;
    assert!(producer.submit(Echo { n: 1 }).await.is_ok());
}

/// 100 MB of outcomes at once, of which the collector has a prefetch at a time.
#[tokio::test]
async fn a_flood_of_outcomes_waits_in_its_queue_and_not_in_the_collector() {
    const OUTCOMES: usize = 12_000;
    let world = World::start().await;
    let collector = world.collector("collector").await;
    collector.freeze();
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    let mut confirms = FuturesUnordered::new();
    let total = OUTCOMES * scale();
    for _ in 0..total {
        confirms.push(publisher.publish(outcome(8 << 10)).await.unwrap());
    }
    while let Some(answer) = confirms.next().await {
        answer.unwrap();
    }

    let waiting = world.ready("results").await;
    collector.thaw();
    let store = world.store().await;
    eventually("all are stored", async || {
        let stats = store.stats(None).await.unwrap();
        let stored = stats.first().map(|kind| kind.counts.total());
        (stored == Some(total as u64)).then_some(())
    })
    .await;

    assert!(waiting > total as u64 / 2, "{waiting} waited");
    let memory = collector.memory_mib();
    assert!(memory < MEMORY_MIB_MAX, "{memory} MiB");
    assert_eq!(collector.stop().await, 0);
    assert_eq!(world.waiting().await, []);
}

fn outcome(bytes: usize) -> homing_protocol::Message {
    let payload = Payload::encode("a payload", &Echo { n: 1 }, ContentType::Json, 1_000);
    let now = Timestamp::from(SystemTime::now());
    let id = uuid::Uuid::now_v7().into();
    let envelope = Envelope::new(id, Echo::KIND.parse().unwrap(), payload.unwrap(), now);
    let mut report = Report::new(&envelope, Status::Succeeded, "tasks", now);
    report.attempt = 1;
    report.attempt_id = Some(uuid::Uuid::now_v7().into());
    report.output = Some(json(bytes).into());
    let id = uuid::Uuid::now_v7().to_string();
    encode_reports(&[report], Destination::Results { key: 0 }, id, now).unwrap()
}
