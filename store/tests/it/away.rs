//! A server that is away, hangs, or is cut off: what becomes of writes whose answer
//! is lost, and how long who reads, waits or follows has patience.

use std::thread;
use std::time::Duration;

use homing_protocol::Status;
use homing_store::{Filter, Position, Store, StoreError, StoreUrl, Writer};
use uuid::Uuid;

use crate::fixture::{Fixture, On, at, entry, report, task, write, writer};
use crate::postgres::{Held, Relay, Server};

#[tokio::test]
async fn a_server_that_is_not_there_cannot_be_reached() {
    // Nobody listens there: it was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let url: StoreUrl = format!("postgres://u:secret@{address}/d").parse().unwrap();

    let error = Writer::open(&url).unwrap_err();

    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    assert!(error.is_transient());
    assert!(!format!("{error} {error:?}").contains("secret"));
}

/// Whatever a server may say while it is stopped, moved or short of something.
#[tokio::test]
async fn what_the_server_gets_over_is_waited_for() {
    let fixture = Fixture::new(On::Postgres);
    let mut writer = fixture.writer();
    fixture.sql(
        "CREATE TABLE public.says (code text);
         CREATE FUNCTION public.say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE 'no' USING ERRCODE = (SELECT code FROM public.says); END $$;
         CREATE TRIGGER say BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION public.say()",
    );

    for code in [
        "08006", "25006", "25P03", "25P04", "40001", "40P01", "53100", "53200", "53300", "53400",
        "55P03", "57014", "57P01", "57P02", "57P03", "57P04", "57P05", "58030",
    ] {
        fixture.sql(&format!(
            "TRUNCATE public.says; INSERT INTO public.says VALUES ('{code}')"
        ));

        let error = writer.write(&[entry(1)], at(1)).unwrap_err();

        assert!(error.is_transient(), "{code}: {error:?}");
    }
    fixture.sql("DROP TRIGGER say ON log");
    assert!(writer.write(&[entry(1)], at(1)).is_ok());
}

/// The commit takes place and its answer is lost: what is written again is there
/// once.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_solved_by_writing_again() {
    let fixture = Fixture::new(On::Postgres);
    drop(fixture.writer());
    let relay = Relay::start(&fixture.text());
    let mut writer = writer(&relay.url());
    relay.cut_instead_of(b"COMMIT\0");

    let lost = writer.write(&[entry(1)], at(1));
    let committed = fixture.number("SELECT count(*) FROM tasks");
    writer.reopen().unwrap();
    let again = writer.write(&[entry(1)], at(1));

    assert!(
        matches!(lost, Err(StoreError::Unreachable { .. })),
        "{lost:?}"
    );
    assert_eq!(committed, 1);
    assert!(again.is_ok());
    assert_eq!(fixture.number("SELECT count(*) FROM log"), 1);
    let counted = fixture.number("SELECT tasks FROM kind_counts");
    assert_eq!(counted, 1);
}

/// The first commit was answered for, or its answer lost, before a standby had it.
#[tokio::test]
async fn what_is_written_again_is_on_the_standby_before_it_is_acked() {
    let server = Server::start(&[]);
    writer(&server.url()).write(&[entry(1)], at(1)).unwrap();
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    server.kill();
    server.start_again();
    let mut writer = writer(&server.url());

    let writing = thread::spawn(move || writer.write(&[entry(1)], at(1)));
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    server.until(waits, 1);
    server.sql("ALTER SYSTEM RESET synchronous_standby_names");
    server.sql("SELECT pg_reload_conf()");
    let written = writing.join().unwrap();

    assert!(written.is_ok(), "{written:?}");
    assert_eq!(
        server.sql("SELECT count(*) FROM homing.log")[0][0].as_deref(),
        Some("1")
    );
}

/// After every 7th byte that the server sends for one write, in turn.
#[tokio::test]
async fn wherever_the_connection_is_cut_each_outcome_is_stored_once() {
    let fixture = Fixture::new(On::Postgres);
    drop(fixture.writer());
    let relay = Relay::start(&fixture.text());
    let mut writer = writer(&relay.url());
    let before = relay.passed();
    writer.write(&[entry(1), entry(2)], at(1)).unwrap();
    let bytes = relay.passed() - before;
    let (mut number, mut cuts) = (3, 0);

    for after in (0..=bytes).step_by(7) {
        // Its statements are prepared by now, so that the bytes are the write's.
        writer.reopen().unwrap();
        writer.write(&[entry(number)], at(1)).unwrap();
        let entries = [entry(number + 1), entry(number + 2)];
        relay.cut_after(after);
        let written = writer.write(&entries, at(1));
        cuts += u64::from(written.is_err());
        relay.heal();
        while writer.write(&entries, at(1)).is_err() {
            writer.reopen().unwrap();
        }
        number += 3;
    }

    assert!(cuts > 10, "{cuts} cuts in {bytes} bytes");
    let store = fixture.store().await;
    let stored = number - 1;
    let log = fixture.number("SELECT count(*) FROM log");
    assert_eq!(u128::try_from(log).unwrap(), stored);
    let counts = store.stats(None).await.unwrap()[0].counts;
    assert_eq!(u128::from(counts.total()), stored);
}

