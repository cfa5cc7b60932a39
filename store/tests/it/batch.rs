use homing_protocol::{BatchEvent, BatchId, BatchRecord, Status};
use homing_store::{BatchRef, Entry, Position};
use uuid::Uuid;

use crate::fixture::{Fixture, On, at, report, task, write};

crate::fixture::claims! {
    a_batch_is_the_same_in_whatever_order_its_records_come,
    its_counts_follow_its_tasks,
    outcomes_may_come_before_their_batch,
    a_label_means_the_batch_that_was_opened_last,
    a_label_may_be_as_long_as_it_can_travel,
    its_tasks_come_in_parts,
    a_batch_that_is_opened_again_is_open_until_its_next_seal,
}

fn id(number: u128) -> BatchId {
    Uuid::from_u128(number).into()
}

fn sealed(total: u64) -> BatchEvent {
    BatchEvent::Sealed { total, ids: None }
}

fn record(number: u128, event: BatchEvent, ms: i64) -> Entry {
    Entry::Batch(BatchRecord {
        batch: id(number),
        label: "night".to_owned(),
        event,
        at: at(ms),
    })
}

async fn a_batch_is_the_same_in_whatever_order_its_records_come(on: On) {
    let records = [
        record(1, BatchEvent::Opened, 10),
        record(1, sealed(3), 20),
        record(1, sealed(4), 30),
    ];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        let fixture = Fixture::new(on);
        let mut writer = fixture.writer();
        for place in order {
            writer.write(&[records[place].clone()], at(1)).unwrap();
        }

        let batch = fixture.store().await.batch(&BatchRef::Id(id(1))).await;

        let batch = batch.unwrap().unwrap();
        assert_eq!(batch.opened_at, Some(at(10)));
        assert_eq!(batch.sealed_at, Some(at(30)));
        assert_eq!((batch.total, batch.pending()), (Some(4), Some(4)));
    }
}

async fn its_counts_follow_its_tasks(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    writer.write(&[record(1, sealed(3), 20)], at(1)).unwrap();
    let in_batch = |number, status| {
        let mut report = report(number, status);
        report.batch = Some(id(1));
        report
    };
    write(
        &mut writer,
        &[
            in_batch(1, Status::Retrying),
            in_batch(1, Status::Succeeded),
            in_batch(2, Status::Retrying),
            report(3, Status::Failed),
        ],
    );

    let batch = "night".parse().unwrap();
    let batch = fixture.store().await.batch(&batch).await.unwrap().unwrap();

    assert_eq!(batch.counts.get(Status::Succeeded), 1);
    assert_eq!(batch.counts.get(Status::Retrying), 1);
    assert_eq!((batch.pending(), batch.unclosed()), (Some(1), Some(2)));
}

async fn outcomes_may_come_before_their_batch(on: On) {
    let fixture = Fixture::new(on);
    let mut first = report(1, Status::Succeeded);
    first.batch = Some(id(1));
    write(&mut fixture.writer(), &[first]);
    let store = fixture.store().await;

    let batch = store.batch(&BatchRef::Id(id(1))).await.unwrap().unwrap();

    assert_eq!((batch.total, batch.counts.total()), (None, 1));
    assert_eq!(store.batch(&BatchRef::Id(id(2))).await.unwrap(), None);
}

async fn a_label_means_the_batch_that_was_opened_last(on: On) {
    let fixture = Fixture::new(on);
    let entries = [
        record(1, BatchEvent::Opened, 10),
        record(2, BatchEvent::Opened, 30),
        record(3, BatchEvent::Opened, 20),
    ];
    fixture.writer().write(&entries, at(1)).unwrap();
    let store = fixture.store().await;

    let batch = store.batch(&BatchRef::Label("night".to_owned())).await;
    let ids = store.batches(Some("night"), 10).await.unwrap();

    assert_eq!(batch.unwrap().unwrap().id, id(2));
    assert_eq!(
        ids.iter().map(|b| b.id).collect::<Vec<_>>(),
        [2, 3, 1].map(id)
    );
    assert_eq!(store.batches(None, 2).await.unwrap().len(), 2);
}

/// In text that no database can make short.
async fn a_label_may_be_as_long_as_it_can_travel(on: On) {
    let fixture = Fixture::new(on);
    let label: String = (0..5_000)
        .map(|_| char::from(rand::random_range(b'!'..=b'~')))
        .collect();
    let record = Entry::Batch(BatchRecord {
        batch: id(1),
        label: label.clone(),
        event: sealed(1),
        at: at(20),
    });

    let written = fixture.writer().write(&[record], at(1));

    assert!(written.is_ok(), "{written:?}");
    let store = fixture.store().await;
    let batch = store.batch(&BatchRef::Label(label.clone())).await;
    assert_eq!(batch.unwrap().unwrap().label, label);
}

async fn its_tasks_come_in_parts(on: On) {
    let fixture = Fixture::new(on);
    let reports: Vec<_> = (1..=5)
        .map(|number| {
            let mut report = report(number, Status::Succeeded);
            report.batch = (number != 3).then(|| id(1));
            report
        })
        .collect();
    write(&mut fixture.writer(), &reports);
    let store = fixture.store().await;

    let (mut tasks, mut after) = (Vec::new(), Position::START);
    loop {
        let (part, position) = store.batch_tasks(id(1), &after, 3).await.unwrap();
        if part.is_empty() {
            break;
        }
        tasks.extend(part);
        after = position;
    }

    assert_eq!(tasks, [1, 2, 4, 5].map(task));
}

async fn a_batch_that_is_opened_again_is_open_until_its_next_seal(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let store = fixture.store().await;
    let mut totals = Vec::new();
    let events = [
        (BatchEvent::Opened, 10),
        (sealed(2), 20),
        (BatchEvent::Opened, 30),
        // Redelivered.
        (sealed(2), 20),
        (sealed(3), 30),
        (BatchEvent::Opened, 10),
    ];

    for (event, ms) in events {
        writer.write(&[record(1, event, ms)], at(1_000)).unwrap();
        let batch = store.batch(&BatchRef::Label("night".to_owned())).await;
        totals.push(batch.unwrap().unwrap().total);
    }

    assert_eq!(totals, [None, Some(2), None, None, Some(3), Some(3)]);
}
