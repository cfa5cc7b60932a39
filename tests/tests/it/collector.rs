//! What the collector makes of what arrives, whatever arrives.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use homing_broker::{Publisher, Window};
use homing_collector::CollectorConfig;
use homing_protocol::{
    ContentType, Destination, Envelope, Message, Payload, Properties, Reason, Report, Run, Status,
    Task, TaskKind, Timestamp, encode_reports,
};
use homing_store::{Keep, Store};
use homing_tests::kind::Echo;
use homing_tests::{HOMING, World, eventually};
use rand::seq::SliceRandom as _;
use rusqlite::Connection;

fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

pub(crate) fn envelope(n: u64) -> Envelope {
    let payload = Payload::encode("a payload", &Echo { n }, ContentType::Json, 1_000);
    let id = uuid::Uuid::now_v7().into();
    let kind: TaskKind = Echo::KIND.parse().unwrap();
    Envelope::new(id, kind, payload.unwrap(), now())
}

/// What a worker would say of an attempt at this task.
pub(crate) fn report(envelope: &Envelope, status: Status, attempt: u32) -> Report {
    let mut report = Report::new(envelope, status, "tasks", now());
    report.attempt = attempt;
    report.attempts_max = 5;
    report.attempt_id = Some(uuid::Uuid::now_v7().into());
    match status {
        Status::Succeeded => report.output = Some("1".into()),
        _ => report.error = Some(format!("attempt {attempt} fails")),
    }
    report
}

pub(crate) fn message(report: &Report, key: u8) -> Message {
    let to = Destination::Results { key };
    let id = uuid::Uuid::now_v7().to_string();
    encode_reports(std::slice::from_ref(report), to, id, now()).unwrap()
}

async fn publisher(world: &World) -> Publisher {
    world.broker().publisher(Window::DEFAULT).await.unwrap()
}

pub(crate) async fn publish(world: &World, messages: impl IntoIterator<Item = Message>) {
    let publisher = publisher(world).await;
    for message in messages {
        publisher.publish(message).await.unwrap().await.unwrap();
    }
}

async fn has_status(store: &Store, envelope: &Envelope, status: Status) -> Report {
    let look = async || {
        let record = store.record(envelope.id).await.unwrap()?;
        (record.report.status == status).then_some(record.report)
    };
    eventually(&format!("a task is {status}"), look).await
}

#[tokio::test]
async fn a_second_collector_stands_by_and_takes_over_when_the_first_is_killed() {
    let world = World::start().await;
    let mut first = world.collector("first").await;
    let mut second = world.start_program("second", HOMING, &["collector"]);
    second.says("standing by").await;
    let store = world.store().await;
    let (before, after) = (envelope(1), envelope(2));

    publish(&world, [message(&report(&before, Status::Succeeded, 1), 0)]).await;
    has_status(&store, &before, Status::Succeeded).await;
    assert_eq!(second.has_ended(), None);
    first.kill().await;
    publish(&world, [message(&report(&after, Status::Succeeded, 1), 0)]).await;

    has_status(&store, &after, Status::Succeeded).await;
    assert!(second.stderr().contains("collecting from"));
}

/// Each report comes one to five times, in any order: of two attempts that
/// failed, of one that succeeded, and of one that failed for good but later.
#[tokio::test]
async fn duplicates_and_reordered_reports_change_nothing() {
    const TASKS: u64 = 50;
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let mut rng = rand::rng();
    let envelopes: Vec<_> = (0..TASKS).map(envelope).collect();
    let mut messages = Vec::new();
    for envelope in &envelopes {
        let attempts = [
            report(envelope, Status::Retrying, 1),
            report(envelope, Status::Retrying, 2),
            report(envelope, Status::Succeeded, 3),
        ];
        for (number, attempt) in attempts.iter().enumerate() {
            let times = 1 + (envelope.id.as_bytes()[15] as usize + number) % 5;
            messages.extend((0..times).map(|time| message(attempt, time as u8)));
        }
    }
    messages.shuffle(&mut rng);

    publish(&world, messages).await;
    let store = world.store().await;
    for envelope in &envelopes {
        has_status(&store, envelope, Status::Succeeded).await;
    }
    assert_eq!(collector.stop().await, 0);

    assert_eq!(world.waiting().await, []);
    for envelope in &envelopes {
        let task = store.task(envelope.id).await.unwrap().unwrap();
        assert_eq!(task.record.report.status, Status::Succeeded);
        let attempts: HashSet<_> = task.attempts.iter().map(|a| a.report.attempt_id).collect();
        let mut numbers: Vec<_> = task.attempts.iter().map(|a| a.report.attempt).collect();
        numbers.sort_unstable();
        assert_eq!((numbers.as_slice(), attempts.len()), (&[1, 2][..], 2));
    }
}

#[tokio::test]
async fn the_first_final_outcome_stays_and_a_later_one_is_kept_as_an_attempt() {
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let (envelope, after) = (envelope(1), envelope(2));
    let first = report(&envelope, Status::Succeeded, 1);
    let second = report(&envelope, Status::Failed, 1);

    let reports = [first, second, report(&after, Status::Succeeded, 1)];
    publish(&world, reports.iter().map(|report| message(report, 0))).await;

    let store = world.store().await;
    has_status(&store, &after, Status::Succeeded).await;
    let task = store.task(envelope.id).await.unwrap().unwrap();
    assert_eq!(task.record.report.status, Status::Succeeded);
    assert_eq!(task.attempts.len(), 1);
    assert!(task.attempts[0].late);
}

