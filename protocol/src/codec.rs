//! How payloads, outputs and errors become bytes.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{DecodeError, EncodeError};
use crate::prescan::{prescan_json, prescan_msgpack};

/// How the bytes beside it are encoded.
///
/// An output has the encoding of its task, so whoever wrote JSON reads JSON.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[non_exhaustive]
pub enum ContentType {
    /// `application/msgpack`: MessagePack, structs as maps with their names.
    #[default]
    #[serde(rename = "application/msgpack")]
    MessagePack,
    /// `application/json`.
    #[serde(rename = "application/json")]
    Json,
}

impl ContentType {
    /// The media type, as in a message's `content_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessagePack => "application/msgpack",
            Self::Json => "application/json",
        }
    }

    /// Whether it is what a bundle need not say.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Reads a message's `content_type`; without one it is JSON, which is what
    /// a hand-made client sends.
    ///
    /// # Errors
    ///
    /// [`DecodeError::ContentType`] for any other.
    pub fn parse(text: Option<&str>) -> Result<Self, DecodeError> {
        let Some(text) = text else {
            return Ok(Self::Json);
        };
        let media = text.split(';').next().unwrap_or_default().trim();
        match media.to_ascii_lowercase().as_str() {
            "" | "application/json" | "text/json" => Ok(Self::Json),
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => {
                Ok(Self::MessagePack)
            }
            _ => Err(DecodeError::ContentType {
                got: text.to_owned(),
            }),
        }
    }

    /// Encodes `value`.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Serialize`] if the type's own `Serialize` fails or the
    /// format cannot hold the value, such as a JSON map whose keys are structs.
    pub fn encode<T: Serialize + ?Sized>(
        self,
        what: &'static str,
        value: &T,
    ) -> Result<Vec<u8>, EncodeError> {
        match self {
            Self::MessagePack => rmp_serde::to_vec_named(value).map_err(|e| e.to_string()),
            Self::Json => serde_json::to_vec(value).map_err(|e| e.to_string()),
        }
        .map_err(|problem| EncodeError::Serialize { what, problem })
    }

    /// Checks `bytes` for depth, number of values and, for MessagePack, exact
    /// length, so that decoding them is safe.
    ///
    /// # Errors
    ///
    /// What is wrong, with the byte it was found at.
    pub fn prescan(self, bytes: &[u8]) -> Result<(), String> {
        match self {
            Self::MessagePack => prescan_msgpack(bytes),
            Self::Json => prescan_json(bytes),
        }
    }

    /// Decodes bytes from outside, [prescanned](Self::prescan) first.
    ///
    /// # Errors
    ///
    /// What does not fit, and where.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, String> {
        self.prescan(bytes)?;
        match self {
            Self::MessagePack => rmp_serde::from_slice(bytes).map_err(|e| e.to_string()),
            Self::Json => serde_json::from_slice(bytes).map_err(|e| e.to_string()),
        }
    }
}

/// Bytes and how they are encoded: a task's payload, or its output.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Payload {
    /// The bytes, verbatim.
    pub bytes: Bytes,
    /// How they are encoded.
    pub content_type: ContentType,
}

impl Payload {
    /// Encodes `value` with `content_type`, checked to be decodable within the
    /// bounds of [`limit`](crate::limit).
    ///
    /// # Errors
    ///
    /// [`EncodeError`]: it cannot be encoded, is too large, too deep or of too
    /// many values.
    pub fn encode<T: Serialize + ?Sized>(
        what: &'static str,
        value: &T,
        content_type: ContentType,
        bytes_max: usize,
    ) -> Result<Self, EncodeError> {
        let bytes = content_type.encode(what, value)?;
        Self::checked(what, bytes.into(), content_type, bytes_max)
    }

    /// Takes JSON text as it is, after a check that it is JSON.
    ///
    /// # Errors
    ///
    /// [`EncodeError`]: it is no JSON, too large, too deep or of too many values.
    pub fn json(what: &'static str, text: &str, bytes_max: usize) -> Result<Self, EncodeError> {
        let text = text.trim();
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let payload = Self::checked(what, bytes, ContentType::Json, bytes_max)?;
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| {
            EncodeError::Invalid {
                what,
                problem: error.to_string(),
            }
        })?;
        Ok(payload)
    }

    fn checked(
        what: &'static str,
        bytes: Bytes,
        content_type: ContentType,
        bytes_max: usize,
    ) -> Result<Self, EncodeError> {
        if bytes.len() > bytes_max {
            return Err(EncodeError::TooLarge {
                what,
                bytes: bytes.len(),
                bytes_max,
            });
        }
        content_type
            .prescan(&bytes)
            .map_err(|problem| EncodeError::Invalid { what, problem })?;
        Ok(Self {
            bytes,
            content_type,
        })
    }

    /// Decodes it.
    ///
    /// # Errors
    ///
    /// What does not fit, and where.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, String> {
        self.content_type.decode(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::PAYLOAD_BYTES_MAX;

    #[test]
    fn a_payload_of_the_most_bytes_passes_and_one_more_does_not() {
        let text = |bytes: usize| "x".repeat(bytes - 2);
        let encode =
            |value: &str| Payload::encode("payload", value, ContentType::Json, PAYLOAD_BYTES_MAX);

        assert!(encode(&text(PAYLOAD_BYTES_MAX)).is_ok());
        assert!(matches!(
            encode(&text(PAYLOAD_BYTES_MAX + 1)),
            Err(EncodeError::TooLarge { .. })
        ));
    }

    #[test]
    fn json_text_is_kept_verbatim() {
        let payload = Payload::json("payload", r#"{"b": 1.0,  "a":[]}"#, 100).unwrap();

        assert_eq!(&payload.bytes[..], br#"{"b": 1.0,  "a":[]}"#);
    }

    #[test]
    fn text_that_is_no_json_is_refused() {
        for text in ["", "{", "{'a': 1}", "1 2", "nul"] {
            assert!(Payload::json("payload", text, 100).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_message_without_a_content_type_is_json() {
        assert_eq!(ContentType::parse(None).unwrap(), ContentType::Json);
        assert_eq!(
            ContentType::parse(Some("application/json; charset=utf-8")).unwrap(),
            ContentType::Json
        );
        assert!(ContentType::parse(Some("text/plain")).is_err());
    }
}
