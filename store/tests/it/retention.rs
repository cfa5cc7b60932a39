//! What is removed by age, and what stays.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use homing_protocol::{
    BatchEvent, BatchId, BatchRecord, DeadLetter, IdSum, Report, Status, Timestamp,
};
use homing_store::{
    BatchRef, DeadFilter, Entry, Filter, Keep, Position, Removed, StoreError, Writer, copy,
    remove_old,
};
use uuid::Uuid;

use crate::fixture::{Fixture, On, at, report, task};
use crate::postgres::Held;

crate::fixture::claims! {
    content_is_removed_once_it_is_old_enough_and_the_outcome_stays,
    what_is_kept_for_ever_stays,
    counts_and_audits_are_as_before,
    a_batch_that_is_not_finished_keeps_everything_until_it_is,
    a_late_or_redelivered_outcome_of_a_removed_one_is_not_new,
    a_parked_one_whose_content_is_removed_yields_to_a_final_one,
    the_log_goes_on_from_where_it_ended_and_names_the_oldest_position,
    attempts_go_with_their_run_and_not_before_the_log_that_names_them,
    a_dead_letter_is_emptied_and_says_why,
    cut_off_after_any_step_the_next_call_does_the_rest,
    a_list_since_a_time_before_the_log_begins_has_all,
    a_payload_that_was_removed_cannot_be_replayed,
    writers_go_on_while_content_is_removed,
}

const DAY: i64 = 24 * 60 * 60 * 1_000;
const KEEP: Keep = Keep::For(Duration::from_hours(24 * 90));

fn day(day: i64) -> Timestamp {
    at(day * DAY)
}

fn put(writer: &mut Writer, on: i64, entries: impl IntoIterator<Item = Entry>) {
    let entries: Vec<_> = entries.into_iter().collect();
    writer.write(&entries, day(on)).unwrap();
}

fn entries(reports: impl IntoIterator<Item = Report>) -> Vec<Entry> {
    reports.into_iter().map(Entry::Report).collect()
}

/// Removes what is old enough on this day.
fn remove(fixture: &Fixture, on: i64) -> Removed {
    remove_old(&fixture.url(), KEEP, day(on), |_| true).unwrap()
}

fn batch() -> BatchId {
    Uuid::from_u128(0xba7c).into()
}

fn in_batch(number: u128, status: Status) -> Report {
    let mut report = report(number, status);
    report.batch = Some(batch());
    report.row = Some(number as u64);
    report
}

fn sealed(total: u64, ids: Option<IdSum>, on: i64) -> Entry {
    Entry::Batch(BatchRecord {
        batch: batch(),
        label: "b".to_owned(),
        at: day(on),
        event: BatchEvent::Sealed { total, ids },
    })
}

/// Something that is never old, so that what is before it can go.
fn newest(writer: &mut Writer) {
    put(writer, 200, entries([report(999, Status::Succeeded)]));
}

async fn content_is_removed_once_it_is_old_enough_and_the_outcome_stays(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let old = [report(1, Status::Succeeded), report(2, Status::Failed)];
    put(&mut writer, 1, entries(old.clone()));
    put(&mut writer, 150, entries([report(3, Status::Succeeded)]));
    newest(&mut writer);
    let store = fixture.store().await;
    remove(&fixture, 90);
    let before = store.record(task(1)).await.unwrap().unwrap();

    let removed = remove(&fixture, 200);

    assert_eq!(before.report, old[0]);
    assert!(!removed.is_nothing());
    for (number, was) in (1..).zip(old) {
        let found = store.task(task(number)).await.unwrap().unwrap();
        let mut empty = was;
        (empty.output, empty.payload, empty.error) = (None, None, None);
        assert!(found.record.removed);
        assert_eq!(found.record.report, empty);
    }
    let young = store.record(task(3)).await.unwrap().unwrap();
    assert!(!young.removed);
    assert_eq!(young.report, report(3, Status::Succeeded));
    assert_eq!(store.list(&Filter::all(), 10).await.unwrap().len(), 4);
    assert!(remove(&fixture, 200).is_nothing());
}