#[tokio::test]
async fn a_late_success_takes_the_place_of_dead() {
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let envelope = envelope(1);
    let mut dead = report(&envelope, Status::Dead, 0);
    dead.reason = Some(Reason::CrashLoop);

    publish(&world, [message(&dead, 0)]).await;
    let store = world.store().await;
    has_status(&store, &envelope, Status::Dead).await;
    let success = message(&report(&envelope, Status::Succeeded, 1), 1);
    publish(&world, [success]).await;

    has_status(&store, &envelope, Status::Succeeded).await;
}

#[tokio::test]
async fn what_cannot_be_read_on_results_is_kept_as_a_dead_letter_and_stops_nothing() {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let spoilt = |body: &'static str| Message {
        destination: Destination::Results { key: 3 },
        properties: Properties::default(),
        body: body.into(),
    };
    let good = envelope(1);
    let mut torn = message(&report(&good, Status::Succeeded, 1), 3);
    torn.body = torn.body.slice(..torn.body.len() / 2);
    let last = message(&report(&good, Status::Succeeded, 1), 3);

    publish(&world, [spoilt("{}"), spoilt(""), torn, last]).await;

    let store = world.store().await;
    has_status(&store, &good, Status::Succeeded).await;
    let dead = store.dead(10).await.unwrap();
    assert_eq!(dead.len(), 3);
    for letter in dead {
        assert_eq!(
            (letter.reason, letter.queue.as_str()),
            (Reason::Malformed, "results")
        );
    }
    assert_eq!(collector.stop().await, 0);
    assert_eq!(world.waiting().await, []);
}

#[tokio::test]
async fn a_store_that_somebody_else_locks_delays_outcomes_and_loses_none() {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let store = world.store().await;
    let mut lock = Connection::open(world.sqlite()).unwrap();
    let held = lock
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .unwrap();
    let envelopes: Vec<_> = (0..100).map(envelope).collect();
    let reports = envelopes.iter().map(|e| report(e, Status::Succeeded, 1));
    let messages: Vec<_> = reports.map(|report| message(&report, 0)).collect();

    publish(&world, messages).await;
    collector.says("the store cannot be written").await;
    let stored = store.record(envelopes[0].id).await.unwrap();
    drop(held);

    assert!(stored.is_none());
    for envelope in &envelopes {
        has_status(&store, envelope, Status::Succeeded).await;
    }
    assert_eq!(collector.stop().await, 0);
    assert_eq!(world.waiting().await, []);
}

/// A producer may publish tasks, and put what it likes into their headers.
#[tokio::test]
async fn an_outcome_of_a_run_that_nobody_began_is_kept_and_changes_nothing() {
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let (store, task) = (world.store().await, envelope(1));
    let real = report(&task, Status::Succeeded, 1);
    let mut forged = report(&task, Status::Exhausted, 1);
    forged.run = Run::new(u32::MAX).unwrap();

    publish(&world, [&real, &forged].map(|report| message(report, 1))).await;
    let stored = eventually("both are stored", async || {
        let task = store.task(task.id).await.unwrap()?;
        (task.conflicts.len() == 1).then_some(task)
    });

    let stored = stored.await;
    assert_eq!(stored.record.report.status, Status::Succeeded);
    assert_eq!(stored.record.report.run, Run::FIRST);
    assert_eq!(stored.conflicts[0].report.run, forged.run);
}

/// Beside what it stores at the same time.
#[tokio::test]
async fn a_collector_removes_what_is_old_and_takes_nothing_for_new() {
    const TASKS: u64 = 200;
    let world = World::start().await;
    let config = CollectorConfig {
        keep: Keep::For(Duration::from_millis(1)),
        remove_after: Duration::ZERO,
        remove_every: Duration::from_millis(1),
        ..CollectorConfig::default()
    };
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let (broker, url) = (world.broker(), world.store_url());
    let collecting = tokio::spawn(async move {
        let stopped = async {
            let _ended = stopped.await;
        };
        homing_collector::run(broker, &url, config, stopped).await
    });
    let store = world.store().await;
    let reports: Vec<_> = (0..TASKS)
        .map(|n| report(&envelope(n), Status::Succeeded, 1))
        .collect();

    for _again in 0..2 {
        publish(&world, reports.iter().map(|report| message(report, 0))).await;
        eventually("all is received", async || {
            world.waiting().await.is_empty().then_some(())
        })
        .await;
    }
    for report in &reports {
        eventually("its content is removed", async || {
            let record = store.record(report.task).await.unwrap()?;
            assert_eq!(record.report.status, Status::Succeeded);
            record.removed.then_some(())
        })
        .await;
    }

    let kinds = store.stats(None).await.unwrap();
    assert_eq!(kinds[0].counts.total(), TASKS);
    assert_eq!(store.audit_lone().await.unwrap().closed, TASKS);
    stop.send(()).unwrap();
    collecting.await.unwrap().unwrap();
}
