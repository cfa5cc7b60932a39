//! What people do about tasks that did not succeed.
//!
//! Written by a connection of its own, beside the collectors': each change is
//! one short transaction, which is the only one that writes, as theirs are, and
//! reads whatever it depends on.

use std::collections::HashSet;
use std::time::Duration;

use homing_protocol::{Digest, Payload, Run, Status, TaskId, Timestamp};

use super::address::Address;
use super::columns::{Columns, integer};
use super::driver::block_on;
use super::fault::{Answer, Fault};
use super::group::{Group, WRITING};
use super::insert::Derive;
use super::query::{self, CONTENTS};
use super::schema::{self, LOCKS};
use super::session::{BEGIN, Purpose, Session, Step};
use super::text::stored;
use super::{WRITE_TIMEOUT, dead, in_time};
use crate::error::StoreError;
use crate::record::{HISTORY_MAX, RepairNote, RepairRecord, ReplayRecord};
use crate::repair::{Began, NewRun};
use crate::replay::{Intended, PAYLOADS_BYTES_MAX, Replayable};
use crate::writer::Holder;

/// The half of the advisory lock that the one has who replays. The server gives
/// it back when the connection ends.
const REPLAYING: i32 = 1;

/// A connection that repairs.
#[derive(Debug)]
pub(crate) struct Repairs {
    session: Session,
    address: Address,
    note: RepairNote,
    /// Written with the first thing that is done.
    number: Option<i64>,
}

/// How long the server has to take back the turn.
const BACK_TIME: Duration = Duration::from_secs(2);

/// Gives back the turn to replay, which is not left to the server: it notices by and
/// by that a connection has ended.
impl Drop for Repairs {
    fn drop(&mut self) {
        let sql = "SELECT pg_advisory_unlock($1, $2)";
        let back = self.session.query_one(sql, &[&LOCKS, &REPLAYING]);
        // A connection that is gone gives it back as well.
        let _gone = block_on(in_time(BACK_TIME, back));
    }
}

impl Repairs {
    /// Takes the turn to replay, or says who has it.
    pub(crate) fn replay(
        address: &Address,
        note: RepairNote,
    ) -> Result<Result<Self, Holder>, StoreError> {
        let taken = block_on(in_time(WRITE_TIMEOUT, async {
            let session = open(address).await?;
            let sql = "SELECT pg_try_advisory_lock($1, $2)";
            let row = session.query_one(sql, &[&LOCKS, &REPLAYING]).await?;
            if row.try_get(0)? {
                return Ok(Ok(session));
            }
            Ok(Err(holder(&session).await?))
        }));
        let taken = taken.map_err(|fault: Fault| fault.at(address))?;
        Ok(taken.map(|session| Self {
            session,
            address: address.clone(),
            note,
            number: None,
        }))
    }

    /// Writes down runs that are about to be published.
    pub(crate) fn begin(
        &mut self,
        runs: &[NewRun],
        now: Timestamp,
    ) -> Result<Vec<Began>, StoreError> {
        let (db, note, known) = (&self.session, &self.note, self.number);
        let begun = block_on(in_time(WRITE_TIMEOUT, async {
            lock(db).await?;
            let number = match known {
                Some(number) => number,
                None => insert(db, "replay", note, now).await?,
            };
            let mut began = Vec::with_capacity(runs.len());
            for run in runs {
                began.push(begin(db, number, run, now).await?);
            }
            db.batch("COMMIT").await?;
            Ok((number, began))
        }));
        let (number, began) = self.undone(begun)?;
        self.number = Some(number);
        Ok(began)
    }

    /// Writes down that the broker has these runs.
    pub(crate) fn confirm(&mut self, runs: &[NewRun], now: Timestamp) -> Result<(), StoreError> {
        let (db, number) = (&self.session, self.number);
        let tasks: HashSet<_> = runs.iter().map(|run| run.report.task).collect();
        let confirmed = block_on(in_time(WRITE_TIMEOUT, async {
            let mut group = Group::begin(db, now, tasks, &[]).await?;
            let confirm = runs.iter().map(|run| {
                let sql = "UPDATE replays SET confirmed_at = $4
                    WHERE task = $1 AND run = $2 AND repair = $3";
                Step::new(sql)
                    .with(run.report.task.as_uuid())
                    .with(i64::from(run.report.run.get()))
                    .with(number)
                    .with(now.as_ms())
            });
            runs.iter().for_each(|run| group.open(&run.report));
            group.commit(db, Derive::Yes, confirm.collect()).await
        }));
        self.undone(confirmed)
    }

