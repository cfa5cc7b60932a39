//! The store in one SQLite file, read by many processes and written by few: the
//! one collector that has the lock, and whoever repairs.
//!
//! The only module that knows SQL. Another database would be a module beside
//! it, with the same types at its edge.
//!
//! # Invariants
//!
//! The schema is changed by migrations only; each is one transaction, so none
//! is ever half done. The database file itself is never locked by hand nor
//! opened twice by us in one process for that: closing any handle of it would
//! drop SQLite's own locks (<https://sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>).

mod audit;
mod batch;
mod columns;
mod count;
mod dead;
mod fault;
mod file;
mod group;
mod health;
mod insert;
mod lock;
mod pool;
mod query;
mod repair;
mod schema;
mod tail;
mod tally;
mod writer;

pub(crate) use audit::{audit_batch, audit_lone, known_batches, unclosed};
pub(crate) use batch::{batch, batch_tasks, batches};
pub(crate) use count::stats;
pub(crate) use dead::{dead, dead_letter};
pub(crate) use lock::Standby;
pub(crate) use pool::{Pool, Reader};
pub(crate) use query::{list, matching, record, task};
pub(crate) use repair::{Repairs, replayable};
pub(crate) use tail::{end, last, tail};
pub(crate) use writer::Writer;
