//! A file that is no longer what it was.

use std::fs;

use homing_protocol::Status;
use homing_store::{DeadFilter, Filter, Opened, Position, Store, StoreError, Writer};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::fixture::{Fixture, report, task, write};

/// Bytes of the header of a database: the magic, the page size, and more.
const HEADER: usize = 100;

/// A store with a few hundred tasks, in the file alone.
fn filled() -> Fixture {
    let fixture = Fixture::sqlite();
    let mut writer = fixture.writer();
    let statuses = [Status::Succeeded, Status::Failed, Status::Dead];
    let reports: Vec<_> = (1..=300)
        .map(|number| report(number, statuses[number as usize % 3]))
        .collect();
    write(&mut writer, &reports);
    drop(writer);
    fixture
}

#[test]
fn a_damaged_file_is_refused_and_left_alone() {
    let fixture = filled();
    let mut bytes = fs::read(fixture.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 5_000].fill(0xa5);
    fs::write(fixture.path(), &bytes).unwrap();

    let error = Writer::open(&fixture.url()).unwrap_err();

    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert_eq!(fs::read(fixture.path()).unwrap(), bytes);
}

/// Whatever bit turns, each call answers or says that it cannot.
#[tokio::test]
async fn a_turned_bit_is_an_error_or_changes_nothing_but_never_a_panic() {
    let fixture = filled();
    let whole = fs::read(fixture.path()).unwrap();
    let mut refused = 0;
    for seed in 0..150 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bytes = whole.clone();
        for _ in 0..8 {
            let at = rng.random_range(HEADER..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
        }
        fs::write(fixture.path(), &bytes).unwrap();

        read(&fixture).await;
        match Writer::open(&fixture.url()) {
            Ok(Opened::Ready(mut writer)) => {
                let entry = homing_store::Entry::Report(report(900, Status::Failed));
                let _written = writer.write(&[entry], crate::fixture::at(1));
            }
            Ok(Opened::Standby(_)) => panic!("nobody else writes"),
            Err(_) => refused += 1,
        }
        for beside in ["homing.db-wal", "homing.db-shm"] {
            let _none = fs::remove_file(fixture.directory.join(beside));
        }
    }

    assert!(refused > 0, "8 of {} bits never hurt", whole.len() * 8);
}

/// Asks for everything. The answers are of no interest.
async fn read(fixture: &Fixture) {
    let Ok(store) = Store::open(&fixture.url()).await else {
        return;
    };
    let all = Filter::all();
    let _answers = (
        store.list(&all, 1_000).await.map(|records| {
            let outputs = records.iter().map(|record| record.output_json());
            outputs.count()
        }),
        store.list(&all.clone().problems(), 1_000).await,
        store.stats(None).await.map(|kinds| {
            let totals = kinds.iter().map(|kind| kind.counts.total());
            totals.fold(0, u64::saturating_add)
        }),
        store.tail(&Position::START, &all, 1_000).await,
        store.dead_matching(&DeadFilter::default(), 10).await,
        store.batches(None, 10).await,
        store.task(task(2)).await,
        store.replayable(vec![task(1), task(2)]).await,
    );
}
