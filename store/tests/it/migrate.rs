//! A store that an older version wrote.

use std::fs;
use std::path::Path;

use homing_protocol::{Run, Status};
use homing_store::{
    BatchRef, Entry, Filter, Keep, Position, Store, StoreError, StoreUrl, remove_old,
};
use uuid::Uuid;

use crate::fixture::{Fixture, On, at, report, task, write};

/// Written by the version whose schema was 1: six tasks in seven runs, a batch,
/// a conflict, and two dead letters, one of them a bundle of two tasks.
const OLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/files/0001.sqlite");

fn old() -> Fixture {
    let fixture = Fixture::sqlite();
    fs::copy(Path::new(OLD), fixture.path()).unwrap();
    fixture
}

fn schema(fixture: &Fixture) -> u32 {
    let shell = fixture.shell();
    shell
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn an_older_store_is_refused_until_its_collector_has_migrated_it() {
    let fixture = old();

    let before = Store::open(&fixture.url()).await.unwrap_err();
    drop(fixture.writer());

    assert!(
        matches!(before, StoreError::Older { found: 1, .. }),
        "{before:?}"
    );
    assert_eq!(schema(&fixture), 6);
}

#[tokio::test]
async fn everything_in_an_older_store_is_there_after_it_is_migrated() {
    let fixture = old();
    drop(fixture.writer());
    let store = fixture.store().await;

    let listed = store.list(&Filter::all(), 100).await.unwrap();
    let batch = store
        .batch(&BatchRef::Id(Uuid::from_u128(77).into()))
        .await
        .unwrap()
        .unwrap();
    let dead = store.dead(10).await.unwrap();
    let log = store
        .tail(&Position::START, &Filter::all(), 100)
        .await
        .unwrap();

    let statuses: Vec<_> = listed
        .iter()
        .rev()
        .map(|record| record.report.status)
        .collect();
    assert_eq!(
        statuses,
        [
            Status::Succeeded,
            Status::Failed,
            Status::Retrying,
            Status::Succeeded,
            Status::Dead,
            Status::Dead,
        ]
    );
    assert_eq!((batch.total, batch.counts.closed()), (Some(4), 3));
    assert_eq!(log.records.len(), 7);
    assert_eq!(
        (dead[1].task, dead[1].death, dead[1].tasks),
        (Some(task(4)), 1, 1)
    );
    assert_eq!((dead[0].task, dead[0].death), (None, 0));
    let letter = store.dead_letter(dead[1].number).await.unwrap().unwrap();
    assert_eq!(letter.tasks, [(task(4), Run::FIRST)]);
    assert_eq!(&letter.body[..], b"two");
    let conflicts = store.task(task(1)).await.unwrap().unwrap().conflicts;
    assert_eq!(conflicts.len(), 1);
}

/// Whatever statement of the step the process dies at, the transaction is not
/// there afterwards: each prefix of the step is executed and cut off.
#[test]
fn a_migration_that_is_cut_off_leaves_the_old_schema_and_is_done_by_the_next() {
    let step = include_str!("../../src/sqlite/migrations/0002_repairs.sql");
    let ends: Vec<_> = step.match_indices(";\n").map(|(at, _)| at + 2).collect();
    assert!(ends.len() > 5);

    for end in ends {
        let fixture = old();
        let shell = fixture.shell();
        shell
            .execute_batch(&format!("BEGIN IMMEDIATE; {}", &step[..end]))
            .unwrap();
        drop(shell);

        assert_eq!(schema(&fixture), 1);
        drop(fixture.writer());
        assert_eq!(schema(&fixture), 6);
    }
}

/// What the version whose schema was 1 made of a failed task, one that succeeded in
/// a batch that is not sealed, and one that is tried again.
const OLD_ROWS: &str = r#"
    INSERT INTO tasks (position, task, run, newest, stored_at, kind, status, attempt,
        attempts_max, attempt_id, digest, queue, batch, "row", submitted_at, started_at,
        waited_ms, run_us, worker, content_type, error, payload, output, output_json)
    SELECT n, ('00000000-0000-0000-0000-00000000000' || n)::uuid, 1, true, n * 1000,
        'demo.echo', status, 1, 5, ('00000000-0000-0000-0001-00000000000' || n)::uuid,
        substr(sha256('[1]'), 1, 16), 'tasks', batch, n, 100, 120, 20, 3000, 'host:1', 'application/json',
        error, payload, output, convert_from(output, 'UTF8')::jsonb
    FROM (VALUES
        (1, 'failed', NULL::uuid, 'no luck', '[1]'::bytea, NULL::bytea),
        (2, 'succeeded', '00000000-0000-0000-0000-00000000004d', NULL, NULL, '{"a": 1.0}'),
        (3, 'retrying', NULL, 'not yet', NULL, NULL))
    AS t (n, status, batch, error, payload, output);
    INSERT INTO attempts (task, run, attempt_id, status, attempt, late, stored_at, attempts_max,
        queue, started_at, waited_ms, run_us, worker, content_type, error)
    SELECT task, run, attempt_id, status, attempt, false, stored_at, attempts_max, queue,
        started_at, waited_ms, run_us, worker, content_type, error
    FROM tasks WHERE status <> 'succeeded' ORDER BY position;
    INSERT INTO log SELECT t.position, t.stored_at, t.task, t.run, t.status, a.number
    FROM tasks t LEFT JOIN attempts a USING (task, run);
    INSERT INTO kind_counts SELECT kind, status, count(*) FROM tasks GROUP BY kind, status;
    INSERT INTO batch_counts SELECT batch, status, count(*) FROM tasks
    WHERE batch IS NOT NULL GROUP BY batch, status;
"#;

fn old_in_postgres() -> Fixture {
    let fixture = Fixture::new(On::Postgres);
    fixture.sql(&format!(
        "CREATE SCHEMA homing; {}; UPDATE meta SET value = 1 WHERE name = 'schema'; {OLD_ROWS}",
        include_str!("../../src/postgres/migrations/0001_store.sql")
    ));
    fixture
}

#[tokio::test]
async fn everything_in_an_older_database_is_there_after_it_is_migrated() {
    let fixture = old_in_postgres();
    let before = Store::open(&fixture.url()).await.unwrap_err();

    let mut writer = fixture.writer();
    write(&mut writer, &[report(9, Status::Succeeded)]);

    assert!(
        matches!(before, StoreError::Older { found: 1, .. }),
        "{before:?}"
    );
    let store = fixture.store().await;
    let listed = store.list(&Filter::all(), 100).await.unwrap();
    let seen: Vec<_> = listed
        .iter()
        .rev()
        .map(|record| {
            let report = &record.report;
            let text = |bytes: &Option<bytes::Bytes>| {
                bytes
                    .as_ref()
                    .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            };
            (
                report.status,
                report.error.clone(),
                text(&report.payload),
                text(&report.output),
                record.removed,
            )
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    let output = some("{\"a\": 1.0}");
    assert_eq!(
        seen,
        [
            (Status::Failed, some("no luck"), some("[1]"), None, false),
            (Status::Succeeded, None, None, output.clone(), false),
            (Status::Retrying, some("not yet"), None, None, false),
            (Status::Succeeded, None, None, output, false),
        ]
    );
    let log = store.tail(&Position::START, &Filter::all(), 100).await;
    assert_eq!(log.unwrap().records.len(), 4);
    let replayable = store.replayable(vec![task(1)]).await.unwrap();
    assert!(replayable[0].as_ref().unwrap().payload.is_some());
    let queried = fixture.number("SELECT count(*) FROM outcomes WHERE output_json IS NOT NULL");
    assert_eq!(queried, 2);
}

#[tokio::test]
async fn what_an_older_database_has_goes_by_age() {
    let fixture = old_in_postgres();
    let mut writer = fixture.writer();
    let later = at(200 * 24 * 60 * 60 * 1_000);
    let entry = Entry::Report(report(9, Status::Succeeded));
    writer.write(&[entry], later).unwrap();

    let keep = Keep::For(std::time::Duration::from_hours(24 * 90));
    let removed = remove_old(&fixture.url(), keep, later, |_| true).unwrap();

    // The one in a batch that is not finished stays.
    assert_eq!(removed.runs, 2);
    let store = fixture.store().await;
    for (number, is_removed) in [(1, true), (2, false), (3, true), (9, false)] {
        let record = store.record(task(number)).await.unwrap().unwrap();
        assert_eq!(record.removed, is_removed, "{number}");
        assert_eq!(record.report.output.is_some(), !is_removed, "{number}");
    }
    let log = store.tail(&Position::START, &Filter::all(), 100).await;
    assert_eq!(log.unwrap().records.len(), 1);
}

#[tokio::test]
async fn whoever_might_read_an_older_database_may_read_it_migrated() {
    let fixture = old_in_postgres();
    let role = format!("r{}", Uuid::new_v4().simple());
    fixture.sql(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA homing TO {role};
         GRANT SELECT ON ALL TABLES IN SCHEMA homing TO {role}"
    ));
    let text = fixture.text();
    let (_, rest) = text.rsplit_once('@').unwrap();
    let reader: StoreUrl = format!("postgres://{role}:p@{rest}").parse().unwrap();

    drop(fixture.writer());
    let store = Store::open(&reader).await.unwrap();
    let listed = store.list(&Filter::all(), 10).await;
    let log = store.last(&Filter::all(), 10).await;
    let kinds = store.kinds().await;
    drop(store);

    fixture.sql(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
    assert_eq!(listed.unwrap().len(), 3);
    assert_eq!(log.unwrap().records.len(), 3);
    assert_eq!(kinds.unwrap(), []);
}