async fn what_is_kept_for_ever_stays(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    put(&mut writer, 1, entries([report(1, Status::Succeeded)]));
    newest(&mut writer);

    let removed = remove_old(&fixture.url(), Keep::Forever, day(5_000), |_| true).unwrap();

    assert!(removed.is_nothing());
    let record = fixture.store().await.record(task(1)).await.unwrap();
    assert_eq!(record.unwrap().report, report(1, Status::Succeeded));
}

async fn counts_and_audits_are_as_before(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let mut ids = IdSum::default();
    (1..=3).for_each(|number| ids.add(task(number)));
    let reports = (1..=3).map(|number| in_batch(number, Status::Succeeded));
    put(&mut writer, 1, entries(reports));
    put(&mut writer, 1, [sealed(3, Some(ids), 1)]);
    put(&mut writer, 1, entries([report(8, Status::Failed)]));
    newest(&mut writer);
    let store = fixture.store().await;
    let name = BatchRef::Id(batch());
    let before = (
        store.stats(None).await.unwrap(),
        store.audit_batch(&name).await.unwrap().unwrap(),
        store.audit_lone().await.unwrap(),
    );

    assert!(!remove(&fixture, 200).is_nothing());

    let after = (
        store.stats(None).await.unwrap(),
        store.audit_batch(&name).await.unwrap().unwrap(),
        store.audit_lone().await.unwrap(),
    );
    assert_eq!(after, before);
    assert_eq!(after.1.closed, 3);
    assert!(!after.1.others);
}

async fn a_batch_that_is_not_finished_keeps_everything_until_it_is(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let reports = (1..=2).map(|number| in_batch(number, Status::Failed));
    put(&mut writer, 1, entries(reports));
    put(&mut writer, 1, entries([report(8, Status::Failed)]));
    put(&mut writer, 1, [sealed(3, None, 1)]);
    newest(&mut writer);
    let store = fixture.store().await;

    remove(&fixture, 200);
    let lone = store.record(task(8)).await.unwrap().unwrap();
    let open = store.task(task(1)).await.unwrap().unwrap();
    put(&mut writer, 201, entries([in_batch(3, Status::Succeeded)]));
    remove(&fixture, 202);

    assert!(lone.removed);
    assert_eq!(open.record.report, in_batch(1, Status::Failed));
    assert_eq!(open.attempts[0].report, in_batch(1, Status::Failed));
    for number in [1, 2] {
        let closed = store.task(task(number)).await.unwrap().unwrap();
        assert!(closed.record.removed);
        assert_eq!(closed.record.report.payload, None);
        assert_eq!(closed.attempts, []);
    }
    let last = store.record(task(3)).await.unwrap().unwrap();
    assert_eq!(last.report, in_batch(3, Status::Succeeded));
    assert_eq!(fixture.number("SELECT count(*) FROM held"), 0);
}

async fn a_late_or_redelivered_outcome_of_a_removed_one_is_not_new(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    put(&mut writer, 1, entries([report(1, Status::Succeeded)]));
    newest(&mut writer);
    remove(&fixture, 200);
    let store = fixture.store().await;
    let before = store.stats(None).await.unwrap();

    let mut late = report(1, Status::Failed);
    late.attempt_id = Some(Uuid::from_u128(7).into());
    put(
        &mut writer,
        201,
        entries([report(1, Status::Succeeded), late]),
    );

    let found = store.task(task(1)).await.unwrap().unwrap();
    assert_eq!(found.record.report.status, Status::Succeeded);
    assert!(found.record.removed);
    assert_eq!(found.attempts.len(), 1);
    assert!(found.attempts[0].late);
    assert_eq!(store.stats(None).await.unwrap(), before);
    let tail = store.last(&Filter::all(), 10).await.unwrap();
    assert_eq!(tail.records.last().unwrap().report.task, task(999));
}

