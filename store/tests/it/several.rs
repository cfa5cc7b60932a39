//! Several who write into one database at once, and those who follow them.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use homing_protocol::{Report, Status};
use homing_store::{Entry, Filter, Position, Store, StoreUrl, Writer};
use rand::seq::SliceRandom as _;
use uuid::Uuid;

use crate::fixture::{Fixture, On, at, entry, report, task, write, writer};
use crate::postgres::Held;

const WRITERS: usize = 4;

/// Runs `work` with a writer in each of some threads, which begin together.
fn together(url: &StoreUrl, work: impl Fn(usize, Writer) + Send + Sync + 'static) {
    let (barrier, work) = (Arc::new(Barrier::new(WRITERS)), Arc::new(work));
    let threads = (0..WRITERS).map(|number| {
        let (url, barrier, work) = (url.clone(), Arc::clone(&barrier), Arc::clone(&work));
        thread::spawn(move || {
            barrier.wait();
            work(number, writer(&url));
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
}

#[tokio::test]
async fn an_empty_database_becomes_one_store_when_several_open_it_at_once() {
    let fixture = Fixture::new(On::Postgres);

    together(&fixture.url(), |number, mut writer| {
        write(&mut writer, &[report(number as u128, Status::Succeeded)]);
    });

    let listed = fixture.store().await.list(&Filter::all(), 100).await;
    assert_eq!(listed.unwrap().len(), WRITERS);
}

/// Each writes the same 400 reports of 100 tasks, in an order of its own.
#[tokio::test]
async fn writers_who_write_the_same_tasks_at_once_agree_and_never_block_each_other_for_good() {
    let fixture = Fixture::new(On::Postgres);
    let reports: Vec<Report> = (1..=100)
        .flat_map(|number| {
            let attempt = |status, attempt: u32| {
                let mut report = report(number, status);
                report.attempt = attempt;
                report.attempt_id = Some(Uuid::from_u128(number << 8 | u128::from(attempt)).into());
                report.batch = Some(Uuid::from_u128(7).into());
                report
            };
            [
                attempt(Status::Retrying, 1),
                attempt(Status::Retrying, 2),
                attempt(Status::Dead, 3),
                attempt(Status::Succeeded, 4),
            ]
        })
        .collect();

    together(&fixture.url(), move |_, mut writer| {
        let mut entries: Vec<_> = reports.iter().cloned().map(Entry::Report).collect();
        entries.shuffle(&mut rand::rng());
        for group in entries.chunks(37) {
            writer.write(group, at(1_000)).unwrap();
        }
    });

    let store = fixture.store().await;
    let counts = store.stats(None).await.unwrap()[0].counts;
    assert_eq!((counts.total(), counts.get(Status::Succeeded)), (100, 100));
    for number in 1..=100 {
        let found = store.task(task(number)).await.unwrap().unwrap();
        assert_eq!(found.record.report.status, Status::Succeeded);
        let mut attempts: Vec<_> = found.attempts.iter().map(|a| a.report.attempt).collect();
        attempts.sort_unstable();
        assert_eq!(attempts, [1, 2, 3]);
    }
    let finals = fixture.number("SELECT count(*) FROM log WHERE status = 'succeeded'");
    assert_eq!(finals, 100);
    let wrong = fixture.number(
        "SELECT count(*) FROM (
             SELECT batch, status, count(*) FROM tasks WHERE newest GROUP BY batch, status
             EXCEPT SELECT batch, status, tasks FROM batch_counts) wrong",
    );
    assert_eq!(wrong, 0);
}

/// Whoever follows the log while others add to it sees what is there in the end.
#[tokio::test]
async fn who_follows_several_writers_misses_nothing() {
    const GROUPS: usize = 60;
    let fixture = Fixture::new(On::Postgres);
    drop(fixture.writer());
    let (url, store) = (fixture.url(), fixture.store().await);
    let writing = thread::spawn(move || {
        together(&url, |writer, mut db| {
            for group in 0..GROUPS {
                let number = |n: usize| ((writer * GROUPS + group) * 3 + n) as u128;
                let entry = |n| Entry::Report(report(number(n), Status::Succeeded));
                let entries: Vec<_> = (0..=group % 3).map(entry).collect();
                db.write(&entries, at(1_000)).unwrap();
            }
        });
    });

    let (mut followed, mut after) = (Vec::new(), Position::START);
    let mut ended = false;
    loop {
        let tail = store.tail(&after, &Filter::all(), 7).await.unwrap();
        followed.extend(tail.records.into_iter().map(|record| record.position));
        after = tail.position;
        if tail.at_end && ended {
            break;
        }
        // Looked at once more after the last commit.
        ended = writing.is_finished();
    }
    writing.join().unwrap();

    let stored = fixture.number("SELECT count(*) FROM log");
    assert_eq!(followed.len(), usize::try_from(stored).unwrap());
    assert!(followed.is_sorted());
}

/// A writer that has its positions and does not commit.
#[tokio::test]
async fn a_position_that_is_not_committed_yet_is_never_passed() {
    let fixture = Fixture::new(On::Postgres);
    let mut writer = fixture.writer();
    write(&mut writer, &[report(1, Status::Succeeded)]);
    let store = fixture.store().await;
    let before = store.end().await.unwrap();
    let held = Held::begin(
        &fixture.text(),
        "SELECT pg_advisory_xact_lock(x'484F4D47'::int, 2);
         INSERT INTO homing.log (position, stored_at, task, run, status)
         SELECT 2, stored_at, task, run, status FROM homing.log;
         UPDATE homing.tasks SET position = 2",
    );
    let writing = thread::spawn(move || {
        write(&mut writer, &[report(3, Status::Succeeded)]);
    });
    // The second one waits for the first.
    fixture.until(
        "SELECT count(*) FROM pg_stat_activity
         WHERE wait_event_type = 'Lock' AND datname = current_database()",
        1,
    );

    let during = store.tail(&before, &Filter::all(), 10).await.unwrap();
    held.commit();
    writing.join().unwrap();
    let after = store.tail(&before, &Filter::all(), 10).await.unwrap();

    assert!(during.records.is_empty() && during.at_end);
    assert_eq!(during.position, before);
    let tasks: Vec<_> = after.records.iter().map(|r| r.report.task).collect();
    assert_eq!(tasks, [1, 3].map(task));
}

/// Such as another application's, in the same database.
#[tokio::test]
async fn a_transaction_that_is_held_open_elsewhere_holds_up_nobody() {
    let fixture = Fixture::new(On::Postgres);
    let mut writer = fixture.writer();
    let store = fixture.store().await;
    let held = Held::begin(
        &fixture.text(),
        "CREATE TABLE theirs (a int); INSERT INTO theirs VALUES (1)",
    );

    write(&mut writer, &[report(1, Status::Succeeded)]);
    let tail = store.tail(&Position::START, &Filter::all(), 10).await;

    assert_eq!(tail.unwrap().records.len(), 1);
    held.commit();
}

#[tokio::test]
async fn who_watches_is_told_of_the_commits_of_others() {
    let fixture = Fixture::new(On::Postgres);
    let mut writer = fixture.writer();
    let mut watch = fixture.store().await.watch().await.unwrap();

    for number in 1..=20 {
        write(&mut writer, &[report(number, Status::Succeeded)]);

        let told = tokio::time::timeout(Duration::from_secs(30), watch.changed()).await;
        told.unwrap().unwrap();
    }
}

/// As many as a process has: a web backend clones one handle.
#[tokio::test]
async fn many_readers_share_a_few_connections() {
    let fixture = Fixture::new(On::Postgres);
    write(&mut fixture.writer(), &[report(1, Status::Succeeded)]);
    let store: Store = fixture.store().await;

    let reads = (0..100).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.record(task(1)).await.unwrap().is_some() })
    });
    let reads: Vec<_> = reads.collect();
    for read in reads {
        assert!(read.await.unwrap());
    }

    let open = fixture.number(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'process %'
         AND datname = current_database()",
    );
    assert!((1..=5).contains(&open), "{open}");
}

/// The second one sees what the first one has committed while it waited.
#[tokio::test]
async fn the_databases_defaults_do_not_have_a_writer_see_what_was_before_its_turn() {
    let fixture = Fixture::new(On::Postgres);
    fixture.sql(
        "DO $$ BEGIN
             EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''repeatable read''',
                 current_database());
             EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',
                 current_database());
         END $$",
    );
    let writers = [fixture.writer(), fixture.writer()];
    let held = Held::begin(
        &fixture.text(),
        "SELECT pg_advisory_xact_lock(x'484F4D47'::int, 2)",
    );
    let writing = writers.map(|mut writer| {
        let entry = entry(1);
        thread::spawn(move || writer.write(&[entry], at(1_000)))
    });
    fixture.until(
        "SELECT count(*) FROM pg_stat_activity
         WHERE wait_event_type = 'Lock' AND datname = current_database()",
        2,
    );

    held.commit();

    for written in writing {
        let written = written.join().unwrap();
        assert!(written.is_ok(), "{written:?}");
    }
    assert_eq!(fixture.number("SELECT count(*) FROM log"), 1);
}
