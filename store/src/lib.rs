//! Outcomes at rest: written once by a collector, queried by everybody.
//!
//! A [`Store`] reads: list, show, wait, follow, count. A [`Writer`] stores what
//! arrives: into a SQLite file, where a lock beside it decides which process has
//! it, or into a PostgreSQL database, where several may. [`Repairs`] notes what
//! people do about tasks that did not succeed, beside whoever else writes. What is
//! in the file or the database behind them is private.
//!
//! # Invariants
//!
//! Within a run of a task the first final status stored never changes. A report
//! that is stored again changes nothing. The log grows in the order of the
//! commits, so a [`Position`] in it stays valid, until its oldest entries are
//! removed by age: [`remove_old`] takes them and content, never the row of a run. Every count is kept in the
//! transaction that changes what it counts: none is ever made by scanning.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use homing_store::{Filter, Store};
//!
//! let store = Store::open(&"sqlite:homing.db".parse()?).await?;
//! for record in store.list(&Filter::all().problems(), 20).await? {
//!     println!("{} {}", record.report.task, record.report.status);
//! }
//! # Ok(())
//! # }
//! ```

mod audit;
mod batch;
mod copy;
mod error;
mod filter;
mod fold;
mod histogram;
mod letter;
mod place;
mod position;
mod postgres;
mod record;
mod repair;
mod replay;
mod retention;
mod sqlite;
mod stats;
mod store;
mod tally;
mod url;
mod wait;
mod writer;

pub use audit::{BatchAudit, LoneAudit, Unclosed};
pub use batch::{Batch, BatchRef};
pub use copy::{Copied, CopyError, copy};
pub use error::{StoreError, WaitError};
pub use filter::{DeadFilter, Filter, KindPattern, PatternError};
pub use place::Place;
pub use position::{Position, PositionError, Tail};
pub use record::{
    AttemptRecord, ConflictRecord, DeadLetterRecord, DeadRecord, Record, RepairNote, RepairRecord,
    ReplayRecord, TaskRecord,
};
pub use repair::{Began, NewRun, Repairs, Turn};
pub use replay::{Replayable, next_run};
pub use retention::{Keep, Removed, remove_old};
pub use stats::{Counts, KindStats, Quantiles};
pub use store::{Store, Watch};
pub use url::{StoreUrl, UrlError};
pub use writer::{Committed, Entry, Holder, Opened, Standby, Writer};
