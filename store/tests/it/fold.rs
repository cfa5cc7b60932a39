use homing_protocol::{ContentType, Digest, Report, Run, Status};
use homing_store::{Entry, Filter, Position, StoreError};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use uuid::Uuid;

use crate::fixture::{Fixture, On, at, report, task, write};

crate::fixture::claims! {
    a_report_that_comes_again_changes_nothing,
    the_first_outcome_stays_and_a_later_one_is_kept_beside_it,
    four_reports_come_to_the_same_in_all_24_orders,
    every_error_of_a_task_is_kept,
    an_attempt_that_comes_after_the_outcome_does_not_reopen_the_task,
    a_late_success_takes_the_place_of_a_dead_letter,
    another_payload_with_the_same_id_is_a_conflict_and_stays_beside,
    a_later_run_is_the_one_that_counts_in_whatever_order_they_come,
    whatever_is_reported_is_stored_and_counted,
    a_group_comes_to_the_same_as_its_reports_one_by_one,
}

fn statuses(reports: impl IntoIterator<Item = Report>) -> Vec<Status> {
    reports.into_iter().map(|report| report.status).collect()
}

async fn a_report_that_comes_again_changes_nothing(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let reports = [
        report(1, Status::Retrying),
        report(1, Status::Failed),
        report(2, Status::Succeeded),
        report(3, Status::Expired),
        report(3, Status::Succeeded),
    ];
    write(&mut writer, &reports);
    let store = fixture.store().await;
    let before = (
        store.last(&Filter::all(), 100).await.unwrap().records,
        store.stats(None).await.unwrap(),
        store.task(task(3)).await.unwrap(),
    );

    write(&mut writer, &reports);
    let entries: Vec<_> = reports.into_iter().rev().map(Entry::Report).collect();
    writer.write(&entries, at(2_000)).unwrap();

    let after = (
        store.last(&Filter::all(), 100).await.unwrap().records,
        store.stats(None).await.unwrap(),
        store.task(task(3)).await.unwrap(),
    );
    assert_eq!(before, after);
    assert_eq!(after.0.len(), 5);
}

async fn the_first_outcome_stays_and_a_later_one_is_kept_beside_it(on: On) {
    let fixture = Fixture::new(on);
    write(
        &mut fixture.writer(),
        &[report(1, Status::Failed), report(1, Status::Succeeded)],
    );

    let task = fixture.store().await.task(task(1)).await.unwrap().unwrap();

    assert_eq!(task.record.report, report(1, Status::Failed));
    let late: Vec<_> = task.attempts.iter().map(|attempt| attempt.late).collect();
    assert_eq!(late, [false, true]);
    assert_eq!(
        task.attempts[1].report.output,
        report(1, Status::Succeeded).output
    );
}

/// Two attempts that fail, a dead letter, and a success: in each of their 24
/// orders, each of them also twice.
async fn four_reports_come_to_the_same_in_all_24_orders(on: On) {
    let attempt = |status, number: u32| {
        let mut report = report(1, status);
        report.attempt = number;
        report.attempt_id = Some(Uuid::from_u128(number.into()).into());
        report
    };
    let reports = [
        attempt(Status::Retrying, 1),
        attempt(Status::Retrying, 2),
        attempt(Status::Dead, 3),
        attempt(Status::Succeeded, 4),
    ];
    let mut orders = 0;
    for order in (0..256_usize).map(|n| [n & 3, n >> 2 & 3, n >> 4 & 3, n >> 6]) {
        if (0..4).any(|place| !order.contains(&place)) {
            continue;
        }
        orders += 1;
        let fixture = Fixture::new(on);
        let sorted = order.map(|place| reports[place].clone());
        let twice = [&sorted[..], &sorted[..]].concat();

        write(&mut fixture.writer(), &twice);

        let store = fixture.store().await;
        let task = store.task(task(1)).await.unwrap().unwrap();
        assert_eq!(task.record.report, reports[3], "{order:?}");
        let mut failed: Vec<_> = task.attempts.iter().map(|a| a.report.attempt).collect();
        failed.sort_unstable();
        failed.dedup();
        assert_eq!(failed, [1, 2, 3], "{order:?}");
        let log = store.last(&Filter::all(), 100).await.unwrap().records;
        let finals = statuses(log.into_iter().map(|record| record.report));
        let finals = finals.into_iter().filter(|status| status.is_final());
        assert_eq!(finals.collect::<Vec<_>>(), [Status::Succeeded], "{order:?}");
    }
    assert_eq!(orders, 24);
}

