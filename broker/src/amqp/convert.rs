//! Between our messages and amqprs's.

use amqprs::channel::{BasicPublishArguments, ConsumerMessage, GetMessage};
use amqprs::{BasicProperties, FieldTable, FieldValue, ShortStr};
use bytes::Bytes;
use homing_protocol::limit::DEPTH_MAX;
use homing_protocol::{
    Death, Destination, H_PROPERTIES, H_UNREADABLE, Header, HeaderValue, Message, Properties,
    Received,
};

use super::plain::{Found, Read};

/// What amqprs needs to publish `message` to an exchange with a routing key.
/// Every name in it was checked to fit an AMQP short string.
pub(super) fn to_amqp(
    message: &Message,
    (exchange, key): &(String, String),
) -> (BasicProperties, Vec<u8>, BasicPublishArguments) {
    let from = &message.properties;
    let mut to = BasicProperties::default();
    to.with_persistence(true);
    if let Some(value) = &from.message_id {
        to.with_message_id(value);
    }
    if let Some(value) = &from.correlation_id {
        to.with_correlation_id(value);
    }
    if let Some(value) = &from.kind {
        to.with_message_type(value);
    }
    if let Some(value) = &from.content_type {
        to.with_content_type(value);
    }
    if let Some(value) = &from.reply_to {
        to.with_reply_to(value);
    }
    if let Some(value) = &from.app_id {
        to.with_app_id(value);
    }
    if let Some(timestamp) = from.timestamp {
        to.with_timestamp(timestamp);
    }
    if let Some(priority) = from.priority {
        to.with_priority(priority);
    }
    if !from.headers.is_empty() {
        to.with_headers(table(&from.headers));
    }
    let mut arguments = BasicPublishArguments::new(exchange, key);
    arguments.mandatory(is_guaranteed(&message.destination));
    (to.finish(), message.body.to_vec(), arguments)
}

/// Whether a message without a queue is an error. A reply is only a shortcut.
const fn is_guaranteed(destination: &Destination) -> bool {
    !matches!(
        destination,
        Destination::Reply { .. } | Destination::Foreign { .. }
    )
}

fn table(headers: &[Header]) -> FieldTable {
    let mut table = FieldTable::new();
    for (name, value) in headers {
        // Both lengths were checked before.
        if let (Ok(name), Some(value)) = (ShortStr::try_from(name.as_str()), field(value)) {
            table.insert(name, value);
        }
    }
    table
}

fn field(value: &HeaderValue) -> Option<FieldValue> {
    Some(match value {
        HeaderValue::Bool(value) => FieldValue::t(*value),
        HeaderValue::Int(number) => FieldValue::l(*number),
        HeaderValue::Float(number) => FieldValue::d(*number),
        HeaderValue::Text(text) => FieldValue::S(text.as_str().try_into().ok()?),
        HeaderValue::Bytes(bytes) => FieldValue::x(bytes.clone().try_into().ok()?),
        HeaderValue::Time(secs) => FieldValue::T(*secs),
        HeaderValue::List(values) => {
            let values: Vec<_> = values.iter().filter_map(field).collect();
            FieldValue::A(values.try_into().ok()?)
        }
        HeaderValue::Table(fields) => FieldValue::F(table(fields)),
        _ => FieldValue::V,
    })
}

/// A delivery as amqprs hands it over, and its tag. `None` if a part is
/// missing, which no broker sends.
pub(super) fn from_amqp(message: ConsumerMessage) -> Option<(u64, Box<Received>)> {
    let deliver = message.deliver?;
    let from = message.basic_properties.unwrap_or_default();
    let place = (deliver.exchange().clone(), deliver.routing_key().clone());
    let body = message.content.unwrap_or_default();
    let received = received(place, deliver.redelivered(), &from, body);
    Some((deliver.delivery_tag(), received))
}

/// The same for a message that was asked for.
pub(super) fn from_get((get, from, body): GetMessage) -> (u64, Box<Received>) {
    let place = (get.exchange().clone(), get.routing_key().clone());
    let received = received(place, get.redelivered(), &from, body);
    (get.delivery_tag(), received)
}

/// The same for one that amqprs cannot read: with what is wrong with its
/// properties, and these as they are on the wire.
pub(super) fn from_plain(found: Found, read: Read) -> Box<Received> {
    let Read {
        mut properties,
        problem,
    } = read;
    let (mut count, mut deaths) = (0, Vec::new());
    for (name, value) in &properties.headers {
        match (name.as_str(), value) {
            ("x-delivery-count", HeaderValue::Int(number)) => count = *number,
            ("x-death", value) => deaths = deaths_of(value),
            _ => {}
        }
    }
    properties.headers.retain(|(name, _)| {
        !name.starts_with("x-") && ![H_UNREADABLE, H_PROPERTIES].contains(&name.as_str())
    });
    if let Some(problem) = problem {
        let said = [
            (H_UNREADABLE.to_owned(), HeaderValue::Text(problem)),
            (
                H_PROPERTIES.to_owned(),
                HeaderValue::Bytes(found.properties),
            ),
        ];
        properties.headers.extend(said);
    }
    Box::new(Received {
        properties,
        body: Bytes::from(found.body),
        exchange: found.exchange,
        routing_key: found.routing_key,
        redelivered: found.redelivered,
        delivery_count: counted(found.redelivered, count),
        deaths,
    })
}

