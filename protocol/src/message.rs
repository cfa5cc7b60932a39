//! A message as any broker carries it: properties, headers, a body.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::headers::H_BUNDLE;
use crate::limit::BUNDLE_MAX;
use crate::name::QueueName;
use crate::time::Timestamp;
use crate::topology::DELAY_SECS_MAX;

/// Where a message is to go. The broker knows how to get it there.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Destination {
    /// A queue of tasks.
    Queue(QueueName),
    /// A queue of tasks, after `secs` seconds.
    Delayed {
        /// The queue.
        queue: QueueName,
        /// Seconds until it gets there, 1 to
        /// [the longest](crate::topology::DELAY_SECS_MAX).
        secs: u32,
    },
    /// The queue of outcomes, by one of its routing keys.
    Results {
        /// Which key, chosen per message in turn.
        key: u8,
    },
    /// Batch records, on their way into the queue of outcomes.
    Batches,
    /// Messages that no worker could settle.
    Dead,
    /// The inbox of a producer that awaits an outcome.
    Reply {
        /// The inbox's address, as it gave it.
        address: String,
    },
    /// A queue of somebody else's, named in a `reply_to`.
    Foreign {
        /// The queue's full name.
        queue: String,
    },
}

impl Destination {
    /// The way to `queue` for a task that is due at `due_at`, as
    /// [`after`](Self::after) the time until then.
    pub fn due(queue: QueueName, due_at: Option<Timestamp>, now: Timestamp) -> Self {
        Self::after(queue, due_at.map_or(Duration::ZERO, |due| due.since(now)))
    }

    /// The way to `queue` for a task that is to get there after `delay`: straight
    /// if that is none, or through as much of it as the broker can hold. Never
    /// early, so in whole seconds rounded up. A task that comes out of the longest
    /// delay before it is due is sent on by the worker that gets it.
    pub fn after(queue: QueueName, delay: Duration) -> Self {
        if delay.is_zero() {
            return Self::Queue(queue);
        }
        let secs = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        let secs = u32::try_from(secs).unwrap_or(u32::MAX).min(DELAY_SECS_MAX);
        Self::Delayed { queue, secs }
    }
}

/// The value of one header.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[non_exhaustive]
pub enum HeaderValue {
    /// No value.
    Void,
    /// True or false.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A point in time, in whole seconds.
    Time(u64),
    /// Several values.
    List(Vec<Self>),
    /// Several named values.
    Table(Vec<Header>),
}

