use homing_protocol::KindRecord;
use homing_store::{Entry, Filter, Position};

use crate::fixture::{Fixture, On, at};

crate::fixture::claims! {
    the_schema_of_a_kind_is_the_one_that_was_declared_last,
    a_schema_that_is_declared_again_changes_nothing,
    a_clock_that_is_ahead_outranks_nobody,
    a_schema_is_no_outcome,
}

fn record(kind: &str, schema: &str, ms: i64) -> KindRecord {
    KindRecord {
        kind: kind.parse().unwrap(),
        schema: schema.parse().unwrap(),
        at: at(ms),
    }
}

/// A store in which these were written one after the other, at 1 s.
fn declared(on: On, records: &[KindRecord]) -> Fixture {
    let fixture = Fixture::new(on);
    let mut writer = fixture.writer();
    for record in records {
        let entry = Entry::Kind(record.clone());
        writer.write(&[entry], at(1_000)).unwrap();
    }
    fixture
}

async fn the_schema_of_a_kind_is_the_one_that_was_declared_last(on: On) {
    let newest = record("b", r#"{"title": "né\u0000", "a": 1}"#, 30);
    let other = record("a", "true", 5);
    let records = [
        record("b", "{}", 20),
        newest.clone(),
        record("b", "false", 10),
        other.clone(),
    ];
    let fixture = declared(on, &records);
    let store = fixture.store().await;

    assert_eq!(store.kinds().await.unwrap(), [other, newest.clone()]);
    assert_eq!(store.kind(&newest.kind).await.unwrap(), Some(newest));
    assert_eq!(store.kind(&"c".parse().unwrap()).await.unwrap(), None);
}

async fn a_schema_that_is_declared_again_changes_nothing(on: On) {
    let fixture = declared(on, &[record("a", "{}", 20), record("a", "true", 20)]);
    let both = [record("a", "{}", 20), record("a", "{}", 20)].map(Entry::Kind);
    fixture.writer().write(&both, at(2_000)).unwrap();

    let kinds = fixture.store().await.kinds().await.unwrap();

    assert_eq!(kinds, [record("a", "{}", 20)]);
}

async fn a_clock_that_is_ahead_outranks_nobody(on: On) {
    let fixture = declared(on, &[record("a", "false", i64::MAX)]);
    let later = record("a", "true", 1_500);
    fixture
        .writer()
        .write(&[Entry::Kind(later.clone())], at(2_000))
        .unwrap();

    let kinds = fixture.store().await.kinds().await.unwrap();

    assert_eq!(kinds, [later]);
}

async fn a_schema_is_no_outcome(on: On) {
    let fixture = declared(on, &[record("a", "{}", 20)]);
    let store = fixture.store().await;

    let log = store
        .tail(&Position::START, &Filter::all(), 10)
        .await
        .unwrap();

    assert_eq!(log.records, []);
    assert_eq!(store.stats(None).await.unwrap().len(), 0);
    assert_eq!(store.list(&Filter::all(), 10).await.unwrap(), []);
}