async fn a_parked_one_whose_content_is_removed_yields_to_a_final_one(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    put(&mut writer, 1, entries([report(1, Status::Expired)]));
    newest(&mut writer);
    remove(&fixture, 200);

    put(&mut writer, 201, entries([report(1, Status::Succeeded)]));

    let found = fixture.store().await.record(task(1)).await.unwrap();
    let found = found.unwrap();
    assert_eq!(found.report, report(1, Status::Succeeded));
    assert!(!found.removed);
    assert_eq!(fixture.number("SELECT count(*) FROM tasks"), 2);
}

async fn the_log_goes_on_from_where_it_ended_and_names_the_oldest_position(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    for number in 1..=4 {
        put(&mut writer, 1, entries([report(number, Status::Succeeded)]));
    }
    newest(&mut writer);
    remove(&fixture, 200);
    let store = fixture.store().await;

    let early = store.tail(&"2".parse().unwrap(), &Filter::all(), 9).await;
    let from_start = store.tail(&Position::START, &Filter::all(), 9).await;
    let oldest = store.tail(&"4".parse().unwrap(), &Filter::all(), 9).await;
    // Now all of it is old, and of a file all of it goes.
    remove(&fixture, 500);
    put(&mut writer, 501, entries([report(6, Status::Succeeded)]));

    let error = early.unwrap_err();
    assert!(matches!(error, StoreError::Position { .. }));
    assert_eq!(
        error.to_string(),
        "the log has no position 2: it goes from 4 to 5"
    );
    assert_eq!(from_start.unwrap().records.len(), 1);
    assert_eq!(oldest.unwrap().records.len(), 1);
    let newest = store.last(&Filter::all(), 1).await.unwrap();
    assert_eq!(newest.records[0].position.to_string(), "6");
    let next = store.tail(&"5".parse().unwrap(), &Filter::all(), 9).await;
    assert_eq!(next.unwrap().records.len(), 1);
}

async fn attempts_go_with_their_run_and_not_before_the_log_that_names_them(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    put(&mut writer, 1, entries([report(1, Status::Retrying)]));
    put(&mut writer, 150, entries([report(1, Status::Failed)]));
    put(&mut writer, 150, entries([report(2, Status::Retrying)]));
    newest(&mut writer);
    let store = fixture.store().await;

    remove(&fixture, 200);
    let young = store.task(task(1)).await.unwrap().unwrap();
    remove(&fixture, 400);
    let old = store.task(task(1)).await.unwrap().unwrap();

    assert_eq!(young.attempts.len(), 2);
    assert_eq!(old.attempts, []);
    let tail = store.tail(&Position::START, &Filter::all(), 9).await;
    for record in tail.unwrap().records {
        assert_ne!(record.report.task, task(1));
    }
}

async fn a_dead_letter_is_emptied_and_says_why(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    for (on, number) in [(1, 1), (180, 2)] {
        put(&mut writer, on, [Entry::Dead(letter(number))]);
    }
    newest(&mut writer);

    let removed = remove(&fixture, 200);

    assert_eq!(removed.letters, 1);
    let store = fixture.store().await;
    assert_eq!(store.dead(10).await.unwrap().len(), 1);
    let all = DeadFilter {
        discarded: true,
        ..DeadFilter::default()
    };
    let all = store.dead_matching(&all, 10).await.unwrap();
    let old = store.dead_letter(all[1].number).await.unwrap().unwrap();
    assert!(old.body.is_empty());
    assert_eq!(old.discarded.unwrap().note.why, "removed by age");
    // It comes again: it is not stored again.
    put(&mut writer, 201, [Entry::Dead(letter(1))]);
    assert_eq!(fixture.number("SELECT count(*) FROM dead_letters"), 2);
}

