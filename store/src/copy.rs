//! Moves a store from a file into a database.
//!
//! Row by row, in parts that are each one transaction, so that a copy that was
//! cut off goes on where it ended. Until it is finished the database is marked,
//! and is no store: nobody reads half of one, and no collector writes into it.
//! The mark says what is copied: if the file has changed since, or is another one,
//! all is copied anew. Positions, numbers and times stay what they were.

use crate::error::StoreError;
use crate::url::{Address, StoreUrl};
use crate::writer::Holder;
use crate::{postgres, sqlite};

/// A table of both stores, and how it is copied.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// The number by which a copy goes on; none of small tables, which are copied
    /// as a whole.
    pub(crate) key: Option<&'static str>,
    pub(crate) columns: &'static [(&'static str, Column)],
}

/// What a column holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Column {
    Int,
    Bool,
    Text,
    Uuid,
    Bytes,
    /// JSON for queries, which may be left out.
    Json,
}

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

use Column::{Bool, Bytes, Int, Json, Text, Uuid};

/// Those that others refer to come first.
pub(crate) const TABLES: [Table; 14] = [
    Table {
        name: "tasks",
        key: Some("position"),
        columns: &[
            ("position", Int),
            ("task", Uuid),
            ("run", Int),
            ("newest", Bool),
            ("stored_at", Int),
            ("kind", Text),
            ("status", Text),
            ("attempt", Int),
            ("attempts_max", Int),
            ("attempt_id", Uuid),
            ("digest", Bytes),
            ("queue", Text),
            ("batch", Uuid),
            ("row", Int),
            ("correlation_id", Text),
            ("submitted_at", Int),
            ("started_at", Int),
            ("waited_ms", Int),
            ("run_us", Int),
            ("worker", Text),
            ("content_type", Text),
            ("error", Text),
            ("reason", Text),
            ("retry_at", Int),
            ("error_data", Bytes),
            ("payload", Bytes),
            ("output", Bytes),
            ("output_json", Json),
            ("content_at", Int),
        ],
    },
    Table {
        name: "attempts",
        key: Some("number"),
        columns: &[
            ("number", Int),
            ("task", Uuid),
            ("run", Int),
            ("attempt_id", Uuid),
            ("status", Text),
            ("attempt", Int),
            ("late", Bool),
            ("stored_at", Int),
            ("attempts_max", Int),
            ("queue", Text),
            ("started_at", Int),
            ("waited_ms", Int),
            ("run_us", Int),
            ("worker", Text),
            ("content_type", Text),
            ("error", Text),
            ("reason", Text),
            ("retry_at", Int),
            ("error_data", Bytes),
            ("output", Bytes),
        ],
    },
    Table {
        name: "conflicts",
        key: Some("number"),
        columns: &[
            ("number", Int),
            ("task", Uuid),
            ("run", Int),
            ("stored_at", Int),
            ("kind", Text),
            ("status", Text),
            ("attempt", Int),
            ("attempts_max", Int),
            ("attempt_id", Uuid),
            ("digest", Bytes),
            ("queue", Text),
            ("batch", Uuid),
            ("row", Int),
            ("correlation_id", Text),
            ("submitted_at", Int),
            ("started_at", Int),
            ("waited_ms", Int),
            ("run_us", Int),
            ("worker", Text),
            ("content_type", Text),
            ("error", Text),
            ("reason", Text),
            ("retry_at", Int),
            ("error_data", Bytes),
            ("payload", Bytes),
            ("output", Bytes),
        ],
    },
    Table {
        name: "log",
        key: Some("position"),
        columns: &[
            ("position", Int),
            ("stored_at", Int),
            ("task", Uuid),
            ("run", Int),
            ("status", Text),
            ("attempt", Int),
        ],
    },
    Table {
        name: "batches",
        key: None,
        columns: &[
            ("batch", Uuid),
            ("label", Text),
            ("opened_at", Int),
            ("sealed_at", Int),
            ("total", Int),
            ("reopened_at", Int),
            ("ids", Bytes),
        ],
    },
    Table {
        name: "dead_letters",
        key: Some("number"),
        columns: &[
            ("number", Int),
            ("identity", Bytes),
            ("stored_at", Int),
            ("reason", Text),
            ("detail", Text),
            ("queue", Text),
            ("kind", Text),
            ("task", Uuid),
            ("exchange", Text),
            ("routing_key", Text),
            ("properties", Text),
            ("headers", Text),
            ("deaths", Text),
            ("body", Bytes),
            ("discarded", Int),
        ],
    },
    Table {
        name: "dead_tasks",
        key: None,
        columns: &[("task", Uuid), ("number", Int), ("run", Int)],
    },
    Table {
        name: "kind_counts",
        key: None,
        columns: &[("kind", Text), ("status", Text), ("tasks", Int)],
    },
    Table {
        name: "batch_counts",
        key: None,
        columns: &[("batch", Uuid), ("status", Text), ("tasks", Int)],
    },
    Table {
        name: "histograms",
        key: None,
        columns: &[
            ("kind", Text),
            ("measure", Text),
            ("bucket", Int),
            ("attempts", Int),
        ],
    },
    Table {
        name: "repairs",
        key: Some("number"),
        columns: &[
            ("number", Int),
            ("verb", Text),
            ("at", Int),
            ("who", Text),
            ("asked", Text),
            ("why", Text),
        ],
    },
    Table {
        name: "replays",
        key: None,
        columns: &[
            ("task", Uuid),
            ("run", Int),
            ("repair", Int),
            ("at", Int),
            ("kind", Text),
            ("queue", Text),
            ("dead", Int),
            ("confirmed_at", Int),
        ],
    },
    Table {
        name: "kinds",
        key: None,
        columns: &[("kind", Text), ("schema", Text), ("declared_at", Int)],
    },
    Table {
        name: "quarantine_tries",
        key: None,
        columns: &[("letter", Bytes), ("tries", Int)],
    },
];

