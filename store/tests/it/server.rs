//! What is special about a server: who it lets in, and what it takes and refuses.

use homing_protocol::{ContentType, Status};
use homing_store::{Entry, Filter, Opened, Store, StoreError, StoreUrl, Writer};
use uuid::Uuid;

use crate::fixture::{Fixture, On, at, entry, report, task, write};
use crate::postgres::{Database, Server};

#[tokio::test]
async fn reading_never_creates_a_store_in_a_database() {
    let fixture = Fixture::new(On::Postgres);

    let error = Store::open(&fixture.url()).await.unwrap_err();

    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    let schemas = fixture.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'homing'");
    assert_eq!(schemas, 0);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_missing() {
    let fixture = Fixture::new(On::Postgres);
    let url: StoreUrl = format!("{}_not", fixture.text()).parse().unwrap();

    let read = Store::open(&url).await.unwrap_err();
    let write = Writer::open(&url).unwrap_err();

    assert!(matches!(read, StoreError::Missing { .. }), "{read:?}");
    assert!(matches!(write, StoreError::Missing { .. }), "{write:?}");
}

#[tokio::test]
async fn a_newer_schema_in_a_database_is_refused() {
    let fixture = Fixture::new(On::Postgres);
    drop(fixture.writer());
    fixture.sql("UPDATE meta SET value = 99 WHERE name = 'schema'");

    let read = Store::open(&fixture.url()).await.unwrap_err();
    let write = Writer::open(&fixture.url()).unwrap_err();

    for error in [read, write] {
        assert!(
            matches!(error, StoreError::Newer { found: 99, .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn another_programs_schema_is_refused_and_left_alone() {
    for theirs in [
        "CREATE SCHEMA homing; CREATE TABLE homing.theirs (a int)",
        "CREATE SCHEMA homing; CREATE TABLE homing.meta (a int)",
        "CREATE SCHEMA homing; CREATE TABLE homing.meta (name text, value bigint)",
    ] {
        let fixture = Fixture::new(On::Postgres);
        fixture.sql(theirs);

        let read = Store::open(&fixture.url()).await.unwrap_err();
        let write = Writer::open(&fixture.url()).unwrap_err();

        assert!(matches!(read, StoreError::Foreign { .. }), "{read:?}");
        assert!(matches!(write, StoreError::Foreign { .. }), "{write:?}");
        let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'homing'::regnamespace";
        assert_eq!(fixture.number(&format!("{tables} AND relkind = 'r'")), 1);
    }
}

#[tokio::test]
async fn a_database_in_another_encoding_is_refused() {
    let database = Database::create_with("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");

    let error = Writer::open(&database.url()).unwrap_err();

    assert!(
        matches!(
            error,
            StoreError::Foreign {
                what: "its encoding is not UTF8",
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_wrong_password_is_denied_and_neither_one_is_shown() {
    let fixture = Fixture::new(On::Postgres);
    let text = fixture.text();
    let (user, rest) = text.rsplit_once('@').unwrap();
    let (scheme, password) = user.rsplit_once(':').unwrap();
    let url: StoreUrl = format!("{scheme}:not-this-one@{rest}").parse().unwrap();

    let read = Store::open(&url).await.unwrap_err();
    let write = Writer::open(&url).unwrap_err();

    for error in [read, write] {
        assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
        let said = format!("{error} {error:?}");
        assert!(
            !said.contains("not-this-one") && !said.contains(password),
            "{said}"
        );
    }
}

#[tokio::test]
async fn who_may_not_create_a_schema_is_denied() {
    let fixture = Fixture::new(On::Postgres);
    let role = format!("r{}", Uuid::new_v4().simple());
    fixture.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'p'"));
    let text = fixture.text();
    let (_, rest) = text.rsplit_once('@').unwrap();
    let url: StoreUrl = format!("postgres://{role}:p@{rest}").parse().unwrap();

    let error = Writer::open(&url).unwrap_err();

    fixture.sql(&format!("DROP ROLE {role}"));
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
}

#[tokio::test]
async fn who_may_not_create_a_schema_makes_a_store_in_one_of_its_own() {
    let fixture = Fixture::new(On::Postgres);
    let role = format!("r{}", Uuid::new_v4().simple());
    fixture.sql(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'p'; CREATE SCHEMA homing AUTHORIZATION {role}"
    ));
    let text = fixture.text();
    let (_, rest) = text.rsplit_once('@').unwrap();
    let url: StoreUrl = format!("postgres://{role}:p@{rest}").parse().unwrap();

    let written = Writer::open(&url).and_then(|opened| match opened {
        Opened::Ready(mut writer) => writer.write(&[entry(1)], at(1)).map(drop),
        Opened::Standby(_) => panic!("several may write"),
    });

    fixture.sql(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
    assert!(written.is_ok(), "{written:?}");
}

/// Whatever the database's default is.
#[tokio::test]
async fn every_commit_is_on_the_disk_before_it_returns() {
    let fixture = Fixture::new(On::Postgres);
    drop(fixture.writer());
    fixture.sql(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off',
             current_database()); END $$;
         CREATE TABLE public.seen (setting text);
         CREATE FUNCTION public.look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.seen VALUES (current_setting('synchronous_commit'));
             RETURN new; END $$;
         CREATE TRIGGER look BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION public.look()",
    );

    write(&mut fixture.writer(), &[report(1, Status::Succeeded)]);

    let on = fixture.number("SELECT count(*) FROM public.seen WHERE setting = 'on'");
    assert_eq!(on, 1);
}

#[tokio::test]
async fn what_jsonb_and_text_cannot_hold_is_stored_as_it_is() {
    let fixture = Fixture::new(On::Postgres);
    let outputs = [
        r#"{"b": 1.0,  "a":[]}"#,
        r#"{"zero": "\u0000"}"#,
        r#"["\ud800"]"#,
        "1e999999",
        "1e-99999",
        "123456789012345678901234567890.10",
    ];
    let reports: Vec<_> = (1..)
        .zip(outputs)
        .map(|(number, output)| {
            let mut report = report(number, Status::Succeeded);
            report.output = Some(output.into());
            report.worker = "zero \0, substitute \u{1a}, both \u{1a}0".to_owned();
            report.content_type = ContentType::Json;
            report
        })
        .collect();

    write(&mut fixture.writer(), &reports);

    let listed = fixture.store().await.list(&Filter::all(), 10).await;
    let listed: Vec<_> = listed
        .unwrap()
        .into_iter()
        .rev()
        .map(|r| r.report)
        .collect();
    assert_eq!(listed, reports);
    let queried = fixture.number("SELECT count(*) FROM outcomes WHERE output_json IS NOT NULL");
    assert_eq!(queried, 2);
    let found = fixture.number("SELECT count(*) FROM outcomes WHERE output_json @> '{\"b\": 1}'");
    assert_eq!(found, 1);
}

/// Should `jsonb` refuse what was taken to fit, the outcome is stored without.
#[tokio::test]
async fn an_outcome_is_never_refused_for_the_column_that_is_for_queries() {
    let fixture = Fixture::new(On::Postgres);
    let mut writer = fixture.writer();
    fixture.sql("ALTER TABLE contents ADD CHECK (output_json IS NULL)");

    write(&mut writer, &[report(1, Status::Succeeded)]);

    let record = fixture
        .store()
        .await
        .record(task(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(record.report, report(1, Status::Succeeded));
}

#[tokio::test]
async fn what_a_constraint_refuses_is_rejected_and_the_writer_goes_on() {
    let fixture = Fixture::new(On::Postgres);
    let mut writer = fixture.writer();
    fixture.sql("ALTER TABLE tasks ADD CHECK (kind <> 'demo.echo' OR attempt < 9)");
    let mut refused = report(1, Status::Succeeded);
    refused.attempt = 9;

    let error = writer.write(&[Entry::Report(refused), entry(2)], at(1));
    let alone = writer.write(&[entry(2)], at(1));

    assert!(
        matches!(error, Err(StoreError::Rejected { .. })),
        "{error:?}"
    );
    assert!(alone.is_ok());
    let listed = fixture
        .store()
        .await
        .list(&Filter::all(), 10)
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn a_server_proves_its_name_or_is_refused() {
    let server = Server::start(&["--tls"]);
    let root = server.file("root.crt");
    let encrypted = |url: &StoreUrl| {
        let opened = Writer::open(url);
        opened.map(|writer| {
            let is = server.sql(
                "SELECT ssl::text FROM pg_stat_ssl s JOIN pg_stat_activity a
                USING (pid) WHERE a.application_name LIKE 'process %'
                ORDER BY a.backend_start DESC LIMIT 1",
            );
            drop(writer);
            is[0][0].as_deref() == Some("true")
        })
    };
    let at = |host: &str, options: &str| {
        let text = server.text().replace("127.0.0.1", host);
        format!("{text}?{options}").parse::<StoreUrl>().unwrap()
    };

    let verified = format!("sslmode=verify-full&sslrootcert={root}");
    let plain = encrypted(&at("127.0.0.1", "sslmode=disable"));
    let whoever = encrypted(&at("127.0.0.1", "sslmode=require"));
    let preferred = encrypted(&at("127.0.0.1", "sslmode=prefer"));
    let named = encrypted(&at("localhost", &verified));
    let misnamed = encrypted(&at("127.0.0.1", &verified));
    let unknown = encrypted(&at("localhost", "sslmode=verify-full"));

    assert!(!plain.unwrap());
    assert!(whoever.unwrap() && preferred.unwrap() && named.unwrap());
    for refused in [misnamed, unknown] {
        assert!(
            matches!(refused, Err(StoreError::Tls { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn without_encryption_there_is_no_connection_that_requires_it() {
    let fixture = Fixture::new(On::Postgres);
    let url: StoreUrl = format!("{}?sslmode=require", fixture.text())
        .parse()
        .unwrap();

    let error = Writer::open(&url).unwrap_err();

    assert!(matches!(error, StoreError::Tls { .. }), "{error:?}");
}
