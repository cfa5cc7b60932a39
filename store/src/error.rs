use std::io;
use std::path::PathBuf;

use homing_protocol::{DecodeError, TaskId};

use crate::position::Position;

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file does not exist. A collector creates it; reading never does.
    #[error("no store here: {} does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The directory the file is to be created in does not exist.
    #[error("cannot create the store {}: its directory does not exist", path.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else: no SQLite database, or another program's.
    #[error("{} is not a store of Homing: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// A newer version of Homing wrote it.
    #[error(
        "the store {} has schema {found}, but this version reads up to {supported}: use a newer one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest this build knows.
        supported: u32,
    },
    /// An older version wrote it, and no collector has migrated it yet.
    #[error(
        "the store {} has schema {found}, but this version reads {supported}: start its collector once to migrate it",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
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
    #[error("the store {} is locked by another process", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("no space left for the store {}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The disk, or the network it is behind, fails.
    #[error("the disk fails under the store {}: {detail}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// SQLite's own words.
        detail: String,
    },
    /// The file was moved, deleted or replaced while it was open.
    #[error("the store {} was moved, deleted or replaced while in use", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// What is in the file contradicts itself.
    #[error("the store {} is damaged: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// SQLite's own words, or what was found.
        detail: String,
    },
    /// SQLite refuses something in an entry, such as for a constraint or a
    /// trigger that somebody added. Others may be stored.
    #[error("the store {} refuses an entry: {detail}", path.display())]
    Rejected {
        /// The file.
        path: PathBuf,
        /// SQLite's own words.
        detail: String,
    },
    /// SQLite refuses a statement of ours.
    #[error("the store {} refuses a statement: {detail}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// SQLite's own words.
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
    /// another process is done, there is room, a disk is mounted again, or the
    /// file is back.
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::NoDirectory { .. }
            | Self::Unreadable { .. }
            | Self::Unwritable { .. }
            | Self::Busy { .. }
            | Self::Full { .. }
            | Self::Disk { .. }
            | Self::Gone { .. } => true,
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