    /// Removes the content of dead letters.
    pub(crate) fn discard(
        address: &Address,
        numbers: &[u64],
        note: &RepairNote,
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        let discarded = block_on(in_time(WRITE_TIMEOUT, async {
            let db = open(address).await?;
            lock(&db).await?;
            let repair = insert(&db, "discard", note, now).await?;
            let mut discarded = Vec::with_capacity(numbers.len());
            for number in numbers {
                discarded.push(dead::discard(&db, *number, repair).await?);
            }
            db.batch("SELECT pg_notify('homing', ''); COMMIT").await?;
            Ok(discarded)
        }));
        discarded.map_err(|fault: Fault| fault.at(address))
    }

    /// What was `done`; if it was not, what was begun of it is undone, so that the
    /// connection, and with it the turn, can be used again.
    fn undone<T>(&self, done: Answer<T>) -> Result<T, StoreError> {
        done.map_err(|fault| {
            // Should that fail too, the connection is gone, and its transaction.
            let _gone = block_on(in_time(WRITE_TIMEOUT, self.session.batch("ROLLBACK")));
            fault.at(&self.address)
        })
    }
}

/// Connects to a store that is there and has the newest schema.
pub(super) async fn open(address: &Address) -> Answer<Session> {
    let session = Session::open(address, Purpose::Write).await?;
    schema::check(&session).await?;
    Ok(session)
}

/// Begins a transaction that is the only one that writes.
pub(super) async fn lock(db: &Session) -> Answer<()> {
    db.batch(&format!(
        "{BEGIN}; SELECT pg_advisory_xact_lock({LOCKS}, {WRITING})"
    ))
    .await?;
    schema::check_state(&db.query(schema::STATE, &[]).await?)
}

/// Who replays, as the server knows them.
async fn holder(db: &Session) -> Answer<Holder> {
    let sql = "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
          AND l.classid = $1::int::oid AND l.objid = $2::int::oid
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let row = db.query_opt(sql, &[&LOCKS, &REPLAYING]).await?;
    let name = row
        .map(|row| row.try_get::<_, Option<String>>(0))
        .transpose()?;
    let name = name.flatten().filter(|name| !name.is_empty());
    Ok(Holder(name.unwrap_or_else(|| "another process".to_owned())))
}

pub(super) async fn insert(
    db: &Session,
    verb: &str,
    note: &RepairNote,
    now: Timestamp,
) -> Answer<i64> {
    let sql = "INSERT INTO repairs (verb, at, who, asked, why) VALUES ($1, $2, $3, $4, $5)
        RETURNING number";
    let [who, asked, why] = [&note.who, &note.asked, &note.why].map(|text| stored(text));
    let row = db
        .query_one(sql, &[&verb, &now.as_ms(), &who, &asked, &why])
        .await?;
    Ok(row.try_get(0)?)
}

async fn begin(db: &Session, repair: i64, run: &NewRun, now: Timestamp) -> Answer<Began> {
    let report = &run.report;
    if newest(db, report.task).await? != run.was {
        return Ok(Began::Changed);
    }
    let sql = "INSERT INTO replays (task, run, repair, at, kind, queue, dead)
        SELECT $1::uuid, $2::bigint, $3::bigint, $4::bigint, $5::text, $6::text, $7::bigint
        WHERE NOT EXISTS (SELECT 1 FROM replays WHERE task = $1 AND repair = $3)
        RETURNING run";
    let begun = db
        .query(
            sql,
            &[
                &report.task.as_uuid(),
                &i64::from(report.run.get()),
                &repair,
                &now.as_ms(),
                &stored(&report.kind),
                &stored(&report.queue),
                &run.dead.map(integer),
            ],
        )
        .await?;
    if begun.is_empty() {
        // Named twice, it was begun by this very replay.
        return Ok(Began::Changed);
    }
    // A letter without an id of its own belongs to its task from here on.
    if run.was.is_none()
        && let Some(number) = run.dead
    {
        dead::link(db, integer(number), report.task, report.run).await?;
    }
    Ok(Began::Yes)
}

/// The newest run that is stored of `task`, and its status.
async fn newest(db: &Session, task: TaskId) -> Answer<Option<(Run, Status)>> {
    let sql = "SELECT run, status FROM tasks WHERE task = $1 ORDER BY run DESC LIMIT 1";
    let Some(row) = db.query_opt(sql, &[&task.as_uuid()]).await? else {
        return Ok(None);
    };
    let mut columns = Columns::new(&row, 0);
    Ok(Some((columns.run()?, columns.status()?)))
}

