//! Messages that the AMQP client of ours cannot read: each ends the connection
//! that receives it.

use homing_protocol::{Reason, Status};
use homing_tests::{Pipeline, Table};
use rusqlite::{Connection, TransactionBehavior};

use super::cases::{Case, End, case, with_header, with_property};
use super::{assert_good, connect, letter, mix, publish};

const MALFORMED: End = End::Dead(Reason::Malformed);

/// A table nested so deep by 6 bytes for each level that it fills a frame.
fn nested(levels: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for level in (1..=levels).rev() {
        bytes.extend_from_slice(b"\0F");
        bytes.extend_from_slice(&((level - 1) * 6).to_be_bytes());
    }
    bytes
}

fn killers() -> Vec<Case> {
    const BROKEN: &[u8] = b"\xff\xfe";
    let mut cases = vec![
        with_header("a header's name", MALFORMED, |t| t.text(BROKEN, b"7")),
        with_header("a header's value", MALFORMED, |t| t.text(b"a", BROKEN)),
        // A quorum queue of 3.10 makes it an `l`.
        with_header("tag L", End::Runs, |t| {
            t.field(b"a", b'L', &7_u64.to_be_bytes())
        }),
        with_header("text deep in a table", MALFORMED, |t| {
            t.table(
                b"a",
                &Table::new().table(b"b", &Table::new().text(b"c", BROKEN)),
            )
        }),
        with_property("correlation_id", MALFORMED, |p| p.correlation_id(BROKEN)),
        with_property("reply_to", MALFORMED, |p| p.reply_to(BROKEN)),
        with_property("type", MALFORMED, |p| p.kind(BROKEN)),
        with_property("content_type", MALFORMED, |p| p.content_type(BROKEN)),
        with_property("app_id", MALFORMED, |p| p.app_id(BROKEN)),
        with_property("message_id", MALFORMED, |p| p.message_id(BROKEN)),
        with_header("a tag nobody has", MALFORMED, |t| t.field(b"a", b'z', b"7")),
    ];
    for levels in [100, 5_000, 20_000] {
        let name = format!("tables nested {levels} deep");
        cases.push(case(&name, End::Runs, |properties, table| {
            (properties, table.table(b"a", &Table::of(nested(levels))))
        }));
    }
    cases
}

#[tokio::test]
async fn a_message_that_ends_connections_is_kept_and_those_beside_it_go_on() {
    let mut pipeline = Pipeline::start(&[]).await;
    let key = format!("{}.tasks", pipeline.world.namespace);

    let (taken, ids) = mix(&pipeline, ("tasks", &key), killers()).await;

    for case in &taken {
        if matches!(case.end, End::Runs) {
            let record = pipeline.closed(case.id).await;
            assert_eq!(record.report.status, Status::Succeeded, "{}", case.name);
            continue;
        }
        let letter = letter(&pipeline.store, &case.name).await;
        assert_eq!(letter.record.reason, Reason::Malformed, "{}", case.name);
        assert_eq!(letter.record.queue, "tasks", "{}", case.name);
        assert!(letter.body == case.body, "{} is not whole", case.name);
        // The properties, byte for byte, are there too.
        assert!(
            letter.headers.contains("homing-properties"),
            "{}",
            case.name
        );
    }
    assert_good(&mut pipeline, ids).await;
    assert_eq!(pipeline.world.waiting().await, []);
    eprintln!("{} of {} taken", taken.len(), killers().len());
}

#[tokio::test]
async fn a_message_that_ends_the_collectors_connections_is_stored() {
    for to in [("results", "7"), ("batches", ""), ("dead", "")] {
        let mut pipeline = Pipeline::start(&[]).await;

        let (taken, ids) = mix(&pipeline, to, killers()).await;

        for case in &taken {
            let letter = letter(&pipeline.store, &case.name).await;
            assert!(letter.body == case.body, "{} is not whole", case.name);
        }
        assert_good(&mut pipeline, ids).await;
        assert_eq!(pipeline.world.waiting().await, []);
    }
}

#[tokio::test]
async fn a_collector_that_holds_one_for_a_store_that_takes_nothing_ends_when_told_to() {
    let pipeline = Pipeline::start(&[]).await;
    let mut lock = Connection::open(pipeline.world.store_url().path()).unwrap();
    let held = lock
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();

    let (url, killer) = (&pipeline.world.url, &killers()[0]);
    let to = (&*pipeline.world.topology().results(), "7");
    let mut raw = connect(url).await;
    assert!(publish(&mut raw, url, to, &killer.properties, &killer.body).await);
    let collector = pipeline.collector;
    collector.says("it is stored with its properties").await;

    assert_eq!(collector.stop().await, 0);
    drop(held);
}
