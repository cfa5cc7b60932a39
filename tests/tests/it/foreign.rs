//! Messages of AMQP clients that know nothing of Homing.

use homing_broker::{Inbox, InboxEvent, Window};
use homing_protocol::{
    Destination, Message, Properties, QueueName, Reason, Received, Status, TaskId,
};
use homing_store::{Filter, Record};
use homing_tests::kind::Echo;
use homing_tests::{Pipeline, TIME_MAX, World, eventually, within};

/// What any client could publish.
fn message(body: &str) -> Message {
    let properties = Properties {
        kind: Some("test.echo".to_owned()),
        content_type: Some("application/json".to_owned()),
        ..Properties::default()
    };
    Message {
        destination: Destination::Queue(QueueName::tasks()),
        properties,
        body: body.to_owned().into(),
    }
}

async fn publish(world: &World, message: Message) {
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    publisher.publish(message).await.unwrap().await.unwrap();
}

/// All that is stored, once it is as much.
async fn stored(pipeline: &Pipeline, count: usize) -> Vec<Record> {
    let look = async || {
        let records = pipeline.store.list(&Filter::all(), 100).await.unwrap();
        (records.len() >= count).then_some(records)
    };
    eventually("outcomes are stored", look).await
}

/// The next reply.
async fn reply(inbox: &mut Inbox) -> Received {
    let event = within(TIME_MAX, "a reply", inbox.events.recv()).await;
    match event {
        Some(InboxEvent::Reply(received)) => *received,
        other => panic!("no reply: {other:?}"),
    }
}

#[tokio::test]
async fn a_message_without_any_id_is_one_task_with_one_outcome() {
    let pipeline = Pipeline::start(&[]).await;

    publish(&pipeline.world, message(r#"{"n":5}"#)).await;
    publish(&pipeline.world, message(r#"{"n":5}"#)).await;

    let records = stored(&pipeline, 2).await;
    assert_ne!(records[0].report.task, records[1].report.task);
    for record in records {
        assert_eq!(record.report.output.as_deref(), Some(&b"5"[..]));
        let uuid = record.report.task.as_uuid();
        assert_eq!(uuid.get_version_num(), 7);
    }
    let (_, _, world) = pipeline.stop().await;
    assert_eq!(world.waiting().await, []);
}

#[tokio::test]
async fn a_message_id_is_the_tasks_id_so_that_a_message_published_twice_is_one_task() {
    let pipeline = Pipeline::start(&[]).await;
    let mut order = message(r#"{"n":5}"#);
    order.properties.message_id = Some("order-17".to_owned());

    publish(&pipeline.world, order.clone()).await;
    publish(&pipeline.world, order).await;
    let after = pipeline.submit(Echo { n: 1 }).await;
    pipeline.closed(after).await;

    let record = pipeline.closed(TaskId::of_text("order-17")).await;
    assert_eq!(record.report.status, Status::Succeeded);
    assert_eq!(stored(&pipeline, 2).await.len(), 2);
}

#[tokio::test]
async fn a_message_without_a_kind_takes_the_workers_default_or_is_dead() {
    let mut bare = message(r#"{"n":5}"#);
    bare.properties.kind = None;
    bare.properties.message_id = Some("a".to_owned());
    let cases = [
        (
            &["--default-kind", "test.echo"][..],
            Status::Succeeded,
            "test.echo",
        ),
        (&[], Status::Dead, "?"),
    ];
    for (flags, status, kind) in cases {
        let pipeline = Pipeline::start(flags).await;

        publish(&pipeline.world, bare.clone()).await;

        let report = pipeline.closed(TaskId::of_text("a")).await.report;
        assert_eq!((report.status, report.kind.as_str()), (status, kind));
    }
}

#[tokio::test]
async fn a_message_that_is_no_task_is_dead_and_kept_whole() {
    let pipeline = Pipeline::start(&[]).await;
    let mut torn = message("{\"n\":");
    torn.properties.message_id = Some("torn".to_owned());

    publish(&pipeline.world, torn).await;

    let record = pipeline.closed(TaskId::of_text("torn")).await;
    assert_eq!(record.report.reason, Some(Reason::Malformed));
    assert_eq!(record.report.payload.as_deref(), Some(&b"{\"n\":"[..]));
}

#[tokio::test]
async fn a_reply_goes_to_the_queue_that_was_named_with_the_correlation_id_as_it_came() {
    let pipeline = Pipeline::start(&["--foreign-replies"]).await;
    let elsewhere = World::start_at(&pipeline.world.url).await;
    let mut inbox = elsewhere.broker().inbox().await.unwrap();
    let mut order = message(r#"{"n":5}"#);
    order.properties.correlation_id = Some("Bestellung 17/ä".to_owned());
    order.properties.reply_to = Some(inbox.address.clone());

    publish(&pipeline.world, order).await;
    let reply = reply(&mut inbox).await;

    let properties = &reply.properties;
    assert_eq!(
        properties.correlation_id.as_deref(),
        Some("Bestellung 17/ä")
    );
    assert_eq!(properties.content_type.as_deref(), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        (&body["status"], &body["output"]),
        (&"succeeded".into(), &5.into())
    );
    let record = &stored(&pipeline, 1).await[0];
    assert_eq!(
        record.report.correlation_id.as_deref(),
        Some("Bestellung 17/ä")
    );
    assert_eq!(body["task"], record.report.task.to_string());
}

#[tokio::test]
async fn a_reply_is_never_sent_into_a_queue_of_ours_nor_does_a_missing_one_matter() {
    let pipeline = Pipeline::start(&["--foreign-replies"]).await;
    let elsewhere = World::start_at(&pipeline.world.url).await;
    let mut inbox = elsewhere.broker().inbox().await.unwrap();
    let ours = format!("{}.tasks", pipeline.world.namespace);

    // Replies go over one link, in order: once the last one is here, the others
    // would be too.
    for queue in [ours.as_str(), "nobody.is.here", &inbox.address] {
        let mut order = message(r#"{"n":5}"#);
        order.properties.reply_to = Some(queue.to_owned());
        publish(&pipeline.world, order).await;
    }
    reply(&mut inbox).await;

    let records = stored(&pipeline, 3).await;
    let succeeded = |record: &Record| record.report.status == Status::Succeeded;
    assert!(records.len() == 3 && records.iter().all(succeeded));
    let (_, _, world) = pipeline.stop().await;
    assert_eq!(world.waiting().await, []);
}
