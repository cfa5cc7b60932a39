use std::time::Duration;

use homing_protocol::{AnyError, Status, Task};
use homing_store::{Entry, Filter, WaitError};

use crate::fixture::{Fixture, On, at, report, task, write};

crate::fixture::claims! {
    every_field_of_a_report_is_read_as_it_was_written,
    the_last_stored_is_listed_first,
    tasks_are_found_by_a_range_of_ids_each_once_and_in_order,
    a_filter_keeps_what_matches_all_of_it,
    who_waits_for_a_task_gets_its_outcome_once_it_is_stored,
    an_outcome_of_another_type_is_an_error_that_names_the_task,
    reading_goes_on_while_a_writer_writes,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Echo;

impl Task for Echo {
    const KIND: &'static str = "demo.echo";
    type Output = std::collections::BTreeMap<String, f64>;
    type Error = AnyError;
}

async fn every_field_of_a_report_is_read_as_it_was_written(on: On) {
    let fixture = Fixture::new(on);
    let mut full = report(1, Status::Exhausted);
    full.batch = Some(uuid::Uuid::from_u128(5).into());
    full.row = Some(9);
    full.correlation_id = Some("theirs ä".to_owned());
    full.error_data = Some((&b"{}"[..]).into());
    full.reason = Some(homing_protocol::Reason::CrashLoop);
    full.retry_at = Some(at(-5));
    full.output = Some((&b"\xff\x00"[..]).into());
    write(&mut fixture.writer(), std::slice::from_ref(&full));
    let store = fixture.store().await;

    let listed = store.list(&Filter::all(), 1).await.unwrap().remove(0);
    let logged = store
        .last(&Filter::all(), 1)
        .await
        .unwrap()
        .records
        .remove(0);

    assert_eq!(listed.report, full);
    assert_eq!(logged, listed);
    assert_eq!(listed.stored_at, at(1_000));
}

async fn the_last_stored_is_listed_first(on: On) {
    let fixture = Fixture::new(on);
    write(
        &mut fixture.writer(),
        &[
            report(1, Status::Retrying),
            report(2, Status::Succeeded),
            report(3, Status::Failed),
            report(1, Status::Succeeded),
        ],
    );

    let records = fixture.store().await.list(&Filter::all(), 2).await.unwrap();

    let tasks: Vec<_> = records.iter().map(|record| record.report.task).collect();
    assert_eq!(tasks, [1, 3].map(task));
}

async fn tasks_are_found_by_a_range_of_ids_each_once_and_in_order(on: On) {
    let fixture = Fixture::new(on);
    let mut again = report(3, Status::Succeeded);
    again.run = again.run.next();
    let mut reports: Vec<_> = [4, 3, 2, 1].map(|n| report(n, Status::Failed)).into();
    reports.push(again);
    write(&mut fixture.writer(), &reports);
    let store = fixture.store().await;

    let found = store.tasks_between(task(2)..=task(3), 10).await.unwrap();
    let first = store.tasks_between(task(0)..=task(9), 1).await.unwrap();

    assert_eq!(found, [task(2), task(3)]);
    assert_eq!(first, [task(1)]);
    let none = store.tasks_between(task(5)..=task(9), 10).await.unwrap();
    assert_eq!(none, []);
}

async fn a_filter_keeps_what_matches_all_of_it(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let batch = uuid::Uuid::from_u128(5).into();
    for number in 1..=6_u128 {
        let status = [Status::Succeeded, Status::Failed][number as usize % 2];
        let mut report = report(number, status);
        report.kind = ["image.resize", "mail"][number as usize / 4].to_owned();
        report.batch = (number > 1).then_some(batch);
        let now = at(number as i64 * 10);
        writer.write(&[Entry::Report(report)], now).unwrap();
    }
    let store = fixture.store().await;
    let image = || Filter::all().kind("image.*".parse().unwrap());
    let filters = [
        (Filter::all().problems(), vec![5, 3, 1]),
        (Filter::all().statuses([Status::Succeeded]), vec![6, 4, 2]),
        (Filter::all().statuses([Status::Dead]), vec![]),
        (Filter::all().kind("mail".parse().unwrap()), vec![6, 5, 4]),
        (image(), vec![3, 2, 1]),
        (image().problems(), vec![3, 1]),
        (image().problems().batch(batch), vec![3]),
        (Filter::all().problems().batch(batch), vec![5, 3]),
        (
            Filter::all().kind("mail".parse().unwrap()).problems(),
            vec![5],
        ),
        (Filter::all().since(at(40)), vec![6, 5, 4]),
        (Filter::all().problems().since(at(31)), vec![5]),
        (Filter::all().since(at(61)), vec![]),
    ];

    for (filter, expected) in filters {
        let expected: Vec<_> = expected.into_iter().map(task).collect();

        let listed = store.list(&filter, 10).await.unwrap();
        let mut logged = store.last(&filter, 10).await.unwrap().records;
        logged.reverse();

        let listed: Vec<_> = listed.iter().map(|record| record.report.task).collect();
        assert_eq!(listed, expected, "{filter:?}");
        let logged: Vec<_> = logged.iter().map(|record| record.report.task).collect();
        assert_eq!(logged, expected, "{filter:?}");
    }
}

async fn who_waits_for_a_task_gets_its_outcome_once_it_is_stored(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    write(&mut writer, &[report(1, Status::Retrying)]);
    let store = fixture.store().await;
    let waiting = tokio::spawn(async move { store.wait::<Echo>(task(1)).await });

    write(
        &mut writer,
        &[report(2, Status::Succeeded), report(1, Status::Succeeded)],
    );

    let outcome = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    let outcome = outcome.unwrap().unwrap().unwrap();
    assert_eq!(outcome.result.unwrap()["a"], 1.0);
}

async fn an_outcome_of_another_type_is_an_error_that_names_the_task(on: On) {
    let fixture = Fixture::new(on);
    let mut other = report(1, Status::Succeeded);
    other.output = Some((&b"[]"[..]).into());
    write(&mut fixture.writer(), &[other]);

    let outcome = fixture.store().await.wait::<Echo>(task(1)).await;

    assert!(matches!(outcome, Err(WaitError::Undecodable { id, .. }) if id == task(1)));
}

async fn reading_goes_on_while_a_writer_writes(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    write(&mut writer, &[report(1, Status::Succeeded)]);
    let store = fixture.store().await;
    let writing = std::thread::spawn(move || {
        for number in 2..200 {
            write(&mut writer, &[report(number, Status::Succeeded)]);
        }
    });

    let mut seen = 0;
    while seen < 199 {
        let listed = store.list(&Filter::all(), 1_000).await.unwrap().len();
        assert!(listed >= seen);
        seen = listed;
    }

    writing.join().unwrap();
}