async fn cut_off_after_any_step_the_next_call_does_the_rest(on: On) {
    let fill = |fixture: &Fixture| {
        let mut writer = fixture.writer();
        for on in [1, 20, 40] {
            let numbers = on as u128 * 10..on as u128 * 10 + 4;
            let reports = numbers.map(|number| match number % 3 {
                0 => in_batch(number, Status::Succeeded),
                1 => report(number, Status::Failed),
                _ => report(number, Status::Succeeded),
            });
            put(&mut writer, on, entries(reports));
        }
        put(&mut writer, 40, [Entry::Dead(letter(1))]);
        newest(&mut writer);
    };
    let state = async |fixture: &Fixture| {
        let store = fixture.store().await;
        let records = store.list(&Filter::all(), 100).await.unwrap();
        let mut tasks = Vec::new();
        for record in records {
            tasks.push(store.task(record.report.task).await.unwrap().unwrap());
        }
        let log = store.tail(&Position::START, &Filter::all(), 100).await;
        (
            tasks,
            log.unwrap().records,
            store.stats(None).await.unwrap(),
            store.dead(10).await.unwrap(),
        )
    };
    let fixture = Fixture::new(on);
    fill(&fixture);
    let mut steps = 0;
    let whole = remove_old(&fixture.url(), KEEP, day(200), |_| {
        steps += 1;
        true
    });
    assert!(!whole.unwrap().is_nothing());
    let expected = state(&fixture).await;

    for cut in 1..steps {
        let fixture = Fixture::new(on);
        fill(&fixture);
        let mut left = cut;
        remove_old(&fixture.url(), KEEP, day(200), |_| {
            left -= 1;
            left > 0
        })
        .unwrap();
        // Whoever comes next finds a store to write to.
        fixture.writer().write(&[], day(200)).unwrap();
        remove(&fixture, 200);

        let state = state(&fixture).await;
        assert_eq!(state, expected, "cut off after step {cut} of {steps}");
    }
}

async fn a_list_since_a_time_before_the_log_begins_has_all(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    for (on, number) in [(1, 1), (20, 2), (40, 3)] {
        put(
            &mut writer,
            on,
            entries([report(number, Status::Succeeded)]),
        );
    }
    newest(&mut writer);
    remove(&fixture, 200);

    let since = Filter::all().since(day(15));
    let store = fixture.store().await;
    let listed = store.list(&since, 10).await.unwrap();

    let tasks: Vec<_> = listed.iter().map(|record| record.report.task).collect();
    assert_eq!(tasks, [task(999), task(3), task(2)]);
}

async fn a_payload_that_was_removed_cannot_be_replayed(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    put(&mut writer, 1, entries([report(1, Status::Failed)]));
    newest(&mut writer);
    remove(&fixture, 200);

    let found = fixture.store().await.replayable(vec![task(1)]).await;

    let found = found.unwrap().pop().flatten().unwrap();
    assert!(found.record.removed);
    assert_eq!((found.payload, found.damaged), (None, false));
}

async fn writers_go_on_while_content_is_removed(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    for on in 1..40 {
        put(
            &mut writer,
            on,
            entries([report(on as u128, Status::Failed)]),
        );
    }
    let (ask, asked) = channel();
    let (written, done) = channel();
    let writing = thread::spawn(move || {
        for number in asked {
            let report = report(number, Status::Succeeded);
            put(&mut writer, 200, entries([report]));
            written.send(()).unwrap();
        }
    });

    let mut number = 1_000;
    let removed = remove_old(&fixture.url(), KEEP, day(200), |_| {
        number += 1;
        ask.send(number).unwrap();
        done.recv().unwrap();
        true
    });
    let rest = remove(&fixture, 200);
    drop(ask);
    writing.join().unwrap();

    assert!(!removed.unwrap().is_nothing() || !rest.is_nothing());
    let store = fixture.store().await;
    let kinds = store.stats(None).await.unwrap();
    let counted: u64 = kinds.iter().map(|kind| kind.counts.total()).sum();
    assert_eq!(counted, 39 + (number as u64 - 1_000));
    assert!(store.record(task(1)).await.unwrap().unwrap().removed);
    let record = store.record(task(1_001)).await.unwrap().unwrap();
    assert_eq!(record.report, report(1_001, Status::Succeeded));
}

/// A letter without a task of its own.
fn letter(number: u128) -> DeadLetter {
    crate::dead::letter(Some(&number.to_string()), b"body", Vec::new())
}

