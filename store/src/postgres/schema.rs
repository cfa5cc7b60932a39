//! Which schema a database has, and how it gets the newest.
//!
//! Everything is in a PostgreSQL schema `homing`, so that a database can be
//! shared with an application.

use homing_faults::{Point, crash_point};
use tokio_postgres::Row;

use super::columns::Columns;
use super::fault::{Answer, Fault};
use super::group::WRITING;
use super::load;
use super::session::{BEGIN, Session};

/// The steps from an empty schema to the newest. A step is never changed once it
/// was in a release; a change is a further step.
const MIGRATIONS: [&str; 4] = [
    include_str!("migrations/0001_store.sql"),
    include_str!("migrations/0002_retention.sql"),
    include_str!("migrations/0003_other.sql"),
    include_str!("migrations/0004_kinds.sql"),
];

/// The schema after all steps.
const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// The first PostgreSQL with unique indexes that take null for a value.
const SERVER_OLDEST: i32 = 150_000;

/// The first half of our advisory locks: `HOMG`.
pub(super) const LOCKS: i32 = 0x484F_4D47;

/// The other half of the one that is held while a schema is migrated.
const MIGRATING: i32 = 0;

/// The other half of the one that the connection has that copies a store.
const COPYING: i32 = 3;

/// What a store says of itself.
pub(super) const STATE: &str =
    "SELECT name, value FROM homing.meta WHERE name IN ('schema', 'copying')";

/// Checks the rows of [`STATE`], read by whoever has the turn to write: a store
/// that was whole when the connection was opened may have been migrated since, or
/// a copy into it may have begun.
pub(super) fn check_state(state: &[Row]) -> Answer<()> {
    let mut found = None;
    for row in state {
        let mut columns = Columns::new(row, 0);
        match (columns.text()?.as_str(), columns.next::<i64>()?) {
            ("copying", _) => return Err(UNFINISHED),
            (_, value) => found = Some(value),
        }
    }
    let supported = SCHEMA;
    match found.map(u32::try_from) {
        Some(Ok(SCHEMA)) => Ok(()),
        Some(Ok(found)) if found > SCHEMA => Err(Fault::Newer { found, supported }),
        Some(Ok(found)) => Err(Fault::Older { found, supported }),
        _ => Err(Fault::Missing),
    }
}

/// Checks that there is a store of ours with the newest schema.
pub(super) async fn check(db: &Session) -> Answer<()> {
    match version(db).await? {
        None => Err(Fault::Missing),
        Some(SCHEMA) => check_whole(db).await,
        Some(found) => Err(Fault::Older {
            found,
            supported: SCHEMA,
        }),
    }
}

/// Takes the steps that the schema lacks, each in one transaction. One process
/// at a time does.
pub(super) async fn migrate(db: &Session) -> Answer<()> {
    // Looked at before anything is locked: mostly there is nothing to do.
    if version(db).await? != Some(SCHEMA) {
        take_steps(db).await?;
    }
    check_whole(db).await
}

/// Checks that it is not half of a store that is being copied.
async fn check_whole(db: &Session) -> Answer<()> {
    if copying(db).await?.is_some() {
        return Err(UNFINISHED);
    }
    Ok(())
}

const UNFINISHED: Fault = Fault::Foreign("a copy into it is not finished");

/// The mark of the unfinished copy that it is, if it is one.
async fn copying(db: &Session) -> Answer<Option<i64>> {
    let sql = "SELECT value FROM homing.meta WHERE name = 'copying'";
    let row = db.query_opt(sql, &[]).await?;
    row.map(|row| Columns::new(&row, 0).next()).transpose()
}