/// What was copied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Copied {
    /// Runs of tasks.
    pub tasks: u64,
    /// Rows of all tables, those of an earlier try among them.
    pub rows: u64,
}

/// Why a store was not copied. What was copied stays: the same call goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// Only from a file into a database.
    #[error("a store is copied from `sqlite:PATH` to `postgres://…`, and in no other way")]
    Kinds,
    /// A process writes to the file.
    #[error("{0} writes to the store that is to be copied")]
    Busy(Holder),
    /// The database has a store that this one does not belong to.
    #[error("there is a store in the database already")]
    Full,
    /// A store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The copy is not what it was made from.
    #[error("{copied} of {rows} rows of `{table}` are in the copy")]
    Differs {
        /// The table.
        table: &'static str,
        /// Rows in the file.
        rows: u64,
        /// Rows in the database.
        copied: u64,
    },
}

/// Copies the store in a file into a database, in which there is none, or what
/// an earlier call left: that is kept if it is of this file as it is now. Nobody
/// may write to the file meanwhile: it is locked.
/// `progress` is told how many rows of how many are there. Blocking.
///
/// # Errors
///
/// [`CopyError`]: it is not finished. The same call goes on where this one ended.
pub fn copy(
    from: &StoreUrl,
    to: &StoreUrl,
    progress: impl FnMut(u64, u64),
) -> Result<Copied, CopyError> {
    let (Address::Sqlite(from), Address::Postgres(to)) = (&from.0, &to.0) else {
        return Err(CopyError::Kinds);
    };
    let dump = sqlite::Dump::open(from)?.map_err(CopyError::Busy)?;
    let load = postgres::Load::open(to, dump.mark()?)?.ok_or(CopyError::Full)?;
    copy_all(&dump, &load, progress)
}

fn copy_all(
    dump: &sqlite::Dump,
    load: &postgres::Load,
    mut progress: impl FnMut(u64, u64),
) -> Result<Copied, CopyError> {
    let mut rows = 0;
    for table in &TABLES {
        rows += dump.count(table)?;
    }
    let mut done = 0;
    for table in &TABLES {
        done += copy_table(dump, load, table, |copied| progress(done + copied, rows))?;
    }
    load.finish()?;
    let tasks = dump.count(&TABLES[0])?;
    Ok(Copied { tasks, rows })
}

/// Copies what is not there of one table, and answers how many rows it has.
fn copy_table(
    dump: &sqlite::Dump,
    load: &postgres::Load,
    table: &'static Table,
    mut progress: impl FnMut(u64),
) -> Result<u64, CopyError> {
    let mut after = load.last(table)?;
    let mut copied = load.count(table)?;
    loop {
        let part = dump.rows(table, after)?;
        let last = part.last().and_then(|row| row.first());
        if let (Some(Cell::Int(key)), Some(_)) = (last, table.key) {
            after = *key;
        }
        if !part.is_empty() {
            load.put(table, &part)?;
            copied += part.len() as u64;
            progress(copied);
        }
        if part.is_empty() || table.key.is_none() {
            break;
        }
    }
    let (rows, copied) = (dump.count(table)?, load.count(table)?);
    if rows != copied {
        let table = table.name;
        return Err(CopyError::Differs {
            table,
            rows,
            copied,
        });
    }
    Ok(rows)
}
