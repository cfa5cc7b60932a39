//! Checks bytes from outside before serde sees them.
//!
//! rmp-serde does not count the depth of enums, options and newtypes, so a
//! deep chain of them overflows the stack; it also accepts bytes after the
//! value. Both scans here are loops without recursion, and allocate nothing
//! that grows with the input beyond one counter per open level.

use crate::limit::{DEPTH_MAX, NODES_MAX};

/// Checks that `bytes` are exactly one MessagePack value, at most
/// [`DEPTH_MAX`] deep and of at most [`NODES_MAX`] values.
///
/// Format: <https://github.com/msgpack/msgpack/blob/master/spec.md>
///
/// # Errors
///
/// What is wrong, with the byte it was found at.
pub fn prescan_msgpack(bytes: &[u8]) -> Result<(), String> {
    let mut open = Open::new();
    let mut at = 0;
    loop {
        let (children, next) = msgpack_value(bytes, at)?;
        at = next;
        open.count(at)?;
        if children > 0 {
            open.push(children, at)?;
        } else if open.close() {
            break;
        }
    }
    if at == bytes.len() {
        return Ok(());
    }
    Err(format!("more bytes after the value, at byte {at}"))
}

/// The values still expected on each open level.
struct Open {
    expected: [u64; DEPTH_MAX],
    depth: usize,
    nodes: usize,
}

impl Open {
    const fn new() -> Self {
        Self {
            expected: [0; DEPTH_MAX],
            depth: 0,
            nodes: 0,
        }
    }

    fn count(&mut self, at: usize) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes <= NODES_MAX {
            return Ok(());
        }
        Err(format!("more than {NODES_MAX} values, at byte {at}"))
    }

    fn push(&mut self, children: u64, at: usize) -> Result<(), String> {
        if self.depth == DEPTH_MAX {
            return Err(format!(
                "nested deeper than {DEPTH_MAX} levels, at byte {at}"
            ));
        }
        self.expected[self.depth] = children;
        self.depth += 1;
        Ok(())
    }

    /// Takes note that a value ended, and with it every level it completes.
    /// Answers whether the outermost one did.
    fn close(&mut self) -> bool {
        while self.depth > 0 {
            let left = &mut self.expected[self.depth - 1];
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.depth -= 1;
        }
        true
    }
}

/// The number of values directly inside the one at `at`, and where what
/// follows its head (and its bytes, if it is a string or the like) begins.
fn msgpack_value(bytes: &[u8], at: usize) -> Result<(u64, usize), String> {
    let marker = *bytes.get(at).ok_or_else(|| end(at))?;
    let at = at + 1;
    let (children, skip, at) = match marker {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0, at),
        0x80..=0x8f => (u64::from(marker & 0x0f) * 2, 0, at),
        0x90..=0x9f => (u64::from(marker & 0x0f), 0, at),
        0xa0..=0xbf => (0, u64::from(marker & 0x1f), at),
        0xc1 => return Err(format!("the reserved byte 0xc1, at byte {}", at - 1)),
        0xc4 | 0xd9 => (0, length(bytes, at, 1)?, at + 1),
        0xc5 | 0xda => (0, length(bytes, at, 2)?, at + 2),
        0xc6 | 0xdb => (0, length(bytes, at, 4)?, at + 4),
        0xc7 => (0, length(bytes, at, 1)? + 1, at + 1),
        0xc8 => (0, length(bytes, at, 2)? + 1, at + 2),
        0xc9 => (0, length(bytes, at, 4)? + 1, at + 4),
        0xcc | 0xd0 => (0, 1, at),
        0xcd | 0xd1 => (0, 2, at),
        0xca | 0xce | 0xd2 => (0, 4, at),
        0xcb | 0xcf | 0xd3 => (0, 8, at),
        0xd4..=0xd8 => (0, (1 << (marker - 0xd4)) + 1, at),
        0xdc => (length(bytes, at, 2)?, 0, at + 2),
        0xdd => (length(bytes, at, 4)?, 0, at + 4),
        0xde => (length(bytes, at, 2)? * 2, 0, at + 2),
        0xdf => (length(bytes, at, 4)? * 2, 0, at + 4),
    };
    let left = (bytes.len() - at) as u64;
    if skip > left || children > left {
        return Err(end(bytes.len()));
    }
    let next = at + usize::try_from(skip).map_err(|_| end(bytes.len()))?;
    Ok((children, next))
}

