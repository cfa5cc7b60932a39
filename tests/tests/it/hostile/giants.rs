//! Messages as large as the broker takes, and replies that are none.

use homing_producer::WaitError;
use homing_protocol::{Reason, Status};
use homing_tests::kind::Echo;
use homing_tests::{Pipeline, Process, RawMessage, RawProperties, World, eventually, scale};

use super::cases::{End, with_body};
use super::{connect, letter, mix, publish};

/// The largest message of RabbitMQ 4.
const GIANT_BYTES: usize = 16 << 20;

/// What a process may hold at once: its prefetch of giants, each three times
/// while it is published on, and what it takes by itself.
const RSS_KIB_MAX: u64 = 800 << 10;

/// The most memory the process had, in KiB.
fn peak(process: &Process) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", process.id().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let mut words = line.unwrap().split_whitespace();
    words.nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn giants_are_dead_and_memory_stays_bounded() {
    let mut pipeline = Pipeline::start(&["--concurrency", "4", "--prefetch", "8"]).await;
    let key = format!("{}.tasks", pipeline.world.namespace);
    let oversize = End::Dead(Reason::Oversize);
    let giant = |n: usize| {
        let body = vec![b' '; GIANT_BYTES];
        with_body(&format!("giant {n}"), oversize, "application/json", body)
    };

    let giants = (0..8 * scale()).map(giant).collect();
    let (taken, ids) = mix(&pipeline, ("tasks", &key), giants).await;

    for case in &taken {
        let letter = letter(&pipeline.store, &case.name).await;
        assert_eq!(letter.record.reason, Reason::Oversize);
        assert!(letter.body == case.body, "{} is not whole", case.name);
    }
    super::assert_good(&mut pipeline, ids).await;
    let (worker, collector) = (peak(&pipeline.worker), peak(&pipeline.collector));
    eprintln!(
        "{} messages of 16 MiB: worker at most {} MiB, collector {} MiB",
        taken.len(),
        worker >> 10,
        collector >> 10
    );
    assert!(worker < RSS_KIB_MAX && collector < RSS_KIB_MAX);
}

/// The inbox that a task asks its outcome to be sent to.
fn inbox(world: &World, task: &RawMessage) -> String {
    let mark = format!("{}.reply.", world.namespace);
    let properties = String::from_utf8_lossy(&task.properties).into_owned();
    let at = properties.find(&mark).unwrap();
    properties[at..at + mark.len() + 36].to_owned()
}

#[tokio::test]
async fn a_hostile_reply_does_not_pass_for_an_outcome_nor_stop_later_ones() {
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let (store, producer) = (world.store().await, world.producer().await);
    let asked = producer.submit(Echo { n: 7 }).await.unwrap();
    let mut raw = connect(&world.url).await;
    let queue = format!("{}.tasks", world.namespace);
    let task = eventually("the task", async || raw.get(&queue).await).await;
    raw.reject(task.tag, true).await;
    let (exchange, inbox) = (format!("{}.replies", world.namespace), inbox(&world, &task));

    let id = asked.id().to_string();
    let hostile = [
        RawProperties::new(),
        RawProperties::new().correlation_id(id.as_bytes()),
        RawProperties::task("test.echo").correlation_id(id.as_bytes()),
        RawProperties::new().correlation_id(b"\xff\xfe"),
    ];
    for properties in hostile {
        for body in [&b""[..], b"\xdd\xff\xff\xff\xff", &[b'['; 100_000]] {
            let to = (exchange.as_str(), inbox.as_str());
            publish(&mut raw, &world.url, to, &properties, body).await;
        }
    }
    let _worker = world.worker("worker", &[]).await;

    let record = eventually("it is closed", async || {
        let record = store.record(asked.id()).await.unwrap();
        record.filter(|record| record.report.status.is_closed())
    });
    assert_eq!(record.await.report.status, Status::Succeeded);
    match asked.outcome().await {
        Ok(outcome) => assert_eq!(outcome.result.unwrap(), 7),
        Err(WaitError::Disconnected) => {}
        Err(error) => panic!("{error}"),
    }
    // Its link stands again.
    let later = async || {
        let asked = producer.submit(Echo { n: 8 }).await.unwrap();
        asked.output().await.ok()
    };
    assert_eq!(eventually("a reply", later).await, 8);
}
