//! A message as a file that people read and compare line by line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use homing_protocol::topology::Topology;
use homing_protocol::{
    ContentType, Death, HeaderValue, Message, Namespace, Properties, Received, to_json,
};
use serde::{Deserialize, Serialize};

/// A message in a golden file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    about: String,
    exchange: String,
    routing_key: String,
    properties: Said,
    /// By name; the value behind the word for its type.
    headers: BTreeMap<String, String>,
    /// What RabbitMQ says in `x-death`, as reason and queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deaths: Vec<(String, String)>,
    body: Body,
}

/// The properties, by their names in AMQP.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
struct Said {
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(untagged)]
enum Body {
    Text {
        text: String,
    },
    Binary {
        hex: String,
        /// For people; not read.
        decoded: Option<serde_json::Value>,
    },
}

impl Document {
    /// `message` as it is published in the default namespace.
    pub(crate) fn of(about: &str, message: &Message, deaths: &[Death]) -> Self {
        let topology = Topology::new(Namespace::default(), []);
        let (exchange, routing_key) = topology.route(&message.destination);
        let from = &message.properties;
        let headers = from.headers.iter();
        let deaths = deaths.iter();
        Self {
            about: about.to_owned(),
            exchange,
            routing_key,
            properties: Said {
                message_id: from.message_id.clone(),
                correlation_id: from.correlation_id.clone(),
                r#type: from.kind.clone(),
                content_type: from.content_type.clone(),
                timestamp: from.timestamp,
                priority: from.priority,
                reply_to: from.reply_to.clone(),
            },
            headers: headers
                .map(|(name, value)| (name.clone(), word(value)))
                .collect(),
            deaths: deaths
                .map(|death| (death.reason.clone(), death.queue.clone()))
                .collect(),
            body: Body::of(&message.body),
        }
    }

    /// The message as a broker delivers it.
    pub(crate) fn received(&self) -> Received {
        let from = self.properties.clone();
        let headers = self.headers.iter();
        let deaths = self.deaths.iter().cloned();
        Received {
            properties: Properties {
                message_id: from.message_id,
                correlation_id: from.correlation_id,
                kind: from.r#type,
                content_type: from.content_type,
                timestamp: from.timestamp,
                priority: from.priority,
                reply_to: from.reply_to,
                app_id: None,
                headers: headers
                    .map(|(name, text)| (name.clone(), value(text)))
                    .collect(),
            },
            body: self.body.bytes().into(),
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.clone(),
            redelivered: false,
            delivery_count: 0,
            deaths: deaths
                .map(|(reason, queue)| Death {
                    reason,
                    queue,
                    count: 1,
                    time: None,
                })
                .collect(),
        }
    }
}

impl Body {
    fn of(bytes: &[u8]) -> Self {
        if to_json(bytes, ContentType::Json).is_some() || bytes.is_ascii() {
            let text = String::from_utf8(bytes.to_vec()).expect("JSON is text");
            return Self::Text { text };
        }
        let json = to_json(bytes, ContentType::MessagePack);
        Self::Binary {
            hex: hex(bytes),
            decoded: json.and_then(|json| serde_json::from_str(&json).ok()),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text { text } => text.clone().into_bytes(),
            Self::Binary { hex, .. } => unhex(hex),
        }
    }
}

fn word(value: &HeaderValue) -> String {
    match value {
        HeaderValue::Int(number) => format!("int {number}"),
        HeaderValue::Text(text) => format!("text {text}"),
        HeaderValue::Bytes(bytes) => format!("bytes {}", hex(bytes)),
        other => panic!("no header of ours is {other:?}"),
    }
}

fn value(text: &str) -> HeaderValue {
    match text.split_once(' ').expect("a type and a value") {
        ("int", number) => HeaderValue::Int(number.parse().expect("a number")),
        ("text", text) => text.into(),
        ("bytes", hex) => HeaderValue::Bytes(unhex(hex)),
        (other, _) => panic!("no header of ours is of type {other}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits"))
        .collect()
}
