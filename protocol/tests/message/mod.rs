//! Messages to try things on, as a broker would hand them over.

use bytes::Bytes;
use homing_protocol::{HeaderValue, Message, Properties, Received, TaskId, Timestamp};

/// When everything in the tests is read.
pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_795_236_030_000);

/// The id that a message without one takes.
pub(crate) fn minted() -> TaskId {
    id("01a1fc18-d018-7064-9c80-00000000000f")
}

/// The task of that id.
pub(crate) fn id(text: &str) -> TaskId {
    text.parse().expect("a UUID")
}

/// `message` as the broker delivers it for the first time.
pub(crate) fn received(message: Message) -> Received {
    Received {
        properties: message.properties,
        body: message.body,
        exchange: "tasks".to_owned(),
        routing_key: "tasks".to_owned(),
        redelivered: false,
        delivery_count: 0,
        deaths: Vec::new(),
    }
}

/// A JSON task of a client that knows nothing of us, with the least it needs.
pub(crate) fn foreign(properties: Properties) -> Received {
    Received {
        properties: Properties {
            kind: Some("demo.hello".to_owned()),
            ..properties
        },
        body: Bytes::from_static(br#"{"operacion": "hola", "entrada": "mundo"}"#),
        exchange: "tasks".to_owned(),
        routing_key: "tasks".to_owned(),
        redelivered: false,
        delivery_count: 0,
        deaths: Vec::new(),
    }
}

/// A header of text.
pub(crate) fn text(name: &str, value: &str) -> (String, HeaderValue) {
    (name.to_owned(), value.into())
}

/// A header of a number.
pub(crate) fn int(name: &str, value: i64) -> (String, HeaderValue) {
    (name.to_owned(), value.into())
}
