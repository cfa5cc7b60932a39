//! The store in one SQLite file, read by many processes and written by few: the
//! one collector that has the lock, and whoever repairs.
//!
//! Turns the store's calls into SQL, as [`postgres`](crate::postgres) does with the
//! same types at its edge.
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
mod dump;
mod fault;
mod file;
mod group;
mod health;
mod insert;
mod kind;
mod lock;
mod pool;
mod query;
mod reads;
mod repair;
mod retention;
mod schema;
mod tail;
mod watch;
mod writer;

pub(crate) use dump::Dump;
pub(crate) use lock::{Standby, collects};
pub(crate) use reads::Reads;
pub(crate) use repair::Repairs;
pub(crate) use retention::remove_old;
pub(crate) use watch::Watch;
pub(crate) use writer::Writer;
