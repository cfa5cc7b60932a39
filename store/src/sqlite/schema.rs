//! Which schema a file has, and how it gets the newest.

use std::path::Path;

use homing_faults::{Point, crash_point};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Batch, Connection, TransactionBehavior};

use super::fault::{Answer, Fault};
use crate::error::StoreError;

/// `HOMG`: marks a SQLite file as ours
/// (<https://sqlite.org/pragma.html#pragma_application_id>).
const APPLICATION_ID: i32 = 0x484F_4D47;

/// The steps from an empty file to the newest schema. A step is never changed
/// once it was in a release; a change is a further step.
const MIGRATIONS: [&str; 6] = [
    include_str!("migrations/0001_store.sql"),
    include_str!("migrations/0002_repairs.sql"),
    include_str!("migrations/0003_ids_tries.sql"),
    include_str!("migrations/0004_retention.sql"),
    include_str!("migrations/0005_other.sql"),
    include_str!("migrations/0006_kinds.sql"),
];

/// The schema after all steps.
const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// Checks that the file is ours and not newer, or empty.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let state = state(connection).map_err(|fault| fault.at(path))?;
    let store = path.into();
    match state {
        (APPLICATION_ID, 0..=SCHEMA, _) | (0, 0, 0) => Ok(()),
        (APPLICATION_ID, found, _) => Err(StoreError::Newer {
            store,
            found,
            supported: SCHEMA,
        }),
        _ => Err(StoreError::Foreign {
            store,
            what: "it is another program's database",
        }),
    }
}

/// Checks that a file that passed [`check`] has the newest schema.
pub(super) fn check_readable(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let (_, found, _) = state(connection).map_err(|fault| fault.at(path))?;
    if found == SCHEMA {
        return Ok(());
    }
    Err(StoreError::Older {
        store: path.into(),
        found,
        supported: SCHEMA,
    })
}

/// The file's application id, its schema, and how many tables and the like it
/// has.
fn state(connection: &Connection) -> Answer<(i32, u32, u32)> {
    let sql = "SELECT (SELECT application_id FROM pragma_application_id),
                      (SELECT user_version FROM pragma_user_version),
                      (SELECT count(*) FROM sqlite_schema)";
    let state = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    Ok(state?)
}

/// Takes the steps that the file lacks, each in one transaction. A new file takes
/// all in one: a reader would take one that has a few for an older store.
pub(super) fn migrate(connection: &mut Connection) -> Answer<()> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (_, found, _) = state(&transaction)?;
        let next = if found == 0 { SCHEMA } else { found + 1 };
        for step in MIGRATIONS.iter().take(next as usize).skip(found as usize) {
            let mut statements = Batch::new(&transaction, step);
            while let Some(mut statement) = statements.next()? {
                statement.execute([])?;
                crash_point(Point::StoreMigrating);
            }
        }
        if found >= SCHEMA {
            return Ok(());
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", next)?;
        transaction.commit().map_err(Fault::from)?;
        crash_point(Point::StoreMigrated);
    }
}
