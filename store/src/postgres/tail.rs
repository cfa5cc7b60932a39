//! The log, followed.
//!
//! Commits finish in the order of their positions, since whoever adds to the log
//! is the only one that does, from before the first position is given until the
//! commit: see [`group`](super::group). So what a reader sees of
//! the log has no gap that is filled later.

use homing_protocol::Timestamp;

use super::columns::Columns;
use super::fault::Answer;
use super::query::{CONTENTS, Matching, OF_ATTEMPT, REMOVED, to_record};
use super::session::Session;
use crate::filter::Filter;
use crate::position::{Position, Tail};
use crate::record::Record;

/// Entries looked at in one call.
const LOOK_MAX: i64 = 50_000;

/// The end of the log, and when it came to that: what a task is by now is at the
/// position where the log says so, and stays when the log is removed by age.
pub(super) const NEWEST: &str =
    "SELECT position, stored_at FROM tasks ORDER BY position DESC LIMIT 1";

/// Where the log ends.
pub(crate) async fn end(db: &Session) -> Answer<Position> {
    let newest = db.query_opt(NEWEST, &[]).await?;
    let end = newest.map_or(Ok(0), |row| Columns::new(&row, 0).next());
    end.map(Position::new)
}

/// The log after `after`, the oldest record first.
pub(crate) async fn tail(
    db: &Session,
    after: Position,
    filter: &Filter,
    limit: u32,
) -> Answer<Tail> {
    let newest = end(db).await?;
    let mut first = first(db, "log").await?;
    if after != Position::START {
        after.within(Position::new(first - 1), newest)?;
        first = after.number() + 1;
    }
    if let Some(since) = filter.since {
        first = first.max(first_since(db, "log", since).await?);
    }
    let last = newest.number().min(first.saturating_add(LOOK_MAX - 1));
    let records = entries(db, filter, first..=last, "ASC", limit).await?;
    let cut = u32::try_from(records.len()).is_ok_and(|length| length >= limit);
    let position = match records.last() {
        Some(record) if cut => record.position,
        _ if limit == 0 => after,
        _ => Position::new(last),
    };
    Ok(Tail {
        at_end: position == newest,
        records,
        position,
    })
}

/// The newest `n` that match, the oldest of them first.
pub(crate) async fn last(db: &Session, filter: &Filter, n: u32) -> Answer<Tail> {
    let position = end(db).await?;
    let first = match filter.since {
        Some(since) => first_since(db, "log", since).await?,
        None => 1,
    };
    let mut records = entries(db, filter, first..=position.number(), "DESC", n).await?;
    records.reverse();
    Ok(Tail {
        records,
        position,
        at_end: true,
    })
}

async fn entries(
    db: &Session,
    filter: &Filter,
    positions: std::ops::RangeInclusive<i64>,
    order: &str,
    limit: u32,
) -> Answer<Vec<Record>> {
    let mut matching = Matching::new(filter, "l");
    matching.add("l.position >=", *positions.start());
    matching.add("l.position <=", *positions.end());
    // With the task found for each entry the server has no choice but to go along the
    // log, which has no statistics as a whole by which it would know that it must.
    let sql = format!(
        "SELECT l.position, l.stored_at, {REMOVED}, {OF_ATTEMPT}
         FROM log l CROSS JOIN LATERAL (
             SELECT * FROM tasks WHERE task = l.task AND run = l.run OFFSET 0) t
         {CONTENTS}
         LEFT JOIN attempts a ON a.number = l.attempt
         WHERE {} ORDER BY l.position {order} LIMIT {limit}",
        matching.sql()
    );
    let rows = db.query(&sql, &matching.values()).await?;
    rows.iter().map(to_record).collect()
}

/// The first position in `table`; the one after the end if there is none.
async fn first(db: &Session, table: &str) -> Answer<i64> {
    let sql = format!("SELECT min(position) FROM {table}");
    let first: Option<i64> = Columns::new(&db.query_one(&sql, &[]).await?, 0).next()?;
    match first {
        Some(first) => Ok(first),
        None => Ok(end(db).await?.number() + 1),
    }
}

/// The position of the first row of `table`, which is the log or `tasks`, stored at
/// `since` or later; the one after the end if there is none. Times never go back,
/// so it is searched by halves. The log may begin later than `tasks` do.
pub(super) async fn first_since(db: &Session, table: &str, since: Timestamp) -> Answer<i64> {
    let newest = end(db).await?;
    let (mut low, mut high) = (first(db, table).await?, newest.number() + 1);
    let sql = format!(
        "SELECT position, stored_at FROM {table} WHERE position >= $1 ORDER BY position LIMIT 1"
    );
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(row) = db.query_opt(&sql, &[&middle]).await? else {
            high = middle;
            continue;
        };
        let mut columns = Columns::new(&row, 0);
        let (position, stored_at): (i64, i64) = (columns.next()?, columns.next()?);
        if stored_at < since.as_ms() {
            low = position + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