#[tokio::test]
async fn writing_reading_and_watching_go_on_after_the_server_was_killed() {
    let server = Server::start(&[]);
    let url = server.url();
    let mut writer = writer(&url);
    write(&mut writer, &[report(1, Status::Succeeded)]);
    let store = Store::open(&url).await.unwrap();
    let mut watch = store.watch().await.unwrap();

    server.kill();
    let away = writer.write(&[entry(2)], at(1));
    server.start_again();
    while writer.reopen().is_err() {}
    writer.write(&[entry(2)], at(1)).unwrap();

    assert!(
        matches!(away, Err(StoreError::Unreachable { .. })),
        "{away:?}"
    );
    let told = tokio::time::timeout(Duration::from_secs(60), watch.changed()).await;
    told.unwrap().unwrap();
    let tail = store.tail(&Position::START, &Filter::all(), 10).await;
    assert_eq!(tail.unwrap().records.len(), 2);
    write(&mut writer, &[report(3, Status::Succeeded)]);
    let told = tokio::time::timeout(Duration::from_secs(60), watch.changed()).await;
    told.unwrap().unwrap();
}

/// Its system keeps its connections, and takes new ones.
#[tokio::test]
async fn a_read_from_a_server_that_hangs_ends_and_the_next_one_is_answered_when_it_goes_on() {
    let server = Server::start(&[]);
    write(&mut writer(&server.url()), &[report(1, Status::Succeeded)]);
    let store = Store::open(&server.url()).await.unwrap();

    server.freeze();
    let read = tokio::time::timeout(Duration::from_secs(100), store.record(task(1))).await;
    server.thaw();

    assert!(
        matches!(read, Ok(Err(StoreError::Unreachable { .. }))),
        "{read:?}"
    );
    assert!(store.record(task(1)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_takes_long_and_then_loses_its_connection_is_made_again() {
    let fixture = Fixture::new(On::Postgres);
    write(&mut fixture.writer(), &[report(1, Status::Succeeded)]);
    let store = fixture.store().await;
    let held = Held::begin(&fixture.text(), "LOCK TABLE homing.tasks");
    let reading = tokio::spawn(async move { store.record(task(1)).await });
    let waits = "FROM pg_stat_activity
        WHERE wait_event_type = 'Lock' AND datname = current_database()";
    fixture.until(
        &format!("SELECT count(*) {waits} AND query_start < clock_timestamp() - interval '6 s'"),
        1,
    );

    fixture.sql(&format!("SELECT pg_terminate_backend(pid) {waits}"));
    held.commit();

    let read = reading.await.unwrap();
    assert!(matches!(read, Ok(Some(_))), "{read:?}");
}

/// The connection that is told of commits lives, and there is room for no other.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_task_outlasts_a_server_that_takes_no_connections() {
    let fixture = Fixture::new(On::Postgres);
    let mut writer = fixture.writer();
    let role = format!("r{}", Uuid::new_v4().simple());
    fixture.sql(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'p';
         GRANT USAGE ON SCHEMA homing TO {role};
         GRANT SELECT ON ALL TABLES IN SCHEMA homing TO {role}"
    ));
    let text = fixture.text();
    let (_, rest) = text.rsplit_once('@').unwrap();
    let url: StoreUrl = format!("postgres://{role}:p@{rest}").parse().unwrap();
    let store = Store::open(&url).await.unwrap();
    let mut waiting = tokio::spawn(async move { store.closed(task(1)).await });
    let theirs = format!("FROM pg_stat_activity WHERE usename = '{role}'");
    // It listens, has looked since, and found nothing.
    let listens = format!("SELECT max(query_start) {theirs} AND query LIKE 'LISTEN%'");
    let looked = format!("AND query = 'COMMIT' AND query_start > ({listens})");
    fixture.until(&format!("SELECT count(*) {theirs} {looked}"), 1);

    fixture.sql(&format!(
        "ALTER ROLE {role} CONNECTION LIMIT 0;
         SELECT pg_terminate_backend(pid) {theirs} AND query NOT LIKE 'LISTEN%'"
    ));
    write(&mut writer, &[report(1, Status::Succeeded)]);
    // Longer than a read that nobody follows tries.
    let early = tokio::time::timeout(Duration::from_secs(8), &mut waiting).await;
    fixture.sql(&format!("ALTER ROLE {role} CONNECTION LIMIT -1"));
    let closed = tokio::time::timeout(Duration::from_secs(60), waiting).await;

    fixture.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    assert!(early.is_err(), "{early:?}");
    let closed = closed.unwrap().unwrap();
    assert!(closed.is_ok(), "{closed:?}");
}
