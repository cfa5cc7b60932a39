use std::time::Duration;

use homing_protocol::Status;
use homing_store::{Filter, Position, StoreError};

use crate::fixture::{Fixture, On, report, task, write};

crate::fixture::claims! {
    following_in_parts_gives_every_entry_once_and_in_order,
    an_entry_stays_as_it_was_when_its_task_goes_on,
    what_a_filter_drops_is_not_looked_at_again,
    a_position_the_log_does_not_reach_is_an_error_that_names_it,
    an_empty_log_has_an_end,
    no_commit_is_missed_between_looking_and_waiting,
}

async fn following_in_parts_gives_every_entry_once_and_in_order(on: On) {
    let fixture = Fixture::new(on);
    let reports: Vec<_> = (1..=7)
        .map(|number| report(number, Status::Succeeded))
        .collect();
    write(&mut fixture.writer(), &reports);
    let store = fixture.store().await;

    let (mut tasks, mut after) = (Vec::new(), Position::START);
    loop {
        let tail = store.tail(&after, &Filter::all(), 3).await.unwrap();
        tasks.extend(tail.records.iter().map(|record| record.report.task));
        after = tail.position;
        if tail.at_end {
            break;
        }
    }

    assert_eq!(tasks, (1..=7).map(task).collect::<Vec<_>>());
    assert_eq!(after, store.end().await.unwrap());
}

async fn an_entry_stays_as_it_was_when_its_task_goes_on(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    write(&mut writer, &[report(1, Status::Retrying)]);
    let store = fixture.store().await;
    let before = store
        .tail(&Position::START, &Filter::all(), 1)
        .await
        .unwrap();

    write(&mut writer, &[report(1, Status::Failed)]);

    let after = store
        .tail(&Position::START, &Filter::all(), 1)
        .await
        .unwrap();
    assert_eq!(after.records, before.records);
    assert_eq!(after.records[0].report, report(1, Status::Retrying));
    assert!(!after.at_end);
}

async fn what_a_filter_drops_is_not_looked_at_again(on: On) {
    let fixture = Fixture::new(on);
    let reports: Vec<_> = (1..=5)
        .map(|number| report(number, Status::Succeeded))
        .collect();
    write(&mut fixture.writer(), &reports);
    let store = fixture.store().await;

    let filter = Filter::all().problems();
    let tail = store.tail(&Position::START, &filter, 3).await.unwrap();

    assert!(tail.records.is_empty() && tail.at_end);
    assert_eq!(tail.position, store.end().await.unwrap());
}

async fn a_position_the_log_does_not_reach_is_an_error_that_names_it(on: On) {
    let fixture = Fixture::new(on);
    write(&mut fixture.writer(), &[report(1, Status::Succeeded)]);
    let store = fixture.store().await;

    let tail = store.tail(&"7".parse().unwrap(), &Filter::all(), 1).await;

    let error = tail.unwrap_err();
    assert!(matches!(error, StoreError::Position { .. }));
    assert_eq!(
        error.to_string(),
        "the log has no position 7: it goes from 0 to 1"
    );
    assert!("-1".parse::<Position>().is_err());
}

async fn an_empty_log_has_an_end(on: On) {
    let fixture = Fixture::new(on);
    drop(fixture.writer());
    let store = fixture.store().await;

    let tail = store
        .tail(&Position::START, &Filter::all(), 10)
        .await
        .unwrap();

    assert!(tail.records.is_empty() && tail.at_end);
    assert_eq!(tail.position, Position::START);
    assert_eq!(
        store.last(&Filter::all(), 5).await.unwrap().position,
        Position::START
    );
}

async fn no_commit_is_missed_between_looking_and_waiting(on: On) {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    let store = fixture.store().await;
    let mut watch = store.watch().await.unwrap();
    let before = store.end().await.unwrap();

    write(&mut writer, &[report(1, Status::Succeeded)]);

    let changed = tokio::time::timeout(Duration::from_secs(30), watch.changed()).await;
    changed.unwrap().unwrap();
    assert!(store.end().await.unwrap() > before);
}
