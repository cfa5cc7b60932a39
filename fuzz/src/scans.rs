//! The scans before serde, against serde.

use std::fmt;

use homing_protocol::limit::{DEPTH_MAX, NODES_MAX};
use homing_protocol::{ContentType, prescan_json, prescan_msgpack, to_json};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What rmp-serde does not count by itself: a chain of enums.
#[derive(Debug, Deserialize)]
enum Chain {
    End,
    Not(Box<Self>),
    Maybe(Option<Box<Self>>),
}

impl Chain {
    fn depth(&self) -> usize {
        match self {
            Self::End | Self::Maybe(None) => 0,
            Self::Not(next) | Self::Maybe(Some(next)) => 1 + next.depth(),
        }
    }
}

/// How deep a value is and of how many it is made, by serde's account.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    depth: usize,
    nodes: usize,
}

struct Measure;

impl<'de> DeserializeSeed<'de> for Measure {
    type Value = Size;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Size, D::Error> {
        deserializer.deserialize_any(self)
    }
}

const LEAF: Size = Size { depth: 0, nodes: 1 };

impl Size {
    fn take(&mut self, inner: Self) {
        self.depth = self.depth.max(inner.depth + 1);
        self.nodes += inner.nodes;
    }
}

macro_rules! leaves {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E>(self, _: $type) -> Result<Size, E> {
            Ok(LEAF)
        })*
    };
}

impl<'de> Visitor<'de> for Measure {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    leaves! {
        visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f32: f32, visit_f64: f64,
        visit_str: &str, visit_bytes: &[u8]
    }

    fn visit_unit<E>(self) -> Result<Size, E> {
        Ok(LEAF)
    }

    /// An extension of MessagePack's: bytes of some type.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Size, D::Error> {
        IgnoredAny::deserialize(inner)?;
        Ok(LEAF)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Size, A::Error> {
        let mut size = LEAF;
        while let Some(item) = items.next_element_seed(Self)? {
            size.take(item);
        }
        Ok(size)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Size, A::Error> {
        let mut size = LEAF;
        while let Some(key) = fields.next_key_seed(Self)? {
            size.take(key);
            size.take(fields.next_value_seed(Self)?);
        }
        Ok(size)
    }
}

/// What passes the scan of MessagePack is what rmp-serde reads to the last byte,
/// within the limits; a container without items opens no level.
pub fn msgpack(bytes: &[u8]) {
    let mut rest = bytes;
    let read = {
        let mut reader = rmp_serde::Deserializer::new(&mut rest);
        Measure.deserialize(&mut reader)
    };
    let fits = |size: Size| size.depth <= DEPTH_MAX && size.nodes <= NODES_MAX;
    let readable = rest.is_empty() && read.is_ok_and(fits);
    let passed = prescan_msgpack(bytes);
    assert_eq!(passed.is_ok(), readable, "{passed:?}");
    if let Ok(chain) = ContentType::MessagePack.decode::<Chain>(bytes) {
        assert!(chain.depth() <= DEPTH_MAX && readable);
    }
    if let Some(text) = to_json(bytes, ContentType::MessagePack) {
        assert!(readable);
        assert!(serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{text}");
    }
}

/// What `serde_json` reads within the limits passes the scan of JSON, and nothing
/// that it reads beyond them.
pub fn json(bytes: &[u8]) {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = Measure.deserialize(&mut reader);
    let passed = prescan_json(bytes);
    if let (Ok(size), Ok(())) = (read, reader.end()) {
        assert_eq!(
            passed.is_ok(),
            levels(bytes) <= DEPTH_MAX,
            "{size:?} {passed:?}"
        );
        assert!(size.depth <= levels(bytes) && levels(bytes) <= size.depth + 1);
    }
    let decoded = ContentType::Json.decode::<IgnoredAny>(bytes);
    assert!(decoded.is_err() || passed.is_ok());
    if let Some(text) = to_json(bytes, ContentType::Json) {
        assert_eq!(text.as_bytes(), bytes);
    }
}

/// How many brackets of valid JSON are open at once, at most: an empty container
/// has one as well.
fn levels(json: &[u8]) -> usize {
    let (mut open, mut most, mut at) = (0_usize, 0, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while json.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if json[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'[' | b'{' => open += 1,
            b']' | b'}' => open -= 1,
            _ => {}
        }
        most = most.max(open);
        at += 1;
    }
    most
}
