use std::fmt;

use homing_protocol::{BatchRecord, DeadLetter, Digest, KindRecord, Proof, Report, Timestamp};

use crate::error::StoreError;
use crate::url::{Address, StoreUrl};
use crate::{postgres, sqlite};

/// Something to store.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// What a worker says of an attempt.
    Report(Report),
    /// What a producer says of a batch.
    Batch(BatchRecord),
    /// What a worker says of a kind.
    Kind(KindRecord),
    /// A message that no worker could settle.
    Dead(DeadLetter),
}

impl Entry {
    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Report(report) => report.bytes(),
            Self::Batch(record) => 200 + record.label.len(),
            Self::Kind(record) => 200 + record.schema.as_str().len(),
            Self::Dead(letter) => 400 + letter.received.body.len(),
        }
    }
}

/// The one that writes to a store. Blocking: it belongs on a thread of its own, or
/// on one of tokio's for what blocks. It waits for a database by an executor of
/// `futures`, which panics inside another one of those.
///
/// While it lives, no other process can have one for the same SQLite file. When
/// its process ends, in whatever way, the next one can. A PostgreSQL database
/// takes as many as there are.
#[derive(Debug)]
pub struct Writer(Backend);

/// What writes.
#[derive(Debug)]
enum Backend {
    Sqlite(Box<sqlite::Writer>),
    Postgres(Box<postgres::Writer>),
}

/// Asks whichever backend there is.
macro_rules! ask {
    ($writer:expr, $backend:ident => $answer:expr) => {
        match &mut $writer.0 {
            Backend::Sqlite($backend) => $answer,
            Backend::Postgres($backend) => $answer,
        }
    };
}

/// Proof that a group of entries is committed, and will be there after a crash
/// of this process, the system or its power.
///
/// Only [`Writer::write`] makes one, once it has committed:
///
/// ```
/// # use homing_protocol::Timestamp;
/// # use homing_store::{Committed, Entry, StoreError, Writer};
/// fn store(writer: &mut Writer, entries: &[Entry], now: Timestamp) -> Result<Committed, StoreError> {
///     writer.write(entries, now)
/// }
/// ```
///
/// Nobody else can:
///
/// ```compile_fail,E0423
/// # use homing_store::Committed;
/// fn store() -> Committed {
///     Committed(())
/// }
/// ```
#[derive(Debug)]
pub struct Committed(());

impl Proof for Committed {}

/// What came of opening a store for writing.
#[derive(Debug)]
pub enum Opened {
    /// It is ours.
    Ready(Writer),
    /// Another collector has it.
    Standby(Standby),
}

/// Stands in line for a store that another collector writes to.
#[derive(Debug)]
pub struct Standby(sqlite::Standby);

/// The process that writes to a store, for people to read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder(pub(crate) String);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Writer {
    /// Opens a store for writing: creates it, readable by its owner only, or
    /// migrates it, unless another process writes to it and it is a file.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it cannot be created or written, is not ours, or a newer
    /// version wrote it. Nothing is changed then.
    pub fn open(url: &StoreUrl) -> Result<Opened, StoreError> {
        match &url.0 {
            Address::Sqlite(path) => sqlite::Standby::new(path).and_then(opened),
            Address::Postgres(address) => {
                let writer = postgres::Writer::open(address)?;
                Ok(Opened::Ready(Self(Backend::Postgres(Box::new(writer)))))
            }
        }
    }

    /// Which process has the store in a file open for writing, `None` if none has,
    /// or it is a database, which tells nobody of it. Creates nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it is not there, or cannot be read.
    pub fn holder(url: &StoreUrl) -> Result<Option<Holder>, StoreError> {
        match &url.0 {
            Address::Sqlite(path) => sqlite::collects(path),
            Address::Postgres(_) => Ok(None),
        }
    }

    /// Stores `entries` in one transaction, at time `now`. What is stored
    /// already changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: none of them is stored. The same call can be made again.
    pub fn write(&mut self, entries: &[Entry], now: Timestamp) -> Result<Committed, StoreError> {
        ask!(self, writer => writer.write(entries, now))?;
        Ok(Committed(()))
    }

    /// Notes, before anything is done with it, that a letter was taken from
    /// quarantine. Answers how often it was, by now. Of the one `before`, which
    /// this process has outlived, nothing is noted any more.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it cannot be noted. The same call can be made again.
    pub fn note_try(
        &mut self,
        letter: &Digest,
        before: Option<&Digest>,
    ) -> Result<u32, StoreError> {
        ask!(self, writer => writer.note_try(letter, before))
    }

    /// Opens what is at the store's path now, after an error that may be of the
    /// connection: the same file, or the one that has taken its place. Never
    /// creates one: where a disk is not mounted it would be the wrong one. Of a
    /// database, that is another connection.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it cannot be opened, or another process writes to it. The
    /// same call can be made again.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        ask!(self, writer => writer.reopen())
    }

    /// How many tasks something is stored of, each run counted once.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it cannot be read.
    pub fn stored(&mut self) -> Result<u64, StoreError> {
        ask!(self, writer => writer.stored())
    }
}

impl Standby {
    /// Who has the store now.
    pub fn holder(&self) -> Holder {
        self.0.holder()
    }

    /// Tries again. Answers at once.
    ///
    /// # Errors
    ///
    /// As [`Writer::open`].
    pub fn retry(self) -> Result<Opened, StoreError> {
        opened(self.0)
    }
}

fn opened(standby: sqlite::Standby) -> Result<Opened, StoreError> {
    Ok(match standby.try_take()? {
        Ok(writer) => Opened::Ready(Writer(Backend::Sqlite(Box::new(writer)))),
        Err(standby) => Opened::Standby(Standby(standby)),
    })
}
