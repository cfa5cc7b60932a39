//! Workers that do not all know the same: groups that share a queue, and
//! versions.

use std::time::{Duration, Instant};

use homing_broker::Window;
use homing_protocol::{
    Destination, HeaderValue, Message, Properties, QueueName, Reason, Status, TaskId,
};
use homing_tests::kind::{Echo, Unknown};
use homing_tests::{HOMING, Pipeline, World, eventually};

/// Longer than any test.
const PATIENT: [&str; 2] = ["--unknown-grace", "1h"];

const TASKS: u64 = 10;

async fn publish(world: &World, message: Message) {
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    publisher.publish(message).await.unwrap().await.unwrap();
}

/// A message of `version`, as a newer Homing might write it.
fn newer(version: i64, destination: Destination, id: TaskId) -> Message {
    Message {
        destination,
        properties: Properties {
            message_id: Some("m".to_owned()),
            correlation_id: Some(id.to_string()),
            kind: Some("test.echo".to_owned()),
            content_type: Some("application/x-newer".to_owned()),
            headers: vec![
                ("homing-version".to_owned(), HeaderValue::Int(version)),
                ("homing-new".to_owned(), HeaderValue::Bool(true)),
            ],
            ..Properties::default()
        },
        body: vec![0xc1, 0, 255].into(),
    }
}

#[tokio::test]
async fn tasks_find_the_worker_that_knows_them_and_no_attempt_is_spent() {
    let pipeline = Pipeline::start(&PATIENT).await;
    let kind = || "other.echo".parse().unwrap();
    let mut ids = Vec::new();
    for n in 0..TASKS {
        let id = pipeline.producer.submit_json(kind(), r#"{"n":1}"#).await;
        ids.push(id.unwrap());
        ids.push(pipeline.submit(Echo { n }).await);
    }
    pipeline
        .worker
        .says("no handler for kind `other.echo` here")
        .await;

    let flags = [&["worker", "--run", "other.echo=cat"][..], &PATIENT].concat();
    let other = pipeline.world.start_program("other", HOMING, &flags);

    for id in ids {
        let report = pipeline.closed(id).await.report;
        assert_eq!((report.status, report.attempt), (Status::Succeeded, 1));
        assert!(pipeline.task(id).await.attempts.is_empty());
    }
    assert_eq!(pipeline.store.dead(10).await.unwrap().len(), 0);
    let said = pipeline.worker.stderr();
    assert_eq!(said.matches("no handler for kind").count(), 1, "{said}");
    assert_eq!(other.stop().await, 0);
}

#[tokio::test]
async fn a_task_that_nobody_knows_is_dead_when_the_grace_is_over() {
    let pipeline = Pipeline::start(&["--unknown-grace", "3s"]).await;
    let since = Instant::now();

    let record = pipeline.record(Unknown { n: 17 }).await;

    assert!(since.elapsed() >= Duration::from_secs(3));
    assert_eq!(record.report.status, Status::Dead);
    assert_eq!(record.report.reason, Some(Reason::UnknownKind));
    assert_eq!(record.payload_json().as_deref(), Some(r#"{"n":17}"#));
    let dead = pipeline.store.dead(10).await.unwrap();
    assert_eq!(dead.len(), 1);
}

/// As it is in the middle of a rolling upgrade: what an old worker cannot read
/// is not malformed.
#[tokio::test]
async fn a_task_of_a_newer_version_is_kept_as_it_came_for_a_newer_worker() {
    let pipeline = Pipeline::start(&["--unknown-grace", "3s"]).await;
    let id: TaskId = uuid::Uuid::now_v7().into();
    let sent = newer(2, Destination::Queue(QueueName::tasks()), id);

    publish(&pipeline.world, sent.clone()).await;
    pipeline.worker.says("of a newer version of Homing").await;
    let record = pipeline.closed(id).await;

    assert_eq!(record.report.status, Status::Dead);
    let error = record.report.error.unwrap();
    assert!(error.contains("wire version 2"), "{error}");
    // What would have reached a newer worker is what was sent.
    let letter = pipeline.store.dead(10).await.unwrap().remove(0);
    let letter = pipeline.store.dead_letter(letter.number).await.unwrap();
    let letter = letter.unwrap();
    assert_eq!(letter.body, sent.body);
    assert!(letter.properties.contains("application/x-newer"));
    for header in [
        "[\"homing-version\",2]",
        "[\"homing-new\",true]",
        "[\"homing-parked\",3]",
    ] {
        assert!(letter.headers.contains(header), "{}", letter.headers);
    }
}

#[tokio::test]
async fn an_outcome_of_a_newer_version_ends_the_collector_and_stays_in_its_queue() {
    let mut pipeline = Pipeline::start(&[]).await;
    let id: TaskId = uuid::Uuid::now_v7().into();

    publish(
        &pipeline.world,
        newer(3, Destination::Results { key: 0 }, id),
    )
    .await;
    let code = pipeline.collector.ended().await;
    let said = pipeline.collector.stderr();
    let stays = async || (pipeline.world.ready("results").await == 1).then_some(());
    eventually("the outcome is back", stays).await;

    assert_eq!(code, 78, "{said}");
    assert!(said.contains("upgrade this collector"), "{said}");
    assert_eq!(pipeline.store.dead(10).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_dead_task_that_names_no_kind_has_the_default_kind() {
    let pipeline = Pipeline::start(&["--default-kind", "test.echo"]).await;
    let id: TaskId = uuid::Uuid::now_v7().into();
    let message = Message {
        destination: Destination::Queue(QueueName::tasks()),
        properties: Properties {
            message_id: Some(id.to_string()),
            ..Properties::default()
        },
        body: br#"{"m":1}"#.to_vec().into(),
    };

    publish(&pipeline.world, message).await;
    let record = pipeline.closed(id).await;

    assert_eq!(record.report.status, Status::Dead);
    assert_eq!(record.report.kind, "test.echo");
}
