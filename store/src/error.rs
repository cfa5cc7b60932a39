use std::io;
use std::path::PathBuf;

use homing_protocol::{DecodeError, TaskId};

use crate::place::Place;
use crate::position::Position;

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file, the database or our schema in it does not exist. A collector
    /// creates a file and a schema; reading never does.
    #[error("no store here: {store} does not exist")]
    Missing {
        /// The store.
        store: Place,
    },
    /// The directory the file is to be created in does not exist.
    #[error("cannot create the store {}: its directory does not exist", path.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
    },
    /// It is something else: no SQLite database, or another program's.
    #[error("{store} is not a store of Homing: {what}")]
    Foreign {
        /// The store.
        store: Place,
        /// What it is instead.
        what: &'static str,
    },
    /// A newer version of Homing wrote it.
    #[error(
        "the store {store} has schema {found}, but this version reads up to {supported}: use a newer one"
    )]
    Newer {
        /// The store.
        store: Place,
        /// Its schema.
        found: u32,
        /// The newest this build knows.
        supported: u32,
    },
    /// An older version wrote it, and no collector has migrated it yet.
    #[error(
        "the store {store} has schema {found}, but this version reads {supported}: start its collector once to migrate it"
    )]
    Older {
        /// The store.
        store: Place,
        /// Its schema.
        found: u32,
        /// The one this build reads.
        supported: u32,
    },
    /// The file, or one beside it, may not be read.
    #[error("cannot read the store {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file, or one beside it, may not be created or written.
    #[error("cannot write the store {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process holds it longer than anybody should.
    #[error("the store {store} is locked by another process")]
    Busy {
        /// The store.
        store: Place,
    },
    /// The disk is full.
    #[error("no space left for the store {store}")]
    Full {
        /// The store.
        store: Place,
    },
    /// The disk, or the network it is behind, fails.
    #[error("the disk fails under the store {store}: {detail}")]
    Disk {
        /// The store.
        store: Place,
        /// The database's own words.
        detail: String,
    },
    /// The file was moved, deleted or replaced while it was open.
    #[error("the store {} was moved, deleted or replaced while in use", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// What is in the file contradicts itself.
    #[error("the store {store} is damaged: {detail}")]
    Corrupt {
        /// The store.
        store: Place,
        /// The database's own words, or what was found.
        detail: String,
    },
    /// The database refuses something in an entry, such as for a constraint or a
    /// trigger that somebody added. Others may be stored.
    #[error("the store {store} refuses an entry: {detail}")]
    Rejected {
        /// The store.
        store: Place,
        /// The database's own words.
        detail: String,
    },
    /// The database refuses a statement of ours.
    #[error("the store {store} refuses a statement: {detail}")]
    Refused {
        /// The store.
        store: Place,
        /// The database's own words.
        detail: String,
    },
    /// The server does not answer, or the connection to it ended.
    #[error("cannot reach the store {store}: {detail}")]
    Unreachable {
        /// The store.
        store: Place,
        /// What happened.
        detail: String,
    },
    /// The server does not let this user in, or not do this.
    #[error("the store {store} denies access: {detail}")]
    Denied {
        /// The store.
        store: Place,
        /// The server's own words.
        detail: String,
    },
    /// There is no encrypted connection as the URL demands it, or the server
    /// cannot prove who it is.
    #[error("no TLS to the store {store}: {detail}")]
    Tls {
        /// The store.
        store: Place,
        /// What is wrong.
        detail: String,
    },
    /// The log does not reach this position, or no longer.
    #[error("the log has no position {position}: it goes from {oldest} to {newest}")]
    Position {
        /// What was asked for.
        position: Position,
        /// The oldest one to go on from.
        oldest: Position,
        /// The newest one to go on from.
        newest: Position,
    },
}

impl StoreError {
    /// Whether waiting may cure it, for somebody who had the store before: until
    /// another process is done, there is room, a disk is mounted again, the file
    /// is back, or the server is.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::NoDirectory { .. }
            | Self::Unreadable { .. }
            | Self::Unwritable { .. }
            | Self::Busy { .. }
            | Self::Full { .. }
            | Self::Disk { .. }
            | Self::Gone { .. }
            | Self::Unreachable { .. }
            | Self::Denied { .. }
            | Self::Tls { .. } => true,
            Self::Foreign { .. }
            | Self::Newer { .. }
            | Self::Older { .. }
            | Self::Corrupt { .. }
            | Self::Rejected { .. }
            | Self::Refused { .. }
            | Self::Position { .. } => false,
        }
    }
}

/// Why the store gave no outcome to somebody who waits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The outcome is there, but not of this type.
    #[error("cannot read the outcome of task {id}")]
    Undecodable {
        /// The task.
        id: TaskId,
        /// What does not fit.
        #[source]
        source: DecodeError,
    },
}