/// A header's name and value.
pub type Header = (String, HeaderValue);

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for HeaderValue {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&[u8]> for HeaderValue {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

/// What a message says of itself. Names as in AMQP 0-9-1
/// (<https://www.rabbitmq.com/docs/publishers#message-properties>), except
/// `kind`, which is AMQP's `type`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Properties {
    /// Unique for every message published.
    pub message_id: Option<String>,
    /// On a task and on its outcome: the task's id, or what a foreign client
    /// put there.
    pub correlation_id: Option<String>,
    /// The kind of the task: AMQP's `type`.
    pub kind: Option<String>,
    /// How the body is encoded.
    pub content_type: Option<String>,
    /// When it was published, in whole seconds since 1970.
    pub timestamp: Option<u64>,
    /// Higher first, where the queue knows priorities.
    pub priority: Option<u8>,
    /// The queue a foreign client wants its outcome in.
    pub reply_to: Option<String>,
    /// The publisher's own word for itself.
    pub app_id: Option<String>,
    /// Everything else.
    pub headers: Vec<Header>,
}

impl Properties {
    /// The value of the header `name`.
    pub fn header(&self, name: &str) -> Option<&HeaderValue> {
        self.headers
            .iter()
            .find_map(|(header, value)| (header == name).then_some(value))
    }

    /// The header `name` as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.header(name)? {
            HeaderValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The header `name` as an integer.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.header(name)? {
            HeaderValue::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The timestamp in milliseconds.
    pub fn published_at(&self) -> Option<Timestamp> {
        let secs = i64::try_from(self.timestamp?).ok()?;
        Some(Timestamp::from_ms(secs.checked_mul(1_000)?))
    }

    /// How many tasks the message says it carries: 1 unless it is a bundle.
    pub fn tasks(&self) -> usize {
        let count = self.int(H_BUNDLE).unwrap_or(1);
        usize::try_from(count).map_or(1, |count| count.clamp(1, BUNDLE_MAX))
    }

    /// About how many bytes the headers take on the wire.
    pub fn header_bytes(&self) -> usize {
        self.headers.iter().map(header_bytes).sum()
    }
}

/// About how many bytes one header takes on the wire.
pub(crate) fn header_bytes((name, value): &Header) -> usize {
    name.len() + 2 + value_bytes(value)
}

fn value_bytes(value: &HeaderValue) -> usize {
    match value {
        HeaderValue::Void => 0,
        HeaderValue::Bool(_) => 1,
        HeaderValue::Int(_) | HeaderValue::Float(_) | HeaderValue::Time(_) => 8,
        HeaderValue::Text(text) => 4 + text.len(),
        HeaderValue::Bytes(bytes) => 4 + bytes.len(),
        HeaderValue::List(values) => 4 + values.iter().map(|v| 1 + value_bytes(v)).sum::<usize>(),
        HeaderValue::Table(fields) => 4 + fields.iter().map(header_bytes).sum::<usize>(),
    }
}

/// A message ready to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Where it is to go.
    pub destination: Destination,
    /// What it says of itself.
    pub properties: Properties,
    /// Its body.
    pub body: Bytes,
}

/// A message as a broker delivered it.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// What it says of itself; the broker's own headers (`x-…`) are not in here.
    pub properties: Properties,
    /// Its body.
    pub body: Bytes,
    /// The exchange it came through, set by the broker.
    pub exchange: String,
    /// The routing key it came with.
    pub routing_key: String,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// How often the broker delivered it in vain before: 0 unless `redelivered`.
    pub delivery_count: u32,
    /// Where it was dead-lettered on its way here, the newest first.
    pub deaths: Vec<Death>,
}

impl Received {
    /// How many tasks it says it carries: 1 unless it is a bundle.
    pub fn tasks(&self) -> usize {
        self.properties.tasks()
    }

    /// The message once more, as it came: for what this version cannot read, and
    /// so cannot build anew.
    pub fn again(&self, destination: Destination, message_id: String) -> Message {
        Message {
            destination,
            properties: Properties {
                message_id: Some(message_id),
                ..self.properties.clone()
            },
            body: self.body.clone(),
        }
    }
}

/// One dead-lettering by the broker, from its `x-death` header:
/// <https://www.rabbitmq.com/docs/dlx#effects>.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Death {
    /// `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: String,
    /// The queue it died in, full name.
    pub queue: String,
    /// How often it died there for that reason.
    pub count: u32,
    /// When, in whole seconds since 1970.
    pub time: Option<u64>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_delay_is_no_detour() {
        let queue = QueueName::tasks();

        assert_eq!(
            Destination::after(queue.clone(), Duration::ZERO),
            Destination::Queue(queue)
        );
    }

    #[test]
    fn what_is_due_is_no_detour() {
        let (queue, now) = (QueueName::tasks(), Timestamp::from_ms(1_000));
        for due in [None, Some(now), Some(Timestamp::from_ms(0))] {
            let way = Destination::due(queue.clone(), due, now);

            assert_eq!(way, Destination::Queue(queue.clone()));
        }
    }

    proptest! {
        #[test]
        fn a_delay_is_never_early_and_at_most_a_second_late(ms in 1_u64..400_000_000) {
            let delay = Duration::from_millis(ms);

            let way = Destination::after(QueueName::tasks(), delay);

            let Destination::Delayed { secs, .. } = way else {
                panic!("it is delayed");
            };
            let got = Duration::from_secs(secs.into());
            let longest = Duration::from_secs(DELAY_SECS_MAX.into());
            prop_assert!(secs >= 1 && got < delay + Duration::from_secs(1));
            prop_assert!(got >= delay.min(longest) && got <= longest);
        }
    }
}