async fn every_error_of_a_task_is_kept(on: On) {
    let fixture = Fixture::new(on);
    let reports: Vec<_> = (1..=3)
        .map(|attempt| {
            let status = [Status::Retrying, Status::Retrying, Status::Exhausted];
            let mut report = report(1, status[attempt as usize - 1]);
            report.attempt = attempt;
            report.attempt_id = Some(Uuid::from_u128(u128::from(attempt)).into());
            report.error = Some(format!("error {attempt}"));
            report
        })
        .collect();
    write(&mut fixture.writer(), &reports);

    let task = fixture.store().await.task(task(1)).await.unwrap().unwrap();

    let errors: Vec<_> = task.attempts.into_iter().map(|a| a.report.error).collect();
    assert_eq!(errors, [1, 2, 3].map(|n| Some(format!("error {n}"))));
    assert_eq!(task.record.report, reports[2]);
}

async fn an_attempt_that_comes_after_the_outcome_does_not_reopen_the_task(on: On) {
    let fixture = Fixture::new(on);
    write(
        &mut fixture.writer(),
        &[report(1, Status::Succeeded), report(1, Status::Retrying)],
    );
    let store = fixture.store().await;

    let task = store.task(task(1)).await.unwrap().unwrap();

    assert_eq!(task.record.report.status, Status::Succeeded);
    assert_eq!(task.attempts.len(), 1);
    assert_eq!(
        store.last(&Filter::all(), 10).await.unwrap().records.len(),
        1
    );
}

async fn a_late_success_takes_the_place_of_a_dead_letter(on: On) {
    let fixture = Fixture::new(on);
    let mut dead = report(1, Status::Dead);
    dead.kind = "?".to_owned();
    write(
        &mut fixture.writer(),
        &[dead.clone(), report(1, Status::Succeeded), dead],
    );
    let store = fixture.store().await;

    let log = store.last(&Filter::all(), 10).await.unwrap().records;
    let log = statuses(log.into_iter().map(|record| record.report));

    assert_eq!(log, [Status::Dead, Status::Succeeded]);
    let stats = store.stats(None).await.unwrap();
    assert_eq!(stats.len(), 1);
    assert_eq!(stats[0].kind, "demo.echo");
    assert_eq!(stats[0].counts.total(), 1);
}

async fn another_payload_with_the_same_id_is_a_conflict_and_stays_beside(on: On) {
    let fixture = Fixture::new(on);
    let mut other = report(1, Status::Succeeded);
    other.digest = Digest::of(b"other");
    write(
        &mut fixture.writer(),
        &[report(1, Status::Failed), other.clone(), other.clone()],
    );
    let store = fixture.store().await;

    let task = store.task(task(1)).await.unwrap().unwrap();

    assert_eq!(task.record.report, report(1, Status::Failed));
    assert_eq!(task.conflicts.len(), 1);
    assert_eq!(task.conflicts[0].report, other);
}

async fn a_later_run_is_the_one_that_counts_in_whatever_order_they_come(on: On) {
    let mut second = report(1, Status::Succeeded);
    second.run = Run::FIRST.next();
    let first = report(1, Status::Failed);
    for order in [
        [first.clone(), second.clone()],
        [second.clone(), first.clone()],
    ] {
        let fixture = Fixture::new(on);
        let mut writer = fixture.writer();
        fixture.begin(1, second.run);
        write(&mut writer, &order);
        let store = fixture.store().await;

        let task = store.task(task(1)).await.unwrap().unwrap();

        assert_eq!(task.record.report, second);
        assert_eq!(task.earlier[0].report, first);
        let counts = store.stats(None).await.unwrap()[0].counts;
        assert_eq!((counts.total(), counts.get(Status::Succeeded)), (1, 1));
        assert_eq!(store.list(&Filter::all(), 10).await.unwrap().len(), 1);
    }
}

fn any_report() -> impl Strategy<Value = Report> {
    let ids = (1_u128..4, 1_u32..3, prop::sample::select(&Status::ALL[1..]));
    let numbers = (any::<u64>(), any::<u64>(), any::<i64>(), any::<u32>());
    let texts = (".{0,20}", ".{0,20}", prop::option::of(".{0,20}"));
    let bytes = prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
    let rest = (any::<bool>(), prop::option::of(0_u128..2), bytes, 0_u128..4);
    (ids, numbers, texts, rest).prop_map(|(ids, numbers, texts, rest)| {
        let digest = Digest::of(&(ids.0 + u128::from(numbers.3 == 0)).to_be_bytes());
        let run = Run::new(ids.1).unwrap();
        let mut report = Report::bare(task(ids.0), run, texts.0, ids.2, digest);
        report.attempt_id = (rest.3 > 0).then(|| Uuid::from_u128(rest.3).into());
        report.attempt = numbers.3;
        report.row = Some(numbers.0);
        report.waited_ms = numbers.0;
        report.run_us = numbers.1;
        report.submitted_at = at(numbers.2);
        report.worker = texts.1;
        report.correlation_id = texts.2.clone();
        report.error = texts.2;
        report.content_type = if rest.0 {
            ContentType::Json
        } else {
            ContentType::MessagePack
        };
        report.batch = rest.1.map(|id| Uuid::from_u128(id).into());
        report.output = rest.2.clone().map(Into::into);
        report.payload = rest.2.map(Into::into);
        report
    })
}

