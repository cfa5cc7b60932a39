//! The books, by the command that shows them.

use std::num::NonZeroU16;

use homing_broker::{Source, Window};
use homing_protocol::topology::Topology;
use homing_protocol::{Destination, Message, Properties, QueueName, Received};
use homing_tests::kind::Echo;
use homing_tests::{Pipeline, Said, World, eventually};
use serde_json::Value;

const ROWS: &str = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n";

/// A world whose store has a sealed batch of three tasks that wait in `queue`.
async fn submitted(world: &World, flags: &[&str]) -> String {
    std::fs::write(world.dir.join("rows.ndjson"), ROWS).unwrap();
    let submit = ["submit", "test.echo", "--rows", "rows.ndjson", "--json"];
    let said = world.homing(&[&submit[..], flags].concat()).await;
    let batch = said.json().remove(0)["batch"].as_str().unwrap().to_owned();
    eventually("the batch is sealed", async || {
        let said = audit(world, &batch, &[]).await;
        (said.code != 5 && line(&said)["tasks"] == 3).then_some(())
    })
    .await;
    batch
}

async fn audit(world: &World, batch: &str, flags: &[&str]) -> Said {
    let audit = ["audit", "--batch", batch, "--json"];
    world.homing(&[&audit[..], flags].concat()).await
}

fn line(said: &Said) -> Value {
    let line = said.json().into_iter().next();
    line.unwrap_or_else(|| panic!("nothing was said: {said:?}"))
}

fn queue(world: &World, name: &str) -> String {
    world.topology().namespace().name(name)
}

/// Moves what is in `tasks` to where `to` says.
async fn moved(world: &World, count: usize, to: impl Fn(Received, &Topology) -> Message) {
    let broker = world.broker();
    let from = Source::Tasks(QueueName::tasks());
    let prefetch = NonZeroU16::new(10).unwrap();
    let mut consumer = broker.consumer(from, prefetch).await.unwrap();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();
    for _ in 0..count {
        let delivery = consumer.recv().await.unwrap();
        let message = to(*delivery.received, broker.topology());
        let replaced = publisher.replace(vec![delivery.token], vec![message]).await;
        replaced.unwrap().ack();
    }
    consumer.close().await;
}

fn copied(received: Received, destination: Destination) -> Message {
    let properties = Properties {
        message_id: Some(uuid::Uuid::now_v7().to_string()),
        ..received.properties
    };
    Message {
        destination,
        properties,
        body: received.body,
    }
}

#[tokio::test]
async fn a_batch_with_an_answer_for_every_row_is_proved_without_a_broker() {
    let pipeline = Pipeline::start(&[]).await;
    let world = &pipeline.world;
    let batch = submitted(world, &[]).await;
    let waited = world.homing(&["wait", "--batch", &batch]).await;
    assert_eq!(waited.code, 0, "{waited:?}");

    let said = audit(world, &batch, &["--broker", "amqp://127.0.0.1:1"]).await;

    assert_eq!(said.code, 0, "{said:?}");
    let line = line(&said);
    assert_eq!(line["verdict"], "proved");
    assert_eq!(line["closed"], 3);
    assert_eq!(line["missing"], 0);
    let all = world.homing(&["audit"]).await;
    assert_eq!(all.code, 0, "{all:?}");
    assert!(all.stdout.contains("proved\toutside-batches"), "{all:?}");
    assert!(
        all.stderr
            .contains("outside batches: those tasks of which something is stored"),
        "{all:?}"
    );
}

#[tokio::test]
async fn what_waits_in_a_queue_is_on_the_way() {
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let batch = submitted(&world, &[]).await;

    let said = audit(&world, &batch, &[]).await;

    assert_eq!(said.code, 4, "{said:?}");
    let line = line(&said);
    assert_eq!(line["verdict"], "on-the-way");
    assert_eq!(line["missing"], 3);
    assert_eq!(line["rows"], serde_json::json!([[1, 3]]));
    assert_eq!(line["queues"][queue(&world, "tasks")], 3);
}

#[tokio::test]
async fn what_is_delayed_is_on_the_way() {
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    // 65,536 and 1 seconds: one level, and not the last.
    let batch = submitted(&world, &["--delay", "65537s"]).await;

    let said = audit(&world, &batch, &[]).await;

    assert_eq!(said.code, 4, "{said:?}");
    let line = line(&said);
    assert_eq!(line["queues"][queue(&world, "delay.16")], 3);
}

#[tokio::test]
async fn suspects_dead_letters_and_what_is_quarantined_are_on_the_way() {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let batch = submitted(&world, &[]).await;
    assert_eq!(collector.stop().await, 0);

    moved(&world, 1, |received, _| {
        copied(received, Destination::Queue(QueueName::suspect()))
    })
    .await;
    moved(&world, 1, |received, _| copied(received, Destination::Dead)).await;
    moved(&world, 1, |received, topology| {
        let queue = topology.quarantine();
        copied(received, Destination::Foreign { queue })
    })
    .await;
    let said = audit(&world, &batch, &[]).await;

    assert_eq!(said.code, 4, "{said:?}");
    let line = line(&said);
    for name in ["tasks.suspect", "dead", "quarantine"] {
        assert_eq!(line["queues"][queue(&world, name)], 1, "{line}");
    }
}