/// Whoever reads for long holds up neither the writers nor, in the end, the removal.
#[tokio::test]
async fn a_partition_that_somebody_reads_is_dropped_by_a_later_call() {
    let fixture = Fixture::new(On::Postgres);
    let mut writer = fixture.writer();
    put(&mut writer, 1, entries([report(1, Status::Succeeded)]));
    newest(&mut writer);
    let reader = Held::begin(&fixture.text(), "SELECT count(*) FROM homing.log");

    let held_up = remove(&fixture, 200);
    put(&mut writer, 200, entries([report(2, Status::Succeeded)]));
    reader.commit();
    let removed = remove(&fixture, 200);

    assert_eq!(held_up.partitions, 0);
    assert!(removed.partitions > 0);
    assert!(
        fixture
            .store()
            .await
            .record(task(1))
            .await
            .unwrap()
            .unwrap()
            .removed
    );
}

#[tokio::test]
async fn two_collectors_do_not_remove_at_once() {
    let fixture = Fixture::new(On::Postgres);
    let mut writer = fixture.writer();
    put(&mut writer, 1, entries([report(1, Status::Succeeded)]));
    newest(&mut writer);
    let other = Held::begin(
        &fixture.text(),
        "SELECT pg_advisory_xact_lock(x'484F4D47'::int, 4)",
    );

    let beside = remove(&fixture, 200);
    other.commit();
    let alone = remove(&fixture, 200);

    assert!(beside.is_nothing());
    assert!(!alone.is_nothing());
}

/// Idle for years, or with a clock that is wrong: there is a partition for whatever
/// is written, and none is dropped that could be.
#[tokio::test]
async fn whatever_the_clocks_say_an_outcome_finds_its_partition() {
    let fixture = Fixture::new(On::Postgres);
    let mut writer = fixture.writer();
    let days = [1, 0, 5_000, 4_000, 2, 5_001];
    for (number, on) in (1..).zip(days) {
        put(
            &mut writer,
            on,
            entries([report(number, Status::Succeeded)]),
        );
        remove(&fixture, on);
        remove(&fixture, on + 9_000);
        remove(&fixture, 0);
    }

    let store = fixture.store().await;
    let tail = store.last(&Filter::all(), 100).await.unwrap();
    assert_eq!(tail.records.last().unwrap().report.task, task(6));
    assert_eq!(fixture.number("SELECT count(*) FROM tasks"), 6);
}

#[tokio::test]
async fn partitions_are_made_before_they_are_needed() {
    let fixture = Fixture::new(On::Postgres);
    let mut writer = fixture.writer();
    put(&mut writer, 100, entries([report(1, Status::Succeeded)]));

    remove(&fixture, 100);
    let made = fixture.number("SELECT count(*) FROM partitions");
    put(&mut writer, 107, entries([report(2, Status::Succeeded)]));

    assert_eq!(fixture.number("SELECT count(*) FROM partitions"), made);
}

#[tokio::test]
async fn what_was_removed_stays_removed_in_a_copy_and_the_rest_goes_in_its_turn() {
    let (from, to) = (Fixture::sqlite(), Fixture::new(On::Postgres));
    let mut writer = from.writer();
    put(&mut writer, 1, entries([report(1, Status::Failed)]));
    put(&mut writer, 150, entries([report(2, Status::Failed)]));
    newest(&mut writer);
    remove(&from, 200);
    drop(writer);

    copy(&from.url(), &to.url(), |_, _| {}).unwrap();
    let store = to.store().await;
    let old = store.record(task(1)).await.unwrap().unwrap();
    let young = store.record(task(2)).await.unwrap().unwrap();
    put(
        &mut to.writer(),
        299,
        entries([report(3, Status::Succeeded)]),
    );
    let removed = remove(&to, 300);
    let later = store.record(task(2)).await.unwrap().unwrap();

    assert!(old.removed);
    assert_eq!(young.report, report(2, Status::Failed));
    assert!(later.removed);
    assert_eq!((removed.runs, removed.attempts), (2, 1), "{removed:?}");
}