/// No report that can be decoded is refused by the schema, so none can stop the
/// others; and the counts are those of the rows, whatever came.
async fn whatever_is_reported_is_stored_and_counted(on: On) {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let reports = prop::collection::vec(any_report(), 1..24);

    let tested = runner.run(&reports, |reports| stored_and_counted(on, reports));

    assert_eq!(tested, Ok(()));
}

fn stored_and_counted(on: On, reports: Vec<Report>) -> Result<(), TestCaseError> {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    // Of the others nobody began a second run.
    fixture.begin(1, Run::FIRST.next());
    let entries: Vec<_> = reports.into_iter().map(Entry::Report).collect();

    for group in entries.chunks(5) {
        let written = writer.write(group, at(1));
        prop_assert!(written.is_ok(), "{written:?}");
    }

    let wrong = fixture.number(
        "SELECT count(*) FROM (
             SELECT kind, status, count(*) FROM tasks WHERE newest GROUP BY kind, status
             EXCEPT SELECT kind, status, tasks FROM kind_counts) wrong",
    );
    prop_assert_eq!(wrong, 0);
    let newest = fixture.number("SELECT count(*) FROM tasks WHERE newest");
    let counted = fixture.number("SELECT coalesce(sum(tasks), 0) FROM kind_counts");
    let logged = fixture.number("SELECT count(*) FROM tasks t JOIN log USING (position)");
    prop_assert_eq!(newest, counted);
    prop_assert!(logged >= newest);
    let read = std::thread::scope(|scope| {
        let read = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let store = fixture.store().await;
                let tail = store.tail(&Position::START, &Filter::all(), 100).await?;
                Ok::<_, StoreError>((tail, store.list(&Filter::all(), 100).await?))
            })
        });
        read.join().unwrap()
    });
    let read = read.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let (tail, listed) = read;
    prop_assert!(tail.at_end);
    for record in listed {
        let texts = |report: &Report| {
            let (kind, worker, error) = (&report.kind, &report.worker, &report.error);
            (
                kind.clone(),
                worker.clone(),
                error.clone(),
                report.output.clone(),
            )
        };
        let written = entries.iter().any(|entry| {
            matches!(entry, Entry::Report(report) if texts(report) == texts(&record.report))
        });
        prop_assert!(written, "{record:?}");
    }
    Ok(())
}

/// Successes, which are stored several at a time, among them some of tasks of which
/// something is stored, or that are in the group twice.
async fn a_group_comes_to_the_same_as_its_reports_one_by_one(on: On) {
    let mut group: Vec<_> = (1..60).map(|n| report(n, Status::Succeeded)).collect();
    group[20] = report(3, Status::Succeeded);
    group[37] = report(36, Status::Succeeded);
    group[40].digest = Digest::of(b"another payload");
    let before = [
        report(1, Status::Succeeded),
        report(16, Status::Retrying),
        report(33, Status::Failed),
        report(41, Status::Succeeded),
    ];
    let mut found = Vec::new();
    for at_once in [group.len(), 1] {
        let fixture = Fixture::new(on);
        let mut writer = fixture.writer();
        write(&mut writer, &before);
        for reports in group.chunks(at_once) {
            let entries: Vec<_> = reports.iter().cloned().map(Entry::Report).collect();
            writer.write(&entries, at(1_000)).unwrap();
        }
        let store = fixture.store().await;
        let log = store.last(&Filter::all(), 100).await.unwrap().records;
        let log = log
            .into_iter()
            .map(|record| (record.report.task, record.report.status));
        let mut log: Vec<_> = log.collect();
        log.sort_unstable_by_key(|(task, status)| (*task, *status as u8));
        let mut tasks = Vec::new();
        for n in 1..60 {
            let task = store.task(task(n)).await.unwrap();
            tasks.push(task.map(|task| {
                (
                    task.record.report,
                    task.attempts.len(),
                    task.conflicts.len(),
                )
            }));
        }
        found.push((log, tasks, store.stats(None).await.unwrap()));
    }

    assert_eq!(found[0], found[1]);
    // 57 tasks, one of which was tried before.
    assert_eq!(found[0].0.len(), 58);
}
