//! A store that is copied from a file into a database.

use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use homing_protocol::{BatchEvent, BatchRecord, Digest, KindRecord, Report, Run, Status};
use homing_store::{
    BatchRef, CopyError, Entry, Filter, NewRun, Position, RepairNote, Repairs, Store, StoreError,
    Turn, Writer, copy,
};
use uuid::Uuid;

use crate::fixture::{Fixture, On, at, entry, report, task, write, writer};

/// A store with some of everything, and `count` tasks that succeeded.
fn filled(count: u128) -> Fixture {
    let fixture = Fixture::sqlite();
    let mut writer = fixture.writer();
    let mut odd = report(1, Status::Failed);
    odd.error = Some("zero \0 and substitute \u{1a}".to_owned());
    odd.batch = Some(Uuid::from_u128(9).into());
    odd.row = Some(1);
    let mut other = report(1, Status::Succeeded);
    other.digest = Digest::of(b"other");
    let reports = [
        report(1, Status::Retrying),
        odd,
        other,
        report(2, Status::Expired),
        report(2, Status::Succeeded),
    ];
    // The first one has no batch: what took its place has.
    let reports = reports.map(|mut report| {
        if report.task == task(1) && report.digest != Digest::of(b"other") {
            report.batch = Some(Uuid::from_u128(9).into());
            report.row = Some(1);
        }
        report
    });
    write(&mut writer, &reports);
    let sealed = BatchRecord {
        batch: Uuid::from_u128(9).into(),
        label: "night".to_owned(),
        event: BatchEvent::Sealed {
            total: 1,
            ids: None,
        },
        at: at(20),
    };
    let many = (100..100 + count).map(entry);
    let kind = KindRecord {
        kind: "demo.echo".parse().unwrap(),
        schema: r#"{"pattern": "\\u0000"}"#.parse().unwrap(),
        at: at(30),
    };
    let records = [Entry::Batch(sealed), Entry::Kind(kind)];
    let entries: Vec<_> = records.into_iter().chain(many).collect();
    writer.write(&entries, at(2_000)).unwrap();
    fixture
}

/// All that a store answers.
async fn all(store: &Store) -> impl PartialEq + std::fmt::Debug + use<> {
    let log = store.tail(&Position::START, &Filter::all(), 100_000).await;
    (
        log.unwrap().records,
        store.list(&Filter::all(), 100_000).await.unwrap(),
        store.stats(None).await.unwrap(),
        store.batches(None, 10).await.unwrap(),
        store
            .audit_batch(&BatchRef::Label("night".to_owned()))
            .await
            .unwrap(),
        store.task(task(1)).await.unwrap(),
        store.dead(10).await.unwrap(),
        store.kinds().await.unwrap(),
        store.end().await.unwrap(),
    )
}

#[tokio::test]
async fn a_copy_answers_as_the_file_it_was_made_from_and_goes_on_from_there() {
    let (file, database) = (filled(20), Fixture::new(On::Postgres));

    let copied = copy(&file.url(), &database.url(), |_, _| {}).unwrap();

    let (from, to) = (file.store().await, database.store().await);
    assert_eq!(all(&from).await, all(&to).await);
    assert_eq!(copied.tasks, 22);
    // The next positions and numbers follow.
    let more: [Report; 2] = [report(3, Status::Failed), report(4, Status::Dead)];
    write(&mut file.writer(), &more);
    write(&mut database.writer(), &more);
    assert_eq!(all(&from).await, all(&to).await);
}

