use std::str::FromStr;

use crate::codec::{ContentType, Payload};
use crate::decode::size;
use crate::envelope::VERSION;
use crate::error::{DecodeError, EncodeError, SchemaError};
use crate::headers::{H_DECLARED_AT, H_VERSION, Headers, push};
use crate::limit::SCHEMA_BYTES_MAX;
use crate::message::{Destination, Message, Properties, Received};
use crate::name::TaskKind;
use crate::time::Timestamp;

/// The content type of a message that carries a schema:
/// <https://json-schema.org/draft/2020-12/json-schema-core#section-14.1>.
const CONTENT_TYPE: &str = "application/schema+json";

/// The JSON Schema that payloads of a kind are to match, as its text.
///
/// It is an object, `true` or `false`, of at most [`SCHEMA_BYTES_MAX`] bytes, and as
/// deep and of as many values as a payload may be. Whether it means something is for
/// whoever checks by it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Schema(String);

impl Schema {
    /// The schema that `value` is.
    ///
    /// # Errors
    ///
    /// [`SchemaError`]: it is neither an object nor a boolean, too large or too deep.
    pub fn new(value: &serde_json::Value) -> Result<Self, SchemaError> {
        value.to_string().parse()
    }

    /// Its JSON, verbatim.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Schema {
    type Err = SchemaError;

    fn from_str(json: &str) -> Result<Self, SchemaError> {
        let text = json.trim();
        Payload::json("a schema", text, SCHEMA_BYTES_MAX)?;
        if text.starts_with('{') || matches!(text, "true" | "false") {
            return Ok(Self(text.to_owned()));
        }
        Err(SchemaError::Form)
    }
}

impl From<EncodeError> for SchemaError {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge { bytes, .. } => Self::TooLarge { bytes },
            EncodeError::Invalid { problem, .. } | EncodeError::Serialize { problem, .. } => {
                Self::Invalid { problem }
            }
        }
    }
}

/// What a worker says of a kind that it runs.
///
/// Travels beside outcomes, since who may write those may say it. It is said again
/// with every start of a worker, and the newest counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KindRecord {
    /// The kind.
    pub kind: TaskKind,
    /// What its payloads are to match.
    pub schema: Schema,
    /// When the worker said so.
    pub at: Timestamp,
}

impl KindRecord {
    /// The message that carries this record, by the routing key `key` of `results`.
    pub fn to_message(&self, key: u8, message_id: String) -> Message {
        let mut headers = Vec::new();
        push(&mut headers, H_VERSION, VERSION);
        push(&mut headers, H_DECLARED_AT, self.at.as_ms());
        Message {
            destination: Destination::Results { key },
            properties: Properties {
                message_id: Some(message_id),
                kind: Some(self.kind.to_string()),
                content_type: Some(CONTENT_TYPE.to_owned()),
                timestamp: Some(self.at.as_secs()),
                headers,
                ..Properties::default()
            },
            body: self.schema.0.clone().into(),
        }
    }

    /// Whether a delivery from `results` is such a record, and no outcome.
    pub fn is_in(received: &Received) -> bool {
        received.properties.content_type.as_deref() == Some(CONTENT_TYPE)
    }

    /// Reads the record a delivery carries.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]: it is not from a worker of this or an older version.
    pub fn decode(received: &Received) -> Result<Self, DecodeError> {
        let headers = Headers(&received.properties);
        let got = headers.int(H_VERSION)?.unwrap_or(0);
        if got > VERSION {
            let supported = VERSION;
            return Err(DecodeError::Version { got, supported });
        }
        let kind = received.properties.kind.as_deref();
        let kind = kind.ok_or(DecodeError::NoKind)?;
        let kind = kind.parse().map_err(|_| DecodeError::Header {
            name: "type",
            expected: "a kind: 1 to 255 of a-z 0-9 . _ -",
        })?;
        let said = headers.time(H_DECLARED_AT)?;
        let at = said.or(received.properties.published_at());
        Ok(Self {
            kind,
            schema: schema(&received.body)?,
            at: at.ok_or(DecodeError::Header {
                name: H_DECLARED_AT,
                expected: "there",
            })?,
        })
    }
}

fn schema(body: &[u8]) -> Result<Schema, DecodeError> {
    size("a schema", body.len(), SCHEMA_BYTES_MAX)?;
    let text = std::str::from_utf8(body).map_err(|error| error.to_string());
    let read = text.and_then(|text| text.parse().map_err(|error: SchemaError| error.to_string()));
    read.map_err(|problem| DecodeError::Body {
        expected: ContentType::Json.as_str(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_is_an_object_or_a_boolean_and_its_text_stays() {
        for text in [r#"{"type": "object",  "b":1, "a":2}"#, "true", "false"] {
            let schema: Schema = format!(" {text}\n").parse().unwrap();

            assert_eq!(schema.as_str(), text);
        }
        for value in [json!(null), json!("true"), json!([]), json!(1)] {
            assert!(Schema::new(&value).is_err(), "{value}");
        }
        for text in ["", "{", "{} {}", "True"] {
            assert!(text.parse::<Schema>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_schema_has_a_size_and_a_depth_that_it_may_not_pass() {
        let sized = |bytes: usize| json!({ "title": "x".repeat(bytes - 12) });
        let deep = |depth: usize| format!("{}true{}", "{\"not\":".repeat(depth), "}".repeat(depth));

        assert!(Schema::new(&sized(SCHEMA_BYTES_MAX)).is_ok());
        assert!(matches!(
            Schema::new(&sized(SCHEMA_BYTES_MAX + 1)),
            Err(SchemaError::TooLarge { .. })
        ));
        assert!(deep(64).parse::<Schema>().is_ok());
        assert!(deep(65).parse::<Schema>().is_err());
    }

    /// A record that anybody may have made, with `headers` alone.
    fn said(kind: Option<&str>, headers: &[(&str, i64)], body: &str) -> Received {
        let own = |(name, value): &(&str, i64)| ((*name).to_owned(), (*value).into());
        Received {
            properties: Properties {
                kind: kind.map(str::to_owned),
                headers: headers.iter().map(own).collect(),
                ..Properties::default()
            },
            body: body.to_owned().into(),
            exchange: "results".to_owned(),
            routing_key: String::new(),
            redelivered: false,
            delivery_count: 0,
            deaths: Vec::new(),
        }
    }

    #[test]
    fn a_record_without_its_kind_its_time_or_a_schema_is_refused() {
        let (kind, at) = (Some("a"), [(H_DECLARED_AT, 7)]);
        let decode = |received: Received| KindRecord::decode(&received);

        let read = decode(said(kind, &at, "{}")).unwrap();
        assert_eq!(read.at, Timestamp::from_ms(7));
        assert!(matches!(
            decode(said(None, &at, "{}")),
            Err(DecodeError::NoKind)
        ));
        assert!(decode(said(Some("A"), &at, "{}")).is_err());
        assert!(decode(said(kind, &[], "{}")).is_err());
        assert!(decode(said(kind, &at, "[]")).is_err());
        let newer = said(kind, &[(H_VERSION, VERSION + 1)], "{}");
        assert!(matches!(decode(newer), Err(DecodeError::Version { .. })));
        let large = " ".repeat(SCHEMA_BYTES_MAX) + "{}";
        assert!(matches!(
            decode(said(kind, &at, &large)),
            Err(DecodeError::TooLarge { .. })
        ));
    }
}
