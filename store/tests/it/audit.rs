use homing_protocol::{BatchEvent, BatchId, BatchRecord, IdSum, Report, Run, Status};
use homing_store::{BatchRef, Entry, Writer};
use uuid::Uuid;

use crate::fixture::{Fixture, at, report, task};

fn id(number: u128) -> BatchId {
    Uuid::from_u128(number).into()
}

fn sealed(total: u64) -> Entry {
    sealed_as(total, None)
}

fn sealed_as(total: u64, ids: Option<IdSum>) -> Entry {
    Entry::Batch(BatchRecord {
        batch: id(1),
        label: "night".to_owned(),
        event: BatchEvent::Sealed { total, ids },
        at: at(20),
    })
}

fn row(row: u64, status: Status) -> Report {
    let mut report = report(row.into(), status);
    report.batch = Some(id(1));
    report.row = Some(row);
    report
}

fn write(writer: &mut Writer, total: u64, reports: impl IntoIterator<Item = Report>) {
    let reports = reports.into_iter().map(Entry::Report);
    let entries: Vec<_> = std::iter::once(sealed(total)).chain(reports).collect();
    writer.write(&entries, at(1_000)).unwrap();
}

async fn audit(fixture: &Fixture) -> homing_store::BatchAudit {
    let store = fixture.store().await;
    let audit = store.audit_batch(&BatchRef::Id(id(1))).await.unwrap();
    audit.unwrap()
}

#[tokio::test]
async fn rows_without_an_answer_are_named_among_10_000() {
    let fixture = Fixture::new();
    let rows = (1..=10_000).filter(|row| ![17, 300, 301, 10_000].contains(row));
    let reports = rows.map(|number| row(number, Status::Succeeded));

    write(&mut fixture.writer(), 10_000, reports);

    let audit = audit(&fixture).await;
    assert_eq!((audit.batch.total, audit.closed), (Some(10_000), 9_996));
    assert_eq!(audit.rows, [17..=17, 300..=301, 10_000..=10_000]);
    assert_eq!(audit.unclosed, []);
}

#[tokio::test]
async fn a_row_that_is_to_be_tried_again_has_no_answer() {
    let fixture = Fixture::new();
    let reports = [row(1, Status::Failed), row(2, Status::Retrying)];

    write(&mut fixture.writer(), 2, reports);

    let audit = audit(&fixture).await;
    assert_eq!((audit.closed, audit.rows), (1, vec![2..=2]));
    assert_eq!(audit.unclosed[0].task, task(2));
    assert_eq!(audit.unclosed[0].status, Some(Status::Retrying));
}

#[tokio::test]
async fn the_newest_run_of_a_row_decides_and_counts_once() {
    let fixture = Fixture::new();
    let again = |status| {
        let mut report = row(1, status);
        report.run = Run::FIRST.next();
        report.attempt_id = Some(Uuid::from_u128(99).into());
        report
    };
    let mut writer = fixture.writer();
    fixture.begin(1, Run::FIRST.next());

    write(
        &mut writer,
        1,
        [row(1, Status::Failed), again(Status::Retrying)],
    );
    let running = audit(&fixture).await;
    write(&mut writer, 1, [again(Status::Succeeded)]);
    let done = audit(&fixture).await;

    assert_eq!((running.closed, running.unclosed.len()), (0, 1));
    assert_eq!((done.closed, done.unclosed.len()), (1, 0));
    assert_eq!(done.rows, []);
}

/// An edited row is another task in the same row.
#[tokio::test]
async fn the_tasks_of_an_edited_row_are_both_in_the_books() {
    let fixture = Fixture::new();
    let mut edited = row(2, Status::Retrying);
    edited.task = task(77);
    let reports = [row(1, Status::Succeeded), row(2, Status::Succeeded), edited];

    write(&mut fixture.writer(), 3, reports);

    let audit = audit(&fixture).await;
    assert_eq!(audit.closed, 2);
    assert_eq!(audit.unclosed[0].task, task(77));
    assert_eq!(audit.unclosed[0].row, Some(2));
}

#[tokio::test]
async fn a_batch_known_by_its_tasks_alone_is_in_the_books() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer();
    let entries = [Entry::Report(row(1, Status::Succeeded))];
    writer.write(&entries, at(1)).unwrap();

    let known = fixture.store().await.known_batches().await.unwrap();

    assert_eq!(known, [id(1)]);
    let audit = audit(&fixture).await;
    assert_eq!((audit.batch.total, audit.closed), (None, 1));
}

#[tokio::test]
async fn tasks_outside_batches_are_in_the_books_from_their_first_record_on() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer();
    let reports = [report(1, Status::Succeeded), report(2, Status::Retrying)];
    let reports = reports.into_iter().chain([row(3, Status::Retrying)]);
    write(&mut writer, 1, reports);

    let lone = fixture.store().await.audit_lone().await.unwrap();

    assert_eq!((lone.closed, lone.unclosed.len()), (1, 1));
    assert_eq!(lone.unclosed[0].task, task(2));
}

#[tokio::test]
async fn of_named_tasks_those_without_an_answer_are_told() {
    let fixture = Fixture::new();
    let mut writer = fixture.writer();
    let reports = [report(1, Status::Dead), report(2, Status::Retrying)];
    write(&mut writer, 0, reports);

    let asked = vec![task(1), task(2), task(3)];
    let unclosed = fixture.store().await.unclosed(asked).await.unwrap();

    let told: Vec<_> = unclosed.iter().map(|u| (u.task, u.status)).collect();
    let expected = [(task(2), Some(Status::Retrying)), (task(3), None)];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn as_many_answers_of_other_tasks_are_told_from_those_of_the_batch() {
    for strangers in [false, true] {
        let fixture = Fixture::new();
        let ids = [1, 2, 3].map(task).into_iter().collect();
        let stranger = |number| {
            let mut report = row(2, Status::Succeeded);
            report.task = task(number);
            report
        };
        let third = if strangers {
            stranger(9)
        } else {
            row(3, Status::Failed)
        };
        let reports = [row(1, Status::Succeeded), row(2, Status::Succeeded), third];
        let mut writer = fixture.writer();

        write(&mut writer, 3, reports);
        writer.write(&[sealed_as(3, Some(ids))], at(1_000)).unwrap();

        let audit = audit(&fixture).await;
        assert_eq!((audit.closed, audit.others), (3, strangers));
    }
}