#[tokio::test]
async fn a_copy_that_is_cut_off_is_no_store_and_goes_on_where_it_ended() {
    let (file, database) = (filled(12_000), Fixture::new(On::Postgres));
    let parts = AtomicU64::new(0);

    let cut = std::panic::catch_unwind(|| {
        copy(&file.url(), &database.url(), |_, _| {
            assert!(parts.fetch_add(1, Ordering::Relaxed) < 1, "cut off");
        })
    });
    let read = Store::open(&database.url()).await;
    let write = Writer::open(&database.url());
    let mut least = u64::MAX;
    let copied = copy(&file.url(), &database.url(), |rows, _| {
        least = least.min(rows)
    });

    assert!(cut.is_err());
    for refused in [read.map(drop), write.map(drop)] {
        assert!(
            matches!(refused, Err(StoreError::Foreign { .. })),
            "{refused:?}"
        );
    }
    assert!(copied.is_ok(), "{copied:?}");
    assert!(least > 10_000, "{least}");
    let (from, to) = (file.store().await, database.store().await);
    assert_eq!(all(&from).await, all(&to).await);
}

/// Those that were connected to the database, still empty, before the copy began.
#[tokio::test]
async fn who_was_there_before_a_copy_writes_nothing_into_it_until_it_is_finished() {
    let (file, database) = (filled(20), Fixture::new(On::Postgres));
    let mut collector = database.writer();
    let Turn::Ours(mut repairs) = Repairs::replay(&database.url(), RepairNote::default()).unwrap()
    else {
        panic!("nobody else replays");
    };
    let entry = entry(9_999);
    let run = NewRun::new(&crate::repair::envelope(1), "tasks", None, None);
    let mut refused = Vec::new();

    let copied = copy(&file.url(), &database.url(), |_, _| {
        refused.push(collector.write(slice::from_ref(&entry), at(1)).map(drop));
        refused.push(repairs.begin(slice::from_ref(&run), at(1)).map(drop));
    });

    assert!(copied.is_ok(), "{copied:?}");
    assert!(refused.len() >= 2);
    for refused in refused {
        assert!(
            matches!(refused, Err(StoreError::Foreign { .. })),
            "{refused:?}"
        );
    }
    let (from, to) = (file.store().await, database.store().await);
    assert_eq!(all(&from).await, all(&to).await);
    write(&mut collector, &[report(3, Status::Succeeded)]);
    write(&mut file.writer(), &[report(3, Status::Succeeded)]);
    assert_eq!(all(&from).await, all(&to).await);
}

/// A copy of `file` into `database` that ends after its first part.
fn cut_off(file: &Fixture, database: &Fixture) {
    let cut =
        std::panic::catch_unwind(|| copy(&file.url(), &database.url(), |_, _| panic!("cut off")));
    assert!(cut.is_err());
}

/// A task that was copied moves to the end of the log.
#[tokio::test]
async fn a_copy_whose_file_has_changed_since_it_was_cut_off_begins_anew() {
    let (file, database) = (filled(1), Fixture::new(On::Postgres));
    write(&mut file.writer(), &[report(50, Status::Retrying)]);
    let many = (1_000..7_000).map(entry);
    let many: Vec<_> = many.collect();
    file.writer().write(&many, at(3_000)).unwrap();
    cut_off(&file, &database);
    let mut later = report(50, Status::Succeeded);
    later.attempt = 2;
    write(&mut file.writer(), &[later]);

    let copied = copy(&file.url(), &database.url(), |_, _| {});

    assert!(copied.is_ok(), "{copied:?}");
    let (from, to) = (file.store().await, database.store().await);
    assert_eq!(all(&from).await, all(&to).await);
}

/// As by somebody who tidies up in the database meanwhile.
#[tokio::test]
async fn a_copy_that_lacks_a_row_is_told_and_is_no_store() {
    let (file, database) = (filled(12_000), Fixture::new(On::Postgres));
    cut_off(&file, &database);
    database.sql("DELETE FROM tasks WHERE position = (SELECT min(position) FROM tasks)");

    let copied = copy(&file.url(), &database.url(), |_, _| {});
    let read = Store::open(&database.url()).await;

    let Err(CopyError::Differs {
        table: "tasks",
        rows,
        copied,
    }) = copied
    else {
        panic!("{copied:?}");
    };
    assert_eq!(copied, rows - 1);
    assert!(matches!(read, Err(StoreError::Foreign { .. })), "{read:?}");
}

