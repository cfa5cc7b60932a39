//! The store in a PostgreSQL database, read and written by many processes on many
//! hosts.
//!
//! As [`sqlite`](crate::sqlite) does, it turns the store's calls into SQL; what
//! becomes of a report is decided by the same [`fold`](crate::fold).
//!
//! ```text
//! Reads ── a few sessions ──────────┐
//! Watch ── a session that listens ──┼── the runtime of connections (one thread)
//! Writer, Repairs ── one session ───┘
//! ```
//!
//! # Invariants
//!
//! A transaction that writes is the only one that does, from before it reads
//! until its commit: see [`group`]. Commits are on the disk before they return,
//! whatever the server's default is. After an error a connection is dropped, and
//! the same group is written again over another one: if the first commit took
//! place after all, the second changes nothing.

mod address;
mod audit;
mod batch;
mod columns;
mod count;
mod dead;
mod driver;
mod fault;
mod group;
mod insert;
mod jsonb;
mod kind;
mod load;
mod partition;
mod pause;
mod query;
mod reads;
mod removal;
mod repair;
mod retention;
mod schema;
mod session;
mod tail;
mod text;
mod tls;
mod watch;
mod writer;

use std::time::Duration;

use fault::{Answer, Fault};

pub(crate) use address::Address;
pub(crate) use load::Load;
pub(crate) use reads::Reads;
pub(crate) use repair::Repairs;
pub(crate) use retention::remove_old;
pub(crate) use watch::Watch;
pub(crate) use writer::Writer;

/// How long a transaction may take: more than the server lets it wait for the
/// lock, and a statement of it run.
const WRITE_TIMEOUT: Duration = Duration::from_secs(100);

/// What `work` answers, if it does in time.
async fn in_time<T>(timeout: Duration, work: impl Future<Output = Answer<T>>) -> Answer<T> {
    let done = driver::timeout(timeout, work).await;
    done.unwrap_or(Err(Fault::Silent))
}
