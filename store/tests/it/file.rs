use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use homing_protocol::Status;
use homing_store::{Entry, Filter, RepairNote, Repairs, Store, StoreError, StoreUrl, Writer};

use crate::fixture::{Fixture, at, report, write};

#[test]
fn every_file_is_for_its_owner_only() {
    let fixture = Fixture::sqlite();
    let mut writer = fixture.writer();
    write(&mut writer, &[report(1, Status::Succeeded)]);

    let modes: Vec<_> = fs::read_dir(&fixture.directory)
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();

    assert_eq!(modes, [0o600; 4], "database, log, shared memory, lock");
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let fixture = Fixture::sqlite();
    write(&mut fixture.writer(), &[report(1, Status::Succeeded)]);
    write(&mut fixture.writer(), &[report(2, Status::Succeeded)]);

    let listed = fixture
        .store()
        .await
        .list(&Filter::all(), 10)
        .await
        .unwrap();

    assert_eq!(listed.len(), 2);
}

#[tokio::test]
async fn reading_never_creates_a_store() {
    let fixture = Fixture::sqlite();

    let error = Store::open(&fixture.url()).await.unwrap_err();

    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert!(!fixture.path().exists());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let fixture = Fixture::sqlite();
    let text = "something else, and long enough for a header of one hundred bytes".repeat(3);
    fs::write(fixture.path(), &text).unwrap();

    let read = Store::open(&fixture.url()).await.unwrap_err();
    let write = Writer::open(&fixture.url()).unwrap_err();

    assert!(matches!(read, StoreError::Foreign { .. }), "{read:?}");
    assert!(matches!(write, StoreError::Foreign { .. }), "{write:?}");
    assert_eq!(fs::read_to_string(fixture.path()).unwrap(), text);
    assert_eq!(fs::read_dir(&fixture.directory).unwrap().count(), 1);
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let fixture = Fixture::sqlite();
    fixture
        .shell()
        .execute_batch("CREATE TABLE theirs (a)")
        .unwrap();

    let read = Store::open(&fixture.url()).await.unwrap_err();
    let write = Writer::open(&fixture.url()).unwrap_err();

    assert!(matches!(read, StoreError::Foreign { .. }), "{read:?}");
    assert!(matches!(write, StoreError::Foreign { .. }), "{write:?}");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let fixture = Fixture::sqlite();
    drop(fixture.writer());
    fixture
        .shell()
        .pragma_update(None, "user_version", 99)
        .unwrap();

    let read = Store::open(&fixture.url()).await.unwrap_err();
    let write = Writer::open(&fixture.url()).unwrap_err();

    assert!(
        matches!(read, StoreError::Newer { found: 99, .. }),
        "{read:?}"
    );
    assert!(
        matches!(write, StoreError::Newer { found: 99, .. }),
        "{write:?}"
    );
}

#[tokio::test]
async fn an_empty_file_becomes_a_store_once_a_collector_opens_it() {
    let fixture = Fixture::sqlite();
    fs::write(fixture.path(), "").unwrap();

    let before = Store::open(&fixture.url()).await.unwrap_err();
    drop(fixture.writer());

    assert!(
        matches!(before, StoreError::Older { found: 0, .. }),
        "{before:?}"
    );
    assert!(Store::open(&fixture.url()).await.is_ok());
}

#[test]
fn a_path_that_can_be_no_store_is_an_error_that_names_it() {
    let fixture = Fixture::sqlite();
    let nowhere = fixture.directory.join("nowhere/homing.db");

    let missing = Writer::open(&StoreUrl::sqlite(&nowhere)).unwrap_err();
    let directory = Writer::open(&StoreUrl::sqlite(&fixture.directory)).unwrap_err();

    assert!(matches!(&missing, StoreError::NoDirectory { path } if *path == nowhere));
    assert!(
        matches!(&directory, StoreError::Foreign { store, .. } if *store == fixture.directory.clone().into()),
        "{directory:?}"
    );
}

#[tokio::test]
async fn nothing_is_proven_stored_in_a_file_that_was_removed() {
    let fixture = Fixture::sqlite();
    let mut writer = fixture.writer();
    fs::remove_file(fixture.path()).unwrap();

    let written = writer.write(&[Entry::Report(report(1, Status::Succeeded))], at(1));

    assert!(matches!(written, Err(StoreError::Gone { .. })));
}

#[tokio::test]
async fn a_reader_notices_that_the_file_was_replaced() {
    let fixture = Fixture::sqlite();
    write(&mut fixture.writer(), &[report(1, Status::Succeeded)]);
    let store = fixture.store().await;
    assert_eq!(store.list(&Filter::all(), 10).await.unwrap().len(), 1);

    for name in fs::read_dir(&fixture.directory).unwrap() {
        fs::remove_file(name.unwrap().path()).unwrap();
    }
    drop(fixture.writer());

    assert_eq!(store.list(&Filter::all(), 10).await.unwrap().len(), 0);
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    let path = || std::path::PathBuf::from("/data/homing.db");
    let store = || path().into();
    let io = || std::io::ErrorKind::PermissionDenied.into();
    let texts = [
        (
            StoreError::Missing { store: store() },
            "no store here: /data/homing.db does not exist",
        ),
        (
            StoreError::NoDirectory { path: path() },
            "cannot create the store /data/homing.db: its directory does not exist",
        ),
        (
            StoreError::Foreign {
                store: store(),
                what: "it is another program's database",
            },
            "/data/homing.db is not a store of Homing: it is another program's database",
        ),
        (
            StoreError::Newer {
                store: store(),
                found: 2,
                supported: 1,
            },
            "the store /data/homing.db has schema 2, but this version reads up to 1: use a newer one",
        ),
        (
            StoreError::Unwritable {
                path: path(),
                source: io(),
            },
            "cannot write the store /data/homing.db",
        ),
        (
            StoreError::Full { store: store() },
            "no space left for the store /data/homing.db",
        ),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test]
async fn a_store_is_never_created_or_migrated_by_a_repair() {
    let fixture = Fixture::sqlite();

    let missing = Repairs::replay(&fixture.url(), RepairNote::default()).unwrap_err();
    fs::write(fixture.path(), "").unwrap();
    let empty = Repairs::discard(&fixture.url(), &[1], &RepairNote::default(), at(1)).unwrap_err();

    assert!(matches!(missing, StoreError::Missing { .. }), "{missing:?}");
    assert!(matches!(empty, StoreError::Older { .. }), "{empty:?}");
}