/// A publisher can put any count on a first delivery.
fn counted(redelivered: bool, count: i64) -> u32 {
    match redelivered {
        true => u32::try_from(count).unwrap_or(0),
        false => 0,
    }
}

fn received(
    (exchange, routing_key): (String, String),
    redelivered: bool,
    from: &BasicProperties,
    body: Vec<u8>,
) -> Box<Received> {
    let mut headers = Vec::new();
    let (mut count, mut deaths) = (0, Vec::new());
    if let Some(table) = from.headers() {
        for (name, value) in table.as_ref() {
            match name.as_ref().as_str() {
                "x-delivery-count" => count = integer(value).unwrap_or(0),
                "x-death" => deaths = deaths_of(&header(value, 0)),
                name if name.starts_with("x-") => {}
                name => headers.push((name.to_owned(), header(value, 0))),
            }
        }
    }
    // The table has no order of its own.
    headers.sort_by(|(a, _), (b, _)| a.cmp(b));
    Box::new(Received {
        properties: Properties {
            message_id: from.message_id().cloned(),
            correlation_id: from.correlation_id().cloned(),
            kind: from.message_type().cloned(),
            content_type: from.content_type().cloned(),
            timestamp: from.timestamp(),
            priority: from.priority(),
            reply_to: from.reply_to().cloned(),
            app_id: from.app_id().cloned(),
            headers,
        },
        body: Bytes::from(body),
        exchange,
        routing_key,
        redelivered,
        delivery_count: counted(redelivered, count),
        deaths,
    })
}

fn integer(value: &FieldValue) -> Option<i64> {
    Some(match value {
        FieldValue::b(number) => i64::from(*number),
        FieldValue::B(number) => i64::from(*number),
        FieldValue::s(number) => i64::from(*number),
        FieldValue::u(number) => i64::from(*number),
        FieldValue::I(number) => i64::from(*number),
        FieldValue::i(number) => i64::from(*number),
        FieldValue::l(number) => *number,
        _ => return None,
    })
}

fn header(value: &FieldValue, depth: usize) -> HeaderValue {
    if let Some(number) = integer(value) {
        return HeaderValue::Int(number);
    }
    match value {
        FieldValue::t(value) => HeaderValue::Bool(*value),
        FieldValue::f(number) => HeaderValue::Float(f64::from(*number)),
        FieldValue::d(number) => HeaderValue::Float(*number),
        FieldValue::S(text) => HeaderValue::Text(text.as_ref().clone()),
        FieldValue::T(secs) => HeaderValue::Time(*secs),
        FieldValue::x(bytes) => HeaderValue::Bytes(bytes.clone().into()),
        FieldValue::A(_) | FieldValue::F(_) if depth >= DEPTH_MAX => HeaderValue::Void,
        FieldValue::A(values) => {
            let values: Vec<FieldValue> = values.clone().into();
            HeaderValue::List(values.iter().map(|v| header(v, depth + 1)).collect())
        }
        FieldValue::F(table) => {
            let fields = table.as_ref().iter();
            HeaderValue::Table(
                fields
                    .map(|(name, value)| (name.as_ref().clone(), header(value, depth + 1)))
                    .collect(),
            )
        }
        FieldValue::D(number) => HeaderValue::Text(number.to_string()),
        _ => HeaderValue::Void,
    }
}

/// The `x-death` header: a list of tables, the newest first.
fn deaths_of(value: &HeaderValue) -> Vec<Death> {
    let HeaderValue::List(values) = value else {
        return Vec::new();
    };
    values.iter().filter_map(death).collect()
}

fn death(value: &HeaderValue) -> Option<Death> {
    let HeaderValue::Table(fields) = value else {
        return None;
    };
    let get = |name: &str| {
        let field = fields.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| value)
    };
    let text = |name| match get(name) {
        Some(HeaderValue::Text(text)) => text.clone(),
        _ => String::new(),
    };
    Some(Death {
        reason: text("reason"),
        queue: text("queue"),
        count: match get("count") {
            Some(HeaderValue::Int(count)) => u32::try_from(*count).unwrap_or(0),
            _ => 0,
        },
        time: match get("time") {
            Some(HeaderValue::Time(secs)) => Some(*secs),
            _ => None,
        },
    })
}
