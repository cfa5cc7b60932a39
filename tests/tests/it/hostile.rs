//! Messages that no decent client would send, on each queue that is read: each
//! ends where an operator finds it, with its reason and whole, or does no harm;
//! what is beside them goes on, in the same processes.

mod cases;
mod giants;
mod killers;

use homing_protocol::{Reason, Status, TaskId};
use homing_store::{DeadLetterRecord, Store};
use homing_tests::kind::Echo;
use homing_tests::{Answer, Pipeline, Raw, RawProperties, eventually};

use cases::{Case, End};

/// Good tasks before hostile messages, and as many after them.
const GOOD: u64 = 20;

/// The header that tells a message of these tests from the others.
const CASE: &str = "case";

/// Publishes until the broker has it or says why not. Answers whether it has.
pub(super) async fn publish(
    raw: &mut Raw,
    url: &str,
    (exchange, key): (&str, &str),
    properties: &RawProperties,
    body: &[u8],
) -> bool {
    match raw.publish(exchange, key, properties, body).await {
        Answer::Confirmed => true,
        Answer::Refused | Answer::Returned => false,
        Answer::Closed { .. } | Answer::Gone => {
            *raw = connect(url).await;
            false
        }
    }
}

pub(super) async fn connect(url: &str) -> Raw {
    let mut raw = Raw::connect(url).await;
    raw.confirm().await;
    raw
}

/// The dead letter of a case, once it is stored.
async fn letter(store: &Store, case: &str) -> DeadLetterRecord {
    let mark = serde_json::json!([CASE, case]).to_string();
    let look = async || {
        for found in store.dead(1_000).await.unwrap() {
            let record = store.dead_letter(found.number).await.unwrap()?;
            if record.headers.contains(&mark) {
                return Some(record);
            }
        }
        None
    };
    eventually(&format!("a dead letter of `{case}`"), look).await
}

async fn good(pipeline: &Pipeline) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for n in 0..GOOD {
        ids.push(pipeline.submit(Echo { n }).await);
    }
    ids
}

async fn assert_good(pipeline: &mut Pipeline, ids: Vec<TaskId>) {
    for id in ids {
        let record = pipeline.closed(id).await;
        assert_eq!(record.report.status, Status::Succeeded);
    }
    assert_eq!(pipeline.worker.has_ended(), None);
    assert_eq!(pipeline.collector.has_ended(), None);
}

/// Publishes all that the broker takes, good tasks before and after. Answers
/// the cases that are in the broker, and the good tasks.
async fn mix(
    pipeline: &Pipeline,
    (exchange, key): (&str, &str),
    cases: Vec<Case>,
) -> (Vec<Case>, Vec<TaskId>) {
    let world = &pipeline.world;
    let (namespace, all) = (&world.namespace, cases.len());
    let exchange = format!("{namespace}.{exchange}");
    let mut raw = connect(&world.url).await;
    let mut ids = good(pipeline).await;
    let mut taken = Vec::new();
    for case in cases {
        let to = (exchange.as_str(), key);
        if publish(&mut raw, &world.url, to, &case.properties, &case.body).await {
            taken.push(case);
        }
    }
    ids.extend(good(pipeline).await);
    let refused = all - taken.len();
    eprintln!("{all} hostile messages to {exchange}; the broker itself refused {refused}");
    (taken, ids)
}

#[tokio::test]
async fn on_tasks_each_hostile_message_is_dead_with_its_reason_or_harmless() {
    let mut pipeline = Pipeline::start(&[]).await;
    let key = format!("{}.tasks", pipeline.world.namespace);
    let cases = cases::on_tasks(&pipeline.world.namespace);

    let (cases, ids) = mix(&pipeline, ("tasks", &key), cases).await;

    for case in &cases {
        assert_ended(&pipeline, case).await;
    }
    assert_good(&mut pipeline, ids).await;
    // None of them had something written into a queue of ours.
    let waiting = pipeline.world.waiting().await;
    assert!(
        waiting.iter().all(|(queue, _)| queue.contains(".delay.")),
        "{waiting:?}"
    );
}

/// By workers through `results`, by producers through `batches`.
#[tokio::test]
async fn on_results_each_hostile_message_is_kept_as_a_dead_letter() {
    for to in [("results", "7"), ("batches", "")] {
        let mut pipeline = Pipeline::start(&[]).await;
        let cases = cases::on_tasks(&pipeline.world.namespace);

        let (taken, ids) = mix(&pipeline, to, cases).await;

        for case in &taken {
            let letter = letter(&pipeline.store, &case.name).await;
            assert_eq!(letter.record.queue, "results", "{}", case.name);
            assert!(letter.body == case.body, "{} is not whole", case.name);
        }
        assert_good(&mut pipeline, ids).await;
        assert_eq!(pipeline.world.waiting().await, []);
    }
}

/// What is published to the queue of dead letters is one, whatever it says.
#[tokio::test]
async fn on_dead_each_hostile_message_is_kept_as_it_is() {
    let mut pipeline = Pipeline::start(&[]).await;
    let cases = cases::on_tasks(&pipeline.world.namespace);

    let (taken, ids) = mix(&pipeline, ("dead", ""), cases).await;

    for case in &taken {
        let letter = letter(&pipeline.store, &case.name).await;
        assert!(letter.body == case.body, "{} is not whole", case.name);
    }
    assert_good(&mut pipeline, ids).await;
    assert_eq!(pipeline.world.waiting().await, []);
}

async fn assert_ended(pipeline: &Pipeline, case: &Case) {
    let Case { name, end, .. } = case;
    match end {
        End::Dead(reason) => assert_dead(pipeline, case, *reason).await,
        End::Runs => {
            let record = pipeline.closed(case.id).await;
            assert_eq!(record.report.status, Status::Succeeded, "{name}");
            assert_eq!(record.report.output.as_deref(), Some(&b"7"[..]), "{name}");
        }
        End::Delayed => {
            let record = pipeline.store.record(case.id).await.unwrap();
            assert!(record.is_none(), "{name} is {record:?}");
        }
    }
}

async fn assert_dead(pipeline: &Pipeline, case: &Case, reason: Reason) {
    let name = &case.name;
    let letter = letter(&pipeline.store, name).await;
    let record = &letter.record;
    assert_eq!(record.reason, reason, "{name}: {}", record.detail);
    assert!(!record.detail.is_empty(), "{name}");
    assert_eq!(record.queue, "tasks", "{name}");
    assert!(letter.body == case.body, "{name} is not whole");
}
