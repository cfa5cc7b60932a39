//! Dead letters as they are kept: what tells them apart, and what came with them
//! as JSON.

use homing_protocol::{DeadLetter, Death, Digest, Header, HeaderValue, Properties, Received};
use serde_json::{Value, json};

/// Tells a message that is delivered again from another one, `None` if nothing
/// does: then it is better stored twice than lost.
///
/// A message that the broker dead-lettered keeps the `message_id` its publisher
/// gave it, which may not be unique: how it died and its body are part of it.
pub(crate) fn identity(letter: &DeadLetter) -> Option<Digest> {
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

/// How and where the broker dead-lettered a message.
pub(crate) fn deaths(deaths: &[Death]) -> Value {
    Value::from_iter(deaths.iter().map(death))
}

fn death(death: &Death) -> Value {
    json!({
        "reason": death.reason,
        "queue": death.queue,
        "count": death.count,
        "time": death.time,
    })
}

/// The properties of a message.
pub(crate) fn properties(received: &Received) -> Value {
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
pub(crate) fn headers(headers: &[Header]) -> Value {
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