/// Such as for the size of a table.
#[tokio::test]
async fn a_copy_may_take_as_long_as_it_takes() {
    let (file, database) = (filled(6_000), Fixture::new(On::Postgres));
    cut_off(&file, &database);
    database.sql(
        "CREATE TABLE public.seen (setting text);
         CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.seen VALUES (current_setting('statement_timeout'));
             RETURN new; END $$;
         CREATE TRIGGER look BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION public.look()",
    );

    copy(&file.url(), &database.url(), |_, _| {}).unwrap();

    let bounded = database.number("SELECT count(*) FROM public.seen WHERE setting <> '0'");
    assert_eq!(bounded, 0);
    assert!(database.number("SELECT count(*) FROM public.seen") > 0);
}

/// Whose statistics cannot be made.
#[tokio::test]
async fn a_copy_does_not_fail_for_another_programs_table() {
    let (file, database) = (filled(20), Fixture::new(On::Postgres));
    database.sql(
        "CREATE TABLE public.broken (at int);
         CREATE FUNCTION public.fails(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT 1 FROM public.broken) THEN RAISE 'broken'; END IF;
             RETURN a; END $$;
         CREATE TABLE public.theirs (a int);
         INSERT INTO public.theirs SELECT generate_series(1, 100);
         CREATE INDEX ON public.theirs (public.fails(a));
         INSERT INTO public.broken VALUES (1)",
    );

    let copied = copy(&file.url(), &database.url(), |_, _| {});

    assert!(copied.is_ok(), "{copied:?}");
    let (from, to) = (file.store().await, database.store().await);
    assert_eq!(all(&from).await, all(&to).await);
}

#[tokio::test]
async fn a_copy_of_another_file_takes_the_place_of_one_that_was_cut_off() {
    let (file, database) = (filled(6_000), Fixture::new(On::Postgres));
    cut_off(&file, &database);
    let other = filled(30);

    let copied = copy(&other.url(), &database.url(), |_, _| {});

    assert!(copied.is_ok(), "{copied:?}");
    let (from, to) = (other.store().await, database.store().await);
    assert_eq!(all(&from).await, all(&to).await);
}

#[tokio::test]
async fn a_file_that_a_collector_writes_to_is_not_copied() {
    let (file, database) = (filled(1), Fixture::new(On::Postgres));
    let _writer = file.writer();

    let copied = copy(&file.url(), &database.url(), |_, _| {});

    assert!(matches!(copied, Err(CopyError::Busy(_))), "{copied:?}");
}

#[tokio::test]
async fn a_database_with_a_store_is_not_copied_into() {
    let (file, database) = (filled(1), Fixture::new(On::Postgres));
    write(&mut database.writer(), &[report(1, Status::Succeeded)]);

    let copied = copy(&file.url(), &database.url(), |_, _| {});

    assert!(matches!(copied, Err(CopyError::Full)), "{copied:?}");
    assert_eq!(writer(&database.url()).stored().unwrap(), 1);
}

#[tokio::test]
async fn a_replay_that_was_begun_before_the_copy_is_known_after_it() {
    let (file, database) = (filled(1), Fixture::new(On::Postgres));
    let Turn::Ours(mut repairs) = Repairs::replay(&file.url(), RepairNote::default()).unwrap()
    else {
        panic!("nobody else replays");
    };
    let envelope = crate::repair::envelope(1);
    let was = Some((Run::FIRST, Status::Failed));
    let mut envelope = envelope;
    envelope.run = Run::FIRST.next();
    let run = NewRun::new(&envelope, "tasks", was, None);
    repairs.begin(&[run], at(6_000)).unwrap();
    drop(repairs);

    copy(&file.url(), &database.url(), |_, _| {}).unwrap();

    let (from, to) = (file.store().await, database.store().await);
    let found = to.replayable(vec![task(1)]).await.unwrap();
    assert_eq!(from.replayable(vec![task(1)]).await.unwrap(), found);
    assert!(found[0].as_ref().unwrap().intended.is_some());
}
