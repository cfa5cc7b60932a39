//! The log, followed.

use homing_protocol::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::fault::Answer;
use super::query::{Matching, OF_ATTEMPT, REMOVED, to_record};
use crate::filter::Filter;
use crate::position::{Position, Tail};
use crate::record::Record;

/// Entries looked at in one call. While a call reads, pages that are written
/// meanwhile pile up beside the database.
const LOOK_MAX: i64 = 50_000;

/// Where the log ends.
pub(crate) fn end(db: &Connection) -> Answer<Position> {
    let end = db
        .prepare_cached("SELECT value FROM meta WHERE name = 'log_end'")?
        .query_row([], |row| row.get(0))?;
    Ok(Position::new(end))
}

/// When the newest entry was stored: what a task is by now is at the position where
/// the log says so, and stays when the log is removed by age.
pub(super) fn newest(db: &Connection) -> Answer<Timestamp> {
    let newest = db
        .prepare_cached("SELECT stored_at FROM tasks ORDER BY position DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(Timestamp::from_ms(newest.unwrap_or(i64::MIN)))
}

/// The log after `after`, the oldest record first.
pub(crate) fn tail(db: &Connection, after: Position, filter: &Filter, limit: u32) -> Answer<Tail> {
    let newest = end(db)?;
    let mut first = first(db, "log")?;
    if after != Position::START {
        after.within(Position::new(first - 1), newest)?;
        first = after.number() + 1;
    }
    if let Some(since) = filter.since {
        first = first.max(first_since(db, "log", since)?);
    }
    let last = newest.number().min(first.saturating_add(LOOK_MAX - 1));
    let records = entries(db, filter, first..=last, "ASC", limit)?;
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
pub(crate) fn last(db: &Connection, filter: &Filter, n: u32) -> Answer<Tail> {
    let position = end(db)?;
    let first = match filter.since {
        Some(since) => first_since(db, "log", since)?,
        None => 1,
    };
    let mut records = entries(db, filter, first..=position.number(), "DESC", n)?;
    records.reverse();
    Ok(Tail {
        records,
        position,
        at_end: true,
    })
}

fn entries(
    db: &Connection,
    filter: &Filter,
    positions: std::ops::RangeInclusive<i64>,
    order: &str,
    limit: u32,
) -> Answer<Vec<Record>> {
    let mut matching = Matching::new(filter, "l");
    matching.add("l.position >= ?", (*positions.start()).into());
    matching.add("l.position <= ?", (*positions.end()).into());
    // A cross join is done in the order it is written: along the log.
    let sql = format!(
        "SELECT l.position, l.stored_at, {REMOVED}, {OF_ATTEMPT}
         FROM log l CROSS JOIN tasks t ON t.task = l.task AND t.run = l.run
         LEFT JOIN attempts a ON a.number = l.attempt
         WHERE {} ORDER BY l.position {order} LIMIT {limit}",
        matching.sql()
    );
    let mut statement = db.prepare_cached(&sql)?;
    let records = statement.query_map(params_from_iter(matching.values), to_record)?;
    Ok(records.collect::<Result<_, _>>()?)
}

/// The first position in `table`; the one after the end if there is none.
fn first(db: &Connection, table: &str) -> Answer<i64> {
    let first: Option<i64> = db
        .prepare_cached(&format!("SELECT min(position) FROM {table}"))?
        .query_row([], |row| row.get(0))?;
    match first {
        Some(first) => Ok(first),
        None => Ok(end(db)?.number() + 1),
    }
}

/// The position of the first row of `table`, which is the log or `tasks`, stored at
/// `since` or later; the one after the end if there is none. Times never go back,
/// so it is searched by halves. The log may begin later than `tasks` do.
pub(super) fn first_since(db: &Connection, table: &str, since: Timestamp) -> Answer<i64> {
    let (mut low, mut high) = (first(db, table)?, end(db)?.number() + 1);
    let mut at_or_after = db.prepare_cached(&format!(
        "SELECT position, stored_at FROM {table} WHERE position >= ?1 ORDER BY position LIMIT 1"
    ))?;
    while low < high {
        let middle = low + (high - low) / 2;
        let found = at_or_after.query_row(params![middle], |row| Ok((row.get(0)?, row.get(1)?)));
        let Some((position, stored_at)) = found.optional()? else {
            high = middle;
            continue;
        };
        let (position, stored_at): (i64, i64) = (position, stored_at);
        if stored_at < since.as_ms() {
            low = position + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
