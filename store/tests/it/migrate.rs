//! A store that an older version wrote.

use std::fs;
use std::path::Path;

use homing_protocol::{Run, Status};
use homing_store::{BatchRef, Filter, Position, Store, StoreError};
use uuid::Uuid;

use crate::fixture::{Fixture, task};

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
    assert_eq!(schema(&fixture), 4);
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
        assert_eq!(schema(&fixture), 4);
    }
}
