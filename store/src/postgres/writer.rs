use std::time::Duration;

use homing_protocol::{Digest, Timestamp};

use super::address::Address;
use super::columns::Columns;
use super::driver::block_on;
use super::fault::{Answer, Fault};
use super::group::Group;
use super::insert::Derive;
use super::session::{Purpose, Session};
use super::{WRITE_TIMEOUT, in_time, schema};
use crate::error::StoreError;
use crate::writer::Entry;

/// How long a question of the writer's may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long opening a store may take: to migrate it may take to read all of its log.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A connection that writes, one of as many as there are collectors.
#[derive(Debug)]
pub(crate) struct Writer {
    address: Address,
    /// `None` after an error, whatever it was: what the server still does over
    /// that connection is undone, or committed and written again to no effect.
    session: Option<Session>,
}

impl Writer {
    /// Connects, and migrates the schema or creates it.
    pub(crate) fn open(address: &Address) -> Result<Self, StoreError> {
        let opened = block_on(in_time(OPEN_TIMEOUT, async {
            let session = Session::open(address, Purpose::Write).await?;
            schema::migrate(&session).await?;
            Ok(session)
        }));
        let session = opened.map_err(|fault: Fault| fault.at(address))?;
        Ok(Self {
            address: address.clone(),
            session: Some(session),
        })
    }

    /// Connects anew. Never creates a schema: what is there without one is another
    /// database than the one before.
    pub(crate) fn reopen(&mut self) -> Result<(), StoreError> {
        self.session = None;
        let opened = block_on(in_time(ASK_TIMEOUT, async {
            let session = Session::open(&self.address, Purpose::Write).await?;
            match schema::check(&session).await {
                Err(Fault::Older { .. }) => schema::migrate(&session).await?,
                checked => checked?,
            }
            Ok(session)
        }));
        self.session = Some(opened.map_err(|fault: Fault| fault.at(&self.address))?);
        Ok(())
    }

    /// Writes `entries` in one transaction that is on the disk when this returns.
    pub(crate) fn write(&mut self, entries: &[Entry], now: Timestamp) -> Result<(), StoreError> {
        match self.commit(entries, now, Derive::Yes) {
            // The column for queries is not worth an outcome.
            Err(StoreError::Rejected { .. }) => self.commit(entries, now, Derive::No),
            written => written,
        }
    }

    fn commit(
        &mut self,
        entries: &[Entry],
        now: Timestamp,
        derive: Derive,
    ) -> Result<(), StoreError> {
        self.with(WRITE_TIMEOUT, async |db| {
            Group::write(db, entries, now, derive).await
        })
    }

    /// Counts one more try of `letter`, on the disk when this returns, and none of
    /// the one `before`. Answers how many that makes.
    pub(crate) fn note_try(
        &mut self,
        letter: &Digest,
        before: Option<&Digest>,
    ) -> Result<u32, StoreError> {
        self.with(ASK_TIMEOUT, async |db| {
            if let Some(before) = before {
                let forget = "DELETE FROM quarantine_tries WHERE letter = $1";
                db.query(forget, &[&&before.as_bytes()[..]]).await?;
            }
            let note = "INSERT INTO quarantine_tries AS q (letter, tries) VALUES ($1, 1)
                ON CONFLICT (letter) DO UPDATE SET tries = q.tries + 1 RETURNING tries";
            let row = db.query_one(note, &[&&letter.as_bytes()[..]]).await?;
            let tries = Columns::new(&row, 0).natural()?;
            Ok(u32::try_from(tries).unwrap_or(u32::MAX))
        })
    }

    /// How many runs of tasks something is stored of.
    pub(crate) fn stored(&mut self) -> Result<u64, StoreError> {
        self.with(ASK_TIMEOUT, async |db| {
            let sql = "SELECT coalesce(sum(tasks), 0)::bigint FROM kind_counts";
            Columns::new(&db.query_one(sql, &[]).await?, 0).natural()
        })
    }

    /// Does `work` with the connection, which is kept if all went well.
    fn with<T>(
        &mut self,
        timeout: Duration,
        work: impl AsyncFnOnce(&Session) -> Answer<T>,
    ) -> Result<T, StoreError> {
        let session = match self.session.take() {
            Some(session) if !session.is_closed() => session,
            _ => {
                self.reopen()?;
                self.session.take().expect("it was just opened")
            }
        };
        let done = block_on(in_time(timeout, work(&session)));
        let done = done.map_err(|fault| fault.at(&self.address))?;
        self.session = Some(session);
        Ok(done)
    }
}