#[tokio::test]
async fn outcomes_that_wait_for_their_collector_are_on_the_way() {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let batch = submitted(&world, &[]).await;
    assert_eq!(collector.stop().await, 0);
    let worker = world.worker("worker", &[]).await;
    eventually("outcomes wait", async || {
        (world.ready("results").await > 0 && world.ready("tasks").await == 0).then_some(())
    })
    .await;
    assert_eq!(worker.stop().await, 0);

    let said = audit(&world, &batch, &[]).await;

    assert_eq!(said.code, 4, "{said:?}");
    let held = &line(&said)["queues"][queue(&world, "results")];
    assert!(held.as_u64() > Some(0), "{said:?}");
}

#[tokio::test]
async fn without_the_management_api_what_runs_is_unknown_and_never_lost() {
    let pipeline = Pipeline::start(&["--concurrency", "4"]).await;
    let world = &pipeline.world;
    let gate = world.gate("gate");
    let rows = format!("{{\"file\":{:?}}}\n", gate.to_str().unwrap());
    std::fs::write(world.dir.join("gate.ndjson"), rows).unwrap();
    let submit = ["submit", "test.gate", "--rows", "gate.ndjson", "--json"];
    let said = world.homing(&submit).await;
    let batch = said.json().remove(0)["batch"].as_str().unwrap().to_owned();
    let running = async || (!world.journal().runs().is_empty()).then_some(());
    eventually("the task runs", running).await;

    let unknown = async || {
        let said = audit(world, &batch, &[]).await;
        (said.code == 3).then_some(said)
    };
    let said = eventually("all but the running task has arrived", unknown).await;

    assert_eq!(line(&said)["verdict"], "unknown");
    assert_eq!(line(&said)["missing"], 1);
    assert!(said.stderr.contains("--management-url"), "{said:?}");
    world.open_gate("gate");
    let proved = async || (audit(world, &batch, &[]).await.code == 0).then_some(());
    eventually("the batch is proved", proved).await;
}

#[tokio::test]
async fn an_unsealed_batch_is_open_and_an_unknown_one_is_not_found() {
    let pipeline = Pipeline::start(&[]).await;
    let world = &pipeline.world;
    let batch = pipeline.producer.batch("night").await.unwrap();
    let id = batch.id().to_string();
    let known = async || {
        let said = audit(world, &id, &[]).await;
        (said.code != 5).then_some(said)
    };

    let open = eventually("the batch is known", known).await;
    let other = world.homing(&["audit", "--batch", "no such"]).await;

    assert_eq!((open.code, &line(&open)["verdict"]), (4, &"open".into()));
    assert_eq!(line(&open)["missing"], Value::Null);
    assert_eq!(other.code, 5, "{other:?}");
}

#[tokio::test]
async fn single_tasks_are_proved_by_their_ids() {
    let pipeline = Pipeline::start(&[]).await;
    let world = &pipeline.world;
    let stored = pipeline.record(Echo { n: 1 }).await.report.task.to_string();
    let other = uuid::Uuid::now_v7().to_string();

    let one = world.homing(&["audit", &stored]).await;
    let both = [stored, other.clone()].join("\n");
    let both = world.homing_with(&["audit", "-", "--json"], &both).await;
    let none = world.homing(&["audit", "17"]).await;

    assert_eq!(one.code, 0, "{one:?}");
    assert_eq!((both.code, line(&both)["closed"].as_u64()), (3, Some(1)));
    assert_eq!(line(&both)["ids"], serde_json::json!([other]));
    assert_eq!(none.code, 2, "{none:?}");
}

/// The rows that are there already are not rows of another file.
#[tokio::test]
async fn a_resumed_batch_with_an_edited_row_is_proved_when_both_its_tasks_are_done() {
    let pipeline = Pipeline::start(&[]).await;
    let world = &pipeline.world;
    let batch = submitted(world, &[]).await;
    let edited = ROWS.replace("2", "22");
    std::fs::write(world.dir.join("rows.ndjson"), edited).unwrap();

    let resume = ["submit", "test.echo", "--rows", "rows.ndjson", "--resume"];
    let resumed = world.homing(&[&resume[..], &[&batch]].concat()).await;

    assert_eq!(resumed.code, 0, "{resumed:?}");
    let proved = async || {
        let said = audit(world, &batch, &[]).await;
        let four = line(&said)["tasks"] == 4 && said.code == 0;
        four.then_some(())
    };
    eventually("four tasks in three rows are proved", proved).await;
}
