//! The JSON that people read and query, derived from bytes of any encoding.

use std::fmt::Write as _;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::codec::ContentType;

/// `bytes` as JSON text, `None` if they are not valid in their encoding.
///
/// JSON stays as it is. MessagePack becomes the nearest JSON: bytes become
/// hexadecimal text, keys that are no text become their JSON as text, and
/// numbers JSON has no word for (infinities, not-a-number) become `null`. A key
/// with a map in it whose keys are no text or number either has none.
pub fn to_json(bytes: &[u8], content_type: ContentType) -> Option<String> {
    content_type.prescan(bytes).ok()?;
    match content_type {
        ContentType::Json => {
            let text = std::str::from_utf8(bytes).ok()?;
            serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
            Some(text.to_owned())
        }
        ContentType::MessagePack => {
            let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
            let value = AsJson { in_key: false }.deserialize(&mut reader).ok()?;
            Some(value.to_string())
        }
    }
}

/// Reads any value as JSON.
///
/// A key becomes text by quoting its JSON, which doubles the backslashes in it.
/// Keys in keys in keys would so double 64 times over; `in_key` stops that at
/// the second.
#[derive(Clone, Copy)]
struct AsJson {
    in_key: bool,
}

impl<'de> DeserializeSeed<'de> for AsJson {
    type Value = serde_json::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn scalar<T: Serialize, E: serde::de::Error>(value: T) -> Result<serde_json::Value, E> {
    serde_json::to_value(value).map_err(E::custom)
}

impl<'de> Visitor<'de> for AsJson {
    type Value = serde_json::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(serde_json::Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_f32<E: serde::de::Error>(self, value: f32) -> Result<Self::Value, E> {
        scalar(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        scalar(value)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E: serde::de::Error>(self, value: &[u8]) -> Result<Self::Value, E> {
        let mut text = String::with_capacity(value.len() * 2);
        for byte in value {
            write!(text, "{byte:02x}").map_err(E::custom)?;
        }
        Ok(text.into())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        // An extension type: its number and its bytes.
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = serde_json::Map::new();
        while let Some(key) = map.next_key_seed(Self { in_key: true })? {
            let key = match key {
                serde_json::Value::String(text) => text,
                serde_json::Value::Array(_) | serde_json::Value::Object(_) if self.in_key => {
                    return Err(serde::de::Error::custom("a key in a key"));
                }
                other => other.to_string(),
            };
            fields.insert(key, map.next_value_seed(self)?);
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_pack_becomes_the_nearest_json() {
        let value = (
            1,
            -2_i64,
            0.5,
            f64::NAN,
            "ä",
            Some(()),
            serde_bytes::Bytes::new(&[0, 255]),
        );
        let bytes = rmp_serde::to_vec_named(&value).unwrap();

        assert_eq!(
            to_json(&bytes, ContentType::MessagePack).unwrap(),
            r#"[1,-2,0.5,null,"ä",null,"00ff"]"#
        );
    }

    #[test]
    fn keys_become_text() {
        let bytes = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([(1, "a")])).unwrap();

        assert_eq!(
            to_json(&bytes, ContentType::MessagePack).unwrap(),
            r#"{"1":"a"}"#
        );
    }

    #[test]
    fn keys_in_keys_do_not_grow_without_bound() {
        let nested = |levels: usize| [vec![0x81; levels], vec![1; levels + 1]].concat();

        assert_eq!(
            to_json(&nested(2), ContentType::MessagePack).unwrap(),
            r#"{"{\"1\":1}":1}"#
        );
        assert_eq!(to_json(&nested(60), ContentType::MessagePack), None);
    }

    #[test]
    fn bytes_that_are_no_json_have_none() {
        assert_eq!(to_json(b"{", ContentType::Json), None);
        assert_eq!(to_json(b"\"\xff\"", ContentType::Json), None);
    }

    #[test]
    fn an_extension_type_does_not_stop_it() {
        assert!(to_json(&[0xd4, 1, 2], ContentType::MessagePack).is_some());
    }
}
