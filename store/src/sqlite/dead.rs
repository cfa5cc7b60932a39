//! Dead letters: the messages themselves, with everything that came with them.

use homing_protocol::{
    DeadLetter, Death, Digest, Header, HeaderValue, Properties, Received, TaskId, Timestamp,
};
use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};

use super::columns;
use super::fault::{Answer, Fault};
use crate::record::DeadRecord;

/// Stores `letter` whole. Answers false if it is stored already.
pub(super) fn insert(db: &Connection, letter: &DeadLetter, now: Timestamp) -> Answer<bool> {
    let received = &letter.received;
    let identity = identity(letter);
    let task = letter.reports.first().map(|report| report.task);
    let changed = db
        .prepare_cached(
            "INSERT INTO dead_letters (identity, stored_at, reason, detail, queue, kind, task,
                 exchange, routing_key, properties, headers, deaths, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            identity.as_ref().map(|digest| &digest.as_bytes()[..]),
            now.as_ms(),
            letter.reason.as_str(),
            letter.detail,
            letter.queue,
            received.properties.kind,
            task.as_ref().map(|id| &id.as_bytes()[..]),
            received.exchange,
            received.routing_key,
            properties(received).to_string(),
            headers(&received.properties.headers).to_string(),
            Value::from_iter(received.deaths.iter().map(death)).to_string(),
            &received.body[..],
        ])?;
    Ok(changed > 0)
}

/// The dead letters stored last, the last first.
pub(crate) fn dead(db: &Connection, limit: u32) -> Answer<Vec<DeadRecord>> {
    let mut statement = db.prepare_cached(
        "SELECT number, stored_at, reason, detail, queue, kind, task, length(body)
         FROM dead_letters ORDER BY number DESC LIMIT ?1",
    )?;
    let records = statement.query_map([limit], record)?;
    Ok(records.collect::<Result<_, _>>()?)
}

fn record(row: &Row<'_>) -> rusqlite::Result<DeadRecord> {
    let reason = columns::reason(row, 2)?;
    Ok(DeadRecord {
        number: columns::natural(row, 0)?,
        stored_at: Timestamp::from_ms(row.get(1)?),
        reason: reason.ok_or_else(|| Fault::corrupt(2, "no reason"))?,
        detail: row.get(3)?,
        queue: row.get(4)?,
        kind: row.get(5)?,
        task: columns::uuid_or_none(row, 6)?.map(TaskId::from),
        bytes: columns::natural(row, 7)?,
    })
}

/// Tells a message that is delivered again from another one, `None` if nothing
/// does: then it is better stored twice than lost.
///
/// A message that the broker dead-lettered keeps the `message_id` its publisher
/// gave it, which may not be unique: how it died and its body are part of it.
fn identity(letter: &DeadLetter) -> Option<Digest> {
    let received = &letter.received;
    let id = received.properties.message_id.as_deref()?;
    let died = received.deaths.first();
    let said = json!([
        id,
        letter.reason.as_str(),
        died.map(death),
        Digest::of(&received.body).as_bytes(),
    ]);
    (!id.is_empty()).then(|| Digest::of(said.to_string().as_bytes()))
}

fn death(death: &Death) -> Value {
    json!({
        "reason": death.reason,
        "queue": death.queue,
        "count": death.count,
        "time": death.time,
    })
}

fn properties(received: &Received) -> Value {
    let Properties {
        message_id,
        correlation_id,
        kind,
        content_type,
        timestamp,
        priority,
        reply_to,
        app_id,
        headers: _,
    } = &received.properties;
    json!({
        "message_id": message_id,
        "correlation_id": correlation_id,
        "type": kind,
        "content_type": content_type,
        "timestamp": timestamp,
        "priority": priority,
        "reply_to": reply_to,
        "app_id": app_id,
        "delivery_count": received.delivery_count,
    })
}

/// Pairs of name and value, in their order: a name may be there twice.
fn headers(headers: &[Header]) -> Value {
    Value::from_iter(
        headers
            .iter()
            .map(|(name, header)| json!([name, value(header)])),
    )
}

/// A value whose type JSON does not tell is an object that names it.
fn value(header: &HeaderValue) -> Value {
    match header {
        HeaderValue::Bool(bool) => json!(bool),
        HeaderValue::Int(number) => json!(number),
        // As text, since not all have a form in JSON.
        HeaderValue::Float(number) => json!({ "float": number.to_string() }),
        HeaderValue::Text(text) => json!(text),
        HeaderValue::Bytes(bytes) => json!({ "bytes": hex(bytes) }),
        HeaderValue::Time(secs) => json!({ "time": secs }),
        HeaderValue::List(values) => Value::from_iter(values.iter().map(value)),
        HeaderValue::Table(fields) => json!({ "table": headers(fields) }),
        // `Void`, and what a later version adds.
        _ => Value::Null,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