fn length(bytes: &[u8], at: usize, width: usize) -> Result<u64, String> {
    let head = bytes.get(at..at + width).ok_or_else(|| end(bytes.len()))?;
    Ok(head.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn end(at: usize) -> String {
    format!("it ends too early, at byte {at}")
}

/// Checks that `bytes`, taken as JSON, are nested at most [`DEPTH_MAX`] deep
/// and hold at most [`NODES_MAX`] values. Says nothing of its grammar.
///
/// # Errors
///
/// What is wrong, with the byte it was found at.
pub fn prescan_json(bytes: &[u8]) -> Result<(), String> {
    let (mut depth, mut nodes, mut in_string, mut escaped) = (0_usize, 1_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        if in_string {
            (in_string, escaped) = (escaped || *byte != b'"', !escaped && *byte == b'\\');
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' | b':' => nodes += 1,
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(format!(
                "nested deeper than {DEPTH_MAX} levels, at byte {at}"
            ));
        }
        if nodes > NODES_MAX {
            return Err(format!("more than {NODES_MAX} values, at byte {at}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, serde::Serialize)]
    enum Chain {
        End,
        Not(Box<Self>),
    }

    #[test]
    fn a_deep_chain_of_enums_is_refused_without_recursion() {
        let mut bytes = Vec::new();
        for _ in 0..1_000_000 {
            bytes.extend_from_slice(b"\x81\xa3Not");
        }
        bytes.extend_from_slice(b"\xa3End");

        assert!(prescan_msgpack(&bytes).unwrap_err().contains("deeper"));
    }

    #[test]
    fn what_serde_accepts_within_the_bounds_passes() {
        let mut chain = Chain::End;
        for _ in 0..DEPTH_MAX {
            chain = Chain::Not(Box::new(chain));
        }
        let bytes = rmp_serde::to_vec_named(&chain).unwrap();

        assert_eq!(prescan_msgpack(&bytes), Ok(()));
    }

    #[test]
    fn bytes_after_the_value_are_refused() {
        assert!(
            prescan_msgpack(&[7, 1])
                .unwrap_err()
                .contains("after the value")
        );
    }

    #[test]
    fn a_lying_length_is_refused() {
        for bytes in [
            &[0xdb, 0xff, 0xff, 0xff, 0xff][..],
            &[0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0],
            &[0xc6, 0, 0, 0, 9, 1],
            &[0xd8, 0, 1],
            &[0xcf, 0, 1],
            &[],
        ] {
            assert!(prescan_msgpack(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn deep_json_is_refused_and_brackets_in_strings_do_not_count() {
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert!(prescan_json(deep.as_bytes()).is_err());

        let text = format!(r#"["{}", "\"{}"]"#, "[".repeat(200), "{".repeat(200));
        assert_eq!(prescan_json(text.as_bytes()), Ok(()));
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "\\PC{0,40}".prop_map(Into::into),
        ];
        leaf.prop_recursive(8, 128, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::hash_map("\\PC{0,8}", inner, 0..8)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_encoded_value_passes_and_every_cut_of_it_does_not(value in value()) {
            let bytes = rmp_serde::to_vec_named(&value).unwrap();

            prop_assert_eq!(prescan_msgpack(&bytes), Ok(()));
            for end in 0..bytes.len() {
                prop_assert!(prescan_msgpack(&bytes[..end]).is_err());
            }
            prop_assert_eq!(prescan_json(value.to_string().as_bytes()), Ok(()));
        }

        #[test]
        fn what_passes_is_what_rmp_serde_reads(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = rmp_serde::Deserializer::from_read_ref(&bytes[..]);
            let read = serde::de::IgnoredAny::deserialize(&mut reader).is_ok();
            let passed = prescan_msgpack(&bytes).is_ok();

            prop_assert!(!passed || read, "passed but unreadable: {bytes:?}");
        }
    }
}