/// The repair of this number.
pub(super) async fn repair(db: &Session, number: i64) -> Answer<RepairRecord> {
    let sql = "SELECT number, at, who, asked, why FROM repairs WHERE number = $1";
    let row = db.query_one(sql, &[&number]).await?;
    to_repair(&mut Columns::new(&row, 0))
}

fn to_repair(columns: &mut Columns<'_>) -> Answer<RepairRecord> {
    Ok(RepairRecord {
        number: columns.natural()?,
        at: columns.time()?,
        note: RepairNote {
            who: columns.text()?,
            asked: columns.text()?,
            why: columns.text()?,
        },
    })
}

/// The replays of a task, the oldest first.
pub(super) async fn replays(db: &Session, task: TaskId) -> Answer<Vec<ReplayRecord>> {
    let sql = format!(
        "SELECT p.run, p.at, p.kind, p.queue, p.dead, p.confirmed_at,
             r.number, r.at, r.who, r.asked, r.why
         FROM replays p JOIN repairs r ON r.number = p.repair
         WHERE p.task = $1 ORDER BY p.run, p.repair LIMIT {HISTORY_MAX}"
    );
    let replay = |row| {
        let mut columns = Columns::new(row, 0);
        Ok(ReplayRecord {
            run: columns.run()?,
            at: columns.time()?,
            kind: columns.text()?,
            queue: columns.text()?,
            dead: columns.natural_or_none()?,
            confirmed_at: columns.time_or_none()?,
            repair: to_repair(&mut columns)?,
        })
    };
    let rows = db.query(&sql, &[&task.as_uuid()]).await?;
    rows.iter().map(replay).collect()
}

/// What a replay of these tasks needs, of as many as fit.
pub(crate) async fn replayable(db: &Session, tasks: &[TaskId]) -> Answer<Vec<Option<Replayable>>> {
    let (mut found, mut bytes) = (Vec::with_capacity(tasks.len()), 0);
    for task in tasks {
        let one = replayable_one(db, *task).await?;
        let payload = one.as_ref().and_then(|one| one.payload.as_ref());
        bytes += payload.map_or(0, |payload| payload.bytes.len());
        found.push(one);
        if bytes > PAYLOADS_BYTES_MAX {
            break;
        }
    }
    Ok(found)
}

async fn replayable_one(db: &Session, task: TaskId) -> Answer<Option<Replayable>> {
    let Some(record) = query::record(db, task).await? else {
        return Ok(None);
    };
    let kept = kept(db, task).await?;
    let whole = kept.as_ref().is_none_or(|(payload, digest)| {
        // Bits of a disk may turn in years.
        Digest::of(&payload.bytes) == *digest
    });
    Ok(Some(Replayable {
        record,
        payload: kept.filter(|_| whole).map(|(payload, _)| payload),
        damaged: !whole,
        intended: intended(db, task).await?,
    }))
}

/// The payload of a task and its digest, from the newest run that has it.
async fn kept(db: &Session, task: TaskId) -> Answer<Option<(Payload, Digest)>> {
    let sql = format!(
        "SELECT coalesce(c.payload, t.payload), t.content_type, t.digest FROM tasks t {CONTENTS}
         WHERE t.task = $1 AND coalesce(c.payload, t.payload) IS NOT NULL
         ORDER BY t.run DESC LIMIT 1"
    );
    let Some(row) = db.query_opt(&sql, &[&task.as_uuid()]).await? else {
        return Ok(None);
    };
    let mut columns = Columns::new(&row, 0);
    let payload = Payload {
        bytes: columns.bytes()?,
        content_type: columns.content_type()?,
    };
    Ok(Some((payload, columns.digest()?)))
}

/// The last run that a replay of the task began.
async fn intended(db: &Session, task: TaskId) -> Answer<Option<Intended>> {
    // A run that was begun more than once is as its last beginning says.
    let sql = "SELECT run, kind, queue, bool_or(confirmed_at IS NOT NULL) OVER ()
        FROM replays
        WHERE task = $1 AND run = (SELECT max(run) FROM replays WHERE task = $1)
        ORDER BY repair DESC LIMIT 1";
    let Some(row) = db.query_opt(sql, &[&task.as_uuid()]).await? else {
        return Ok(None);
    };
    let mut columns = Columns::new(&row, 0);
    Ok(Some(Intended {
        run: columns.run()?,
        kind: columns.text()?,
        queue: columns.text()?,
        confirmed: columns.next()?,
    }))
}
