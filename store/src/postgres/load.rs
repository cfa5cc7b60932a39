//! Takes the rows of another store.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use homing_protocol::Timestamp;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::address::Address;
use super::columns::Columns;
use super::driver::block_on;
use super::fault::{Answer, Fault};
use super::insert::Derive;
use super::session::{BEGIN, Purpose, Session};
use super::{WRITE_TIMEOUT, in_time, jsonb, partition, schema, text};
use crate::copy::{Cell, Column, TABLES, Table};
use crate::error::StoreError;

/// A database that a copy goes into.
#[derive(Debug)]
pub(crate) struct Load {
    session: Session,
    address: Address,
}

impl Load {
    /// Opens a database for a copy of what `mark` says: one without a store, or
    /// with an unfinished copy, else `None`. What a copy of anything else left is
    /// removed.
    pub(crate) fn open(address: &Address, mark: i64) -> Result<Option<Self>, StoreError> {
        let opened = block_on(in_time(WRITE_TIMEOUT, async {
            let session = Session::open(address, Purpose::Write).await?;
            // To count a large table takes minutes, and nobody waits for it.
            session.batch("SET statement_timeout = 0").await?;
            Ok(schema::begin_copy(&session, mark).await?.then_some(session))
        }));
        let session = opened.map_err(|fault: Fault| fault.at(address))?;
        Ok(session.map(|session| Self {
            session,
            address: address.clone(),
        }))
    }

    /// How many rows a table has.
    pub(crate) fn count(&self, table: &Table) -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM {}", table.name);
        self.block_on(async |db| Columns::new(&db.query_one(&sql, &[]).await?, 0).natural())
    }

    /// The greatest key in a table; less than all if there is none.
    pub(crate) fn last(&self, table: &Table) -> Result<i64, StoreError> {
        let Some(key) = table.key else {
            return Ok(i64::MIN);
        };
        let sql = format!("SELECT max({key}) FROM {}", table.name);
        self.block_on(async |db| {
            let last: Option<i64> = Columns::new(&db.query_one(&sql, &[]).await?, 0).next()?;
            Ok(last.unwrap_or(i64::MIN))
        })
    }

    /// Puts rows into a table, in one transaction; in the place of all that a table
    /// without a key has.
    pub(crate) fn put(&self, table: &Table, rows: &[Vec<Cell>]) -> Result<(), StoreError> {
        let put = |derive| self.block_on(async |db| put(db, table, rows, derive).await);
        match put(Derive::Yes) {
            // The column for queries is not worth an outcome.
            Err(StoreError::Rejected { .. }) => put(Derive::No),
            done => done,
        }
    }

    /// Makes a store of it: numbers go on after the last one.
    pub(crate) fn finish(&self) -> Result<(), StoreError> {
        self.block_on(async |db| {
            db.batch(BEGIN).await?;
            let numbered = TABLES.iter().filter(|table| table.key == Some("number"));
            for table in numbered {
                let name = table.name;
                db.batch(&format!(
                    "SELECT setval(pg_get_serial_sequence('homing.{name}', 'number'),
                         greatest(max(number), 1), max(number) IS NOT NULL)
                     FROM {name}"
                ))
                .await?;
            }
            db.batch(
                "UPDATE meta SET value = (SELECT coalesce(max(position), 0) FROM tasks)
                 WHERE name = 'inline_end'",
            )
            .await?;
            db.batch("COMMIT").await?;
            // Queries are slow before it, but not wrong, and the server does the same
            // by and by.
            let _refused = db.batch(&format!("ANALYZE {}", names())).await;
            db.batch("DELETE FROM meta WHERE name = 'copying'").await
        })
    }

    fn block_on<T>(&self, work: impl AsyncFnOnce(&Session) -> Answer<T>) -> Result<T, StoreError> {
        let done = block_on(work(&self.session));
        done.map_err(|fault| {
            // Should that fail too, the connection is gone, and its transaction.
            let _gone = block_on(self.session.batch("ROLLBACK"));
            fault.at(&self.address)
        })
    }
}

/// All tables.
pub(super) fn names() -> String {
    let names = TABLES.iter().map(|table| format!("homing.{}", table.name));
    names.collect::<Vec<_>>().join(", ")
}

async fn put(db: &Session, table: &Table, rows: &[Vec<Cell>], derive: Derive) -> Answer<()> {
    let names = table.columns.iter().map(|(name, _)| format!("\"{name}\""));
    let names = names.collect::<Vec<_>>().join(", ");
    let types: Vec<_> = table.columns.iter().map(|(_, is)| type_of(*is)).collect();
    db.batch(BEGIN).await?;
    if table.name == "log" {
        make_partitions(db, table, rows).await?;
    }
    if table.key.is_none() {
        db.batch(&format!("DELETE FROM {}", table.name)).await?;
    }
    let sql = format!("COPY {} ({names}) FROM STDIN BINARY", table.name);
    let mut copy = pin!(BinaryCopyInWriter::new(db.copy_in(&sql).await?, &types));
    for row in rows {
        let cells = row.iter().zip(table.columns);
        let cells: Vec<_> = cells
            .map(|(cell, (_, column))| Value {
                cell,
                column: *column,
                derive,
            })
            .collect();
        let cells: Vec<_> = cells
            .iter()
            .map(|cell| cell as &(dyn ToSql + Sync))
            .collect();
        copy.as_mut().write(&cells).await?;
    }
    copy.finish().await?;
    db.batch("COMMIT").await
}

/// Makes those that entries of the log go to.
async fn make_partitions(db: &Session, table: &Table, rows: &[Vec<Cell>]) -> Answer<()> {
    let stored_at = table
        .columns
        .iter()
        .position(|(name, _)| *name == "stored_at");
    let times = rows.iter().filter_map(|row| match row.get(stored_at?)? {
        Cell::Int(time) => Some(*time),
        _ => None,
    });
    let Some(last) = times.max().map(Timestamp::from_ms) else {
        return Ok(());
    };
    partition::make(db, last, Duration::ZERO, partition::SPAN).await
}

const fn type_of(column: Column) -> Type {
    match column {
        Column::Int => Type::INT8,
        Column::Bool => Type::BOOL,
        Column::Text => Type::TEXT,
        Column::Uuid => Type::UUID,
        Column::Bytes => Type::BYTEA,
        Column::Json => Type::JSONB,
    }
}

/// A value as its column holds it.
#[derive(Debug)]
struct Value<'a> {
    cell: &'a Cell,
    column: Column,
    derive: Derive,
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self.column, self.cell) {
            (Column::Bool, Cell::Int(number)) => (*number != 0).to_sql(kind, out),
            (Column::Text, Cell::Text(written)) => text::stored(written).to_sql(kind, out),
            (Column::Json, Cell::Text(json)) if self.derive == Derive::Yes && jsonb::fits(json) => {
                // The version of its binary form.
                out.put_u8(1);
                out.put_slice(json.as_bytes());
                Ok(IsNull::No)
            }
            // An empty id stands for none.
            (_, Cell::Null) | (Column::Json, _) => Ok(IsNull::Yes),
            (Column::Uuid, Cell::Bytes(id)) if id.is_empty() => Ok(IsNull::Yes),
            (Column::Uuid, Cell::Bytes(id)) => uuid::Uuid::from_slice(id)?.to_sql(kind, out),
            (Column::Int, Cell::Int(number)) => number.to_sql(kind, out),
            (Column::Bytes, Cell::Bytes(bytes)) => bytes.as_slice().to_sql(kind, out),
            (column, cell) => Err(format!("{cell:?} is no {column:?}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
