use serde::{Deserialize, Serialize};

use crate::codec::ContentType;
use crate::decode::size;
use crate::envelope::VERSION;
use crate::error::{DecodeError, EncodeError};
use crate::headers::{H_VERSION, Headers};
use crate::id::{BatchId, IdSum};
use crate::limit::PAYLOAD_BYTES_MAX;
use crate::message::{Destination, HeaderValue, Message, Properties, Received};
use crate::time::Timestamp;

/// What a producer says of a batch: that it began, or how many tasks it has.
///
/// Travels as JSON through an exchange of its own, since producers may not
/// publish outcomes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BatchRecord {
    /// The batch.
    pub batch: BatchId,
    /// What the producer calls it; a label, not an id.
    #[serde(default)]
    pub label: String,
    /// What happened.
    #[serde(flatten)]
    pub event: BatchEvent,
    /// When.
    pub at: Timestamp,
}

/// What happened to a batch.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum BatchEvent {
    /// Its first task is about to be published.
    Opened,
    /// All its tasks are confirmed.
    Sealed {
        /// How many there are.
        total: u64,
        /// Their ids, by which books are balanced; `None` of a producer that
        /// does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ids: Option<IdSum>,
    },
}

impl BatchRecord {
    /// The message that carries this record.
    ///
    /// # Errors
    ///
    /// [`EncodeError`]: the label is too long to travel.
    pub fn to_message(&self, message_id: String) -> Result<Message, EncodeError> {
        let properties = Properties {
            message_id: Some(message_id),
            correlation_id: Some(self.batch.to_string()),
            content_type: Some(ContentType::Json.as_str().to_owned()),
            timestamp: Some(self.at.as_secs()),
            headers: vec![(H_VERSION.to_owned(), HeaderValue::Int(VERSION))],
            ..Properties::default()
        };
        let body = ContentType::Json.encode("a batch record", self)?;
        if body.len() > PAYLOAD_BYTES_MAX {
            return Err(EncodeError::TooLarge {
                what: "a batch record",
                bytes: body.len(),
                bytes_max: PAYLOAD_BYTES_MAX,
            });
        }
        Ok(Message {
            destination: Destination::Batches,
            properties,
            body: body.into(),
        })
    }

    /// Reads the record a delivery carries.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: it is not from a producer of this or an older version.
    pub fn decode(received: &Received) -> Result<Self, DecodeError> {
        let got = Headers(&received.properties).int(H_VERSION)?.unwrap_or(0);
        if got > VERSION {
            let supported = VERSION;
            return Err(DecodeError::Version { got, supported });
        }
        size("a batch record", received.body.len(), PAYLOAD_BYTES_MAX)?;
        let body = |problem| DecodeError::Body {
            expected: "a batch record",
            problem,
        };
        let record: Self = ContentType::Json.decode(&received.body).map_err(body)?;
        match record.event {
            // No database has room for it.
            BatchEvent::Sealed { total, .. } if i64::try_from(total).is_err() => {
                Err(body(format!("a total of {total}")))
            }
            _ => Ok(record),
        }
    }
}