/// Makes the schema, if there is none, for a copy of what `mark` says. Answers
/// false if there is something else in it than an unfinished one; one of anything
/// else is removed. While the connection lasts, no other copy goes into it.
pub(super) async fn begin_copy(db: &Session, mark: i64) -> Answer<bool> {
    db.batch(&format!("SELECT pg_advisory_lock({LOCKS}, {COPYING})"))
        .await?;
    if version(db).await? != Some(SCHEMA) {
        take_steps(db).await?;
    }
    match copying(db).await? {
        Some(copying) if copying == mark => return Ok(true),
        Some(_) => return restart_copy(db, mark).await,
        None => {}
    }
    // A collector that has its turn is waited for, and what it wrote is seen here;
    // one that has it later sees the mark.
    db.batch(&format!(
        "{BEGIN}; SELECT pg_advisory_xact_lock({LOCKS}, {WRITING})"
    ))
    .await?;
    let sql = "SELECT EXISTS (SELECT 1 FROM homing.log) OR EXISTS (SELECT 1 FROM homing.batches)
        OR EXISTS (SELECT 1 FROM homing.dead_letters) OR EXISTS (SELECT 1 FROM homing.tasks)
        OR EXISTS (SELECT 1 FROM homing.kinds)";
    let is_used: bool = db.query_one(sql, &[]).await?.try_get(0)?;
    if !is_used {
        db.query("INSERT INTO homing.meta VALUES ('copying', $1)", &[&mark])
            .await?;
    }
    db.batch("COMMIT").await?;
    Ok(!is_used)
}

async fn restart_copy(db: &Session, mark: i64) -> Answer<bool> {
    let tables = load::names();
    db.batch(&format!(
        "{BEGIN}; TRUNCATE {tables}, homing.contents, homing.held"
    ))
    .await?;
    let sql = "UPDATE homing.meta SET value = $1 WHERE name = 'copying'";
    db.query(sql, &[&mark]).await?;
    db.batch("COMMIT").await?;
    Ok(true)
}

async fn take_steps(db: &Session) -> Answer<()> {
    for (step, sql) in (1..).zip(MIGRATIONS) {
        // What a large store takes is read once, whatever the server allows for a
        // statement of ours otherwise.
        db.batch(&format!(
            "{BEGIN}; SET LOCAL statement_timeout = 0;
             SELECT pg_advisory_xact_lock({LOCKS}, {MIGRATING});
             SELECT pg_advisory_xact_lock({LOCKS}, {WRITING})"
        ))
        .await?;
        if version(db).await?.unwrap_or(0) < step {
            create(db).await?;
            db.batch(sql).await?;
            crash_point(Point::StoreMigrating);
            let sql = "UPDATE homing.meta SET value = $1 WHERE name = 'schema'";
            db.query(sql, &[&i64::from(step)]).await?;
        }
        db.batch("COMMIT").await?;
        crash_point(Point::StoreMigrated);
    }
    Ok(())
}

/// Creates the schema, if there is none: `IF NOT EXISTS` is refused to a user who
/// may not create it, also where it is there.
async fn create(db: &Session) -> Answer<()> {
    let sql = "SELECT to_regnamespace('homing') IS NULL";
    if db.query_one(sql, &[]).await?.try_get(0)? {
        db.batch("CREATE SCHEMA homing").await?;
    }
    Ok(())
}

/// How many steps the schema has taken, `None` if there is nothing in it.
async fn version(db: &Session) -> Answer<Option<u32>> {
    let sql = "SELECT current_setting('server_version_num')::int,
        current_setting('server_encoding') = 'UTF8',
        (SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace('homing')::oid),
        (SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('homing.meta')::oid
            AND attname IN ('name', 'value'))";
    let row = db.query_one(sql, &[]).await?;
    let mut columns = Columns::new(&row, 0);
    if columns.next::<i32>()? < SERVER_OLDEST {
        return Err(Fault::Foreign("its server is older than PostgreSQL 15"));
    }
    if !columns.next::<bool>()? {
        return Err(Fault::Foreign("its encoding is not UTF8"));
    }
    let foreign = Fault::Foreign("its schema `homing` is another program's");
    match (columns.next::<i64>()?, columns.next::<i64>()?) {
        (0, _) => return Ok(None),
        (_, 2) => {}
        _ => return Err(foreign),
    }
    let sql = "SELECT value FROM homing.meta WHERE name = 'schema'";
    let Some(row) = db.query_opt(sql, &[]).await? else {
        return Err(foreign);
    };
    match u32::try_from(row.try_get::<_, i64>(0)?) {
        Ok(found) if found <= SCHEMA => Ok(Some(found)),
        Ok(found) => Err(Fault::Newer {
            found,
            supported: SCHEMA,
        }),
        Err(_) => Err(foreign),
    }
}
