//! The output as `jsonb`, where that can hold it.
//!
//! `jsonb` takes less than JSON: no zero character in a text, no half of a
//! surrogate pair, no number beyond its `numeric`. What it would refuse is left
//! out here, so that no outcome is refused for the sake of a column that only
//! helps queries. Where in doubt, it is left out.

use std::fmt;

use homing_protocol::{Report, to_json};
use serde::de::{Deserialize, Error, MapAccess, SeqAccess, Visitor};
use serde_json::de::Deserializer;

/// Characters of a number that are sure to fit: `numeric` has 131,072 digits
/// before the point and 16,383 behind it.
const NUMBER_LENGTH_MAX: usize = 1_000;

/// The output of `report` as a text that `jsonb` takes, if it has one.
pub(super) fn output(report: &Report) -> Option<String> {
    let json = to_json(report.output.as_ref()?, report.content_type)?;
    fits(&json).then_some(json)
}

/// Whether `jsonb` is sure to hold this.
pub(super) fn fits(json: &str) -> bool {
    let mut deserializer = Deserializer::from_str(json);
    let holds = Fits::deserialize(&mut deserializer).is_ok() && deserializer.end().is_ok();
    holds && !has_odd_number(json)
}

/// Whether there is a number with very many digits, or a very small one. A very
/// large one is no `f64` and was noticed before.
fn has_odd_number(json: &str) -> bool {
    let is_part =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+');
    let is_odd = |part: &[u8]| {
        let exponent = part.iter().rposition(|byte| matches!(byte, b'e' | b'E'));
        let exponent = exponent.map_or(&[][..], |at| &part[at + 1..]);
        part.len() > NUMBER_LENGTH_MAX || exponent.len() > 4
    };
    outside_texts(json).any(|part| part.split(|byte| !is_part(*byte)).any(is_odd))
}

/// The parts of valid JSON that are in no text.
fn outside_texts(json: &str) -> impl Iterator<Item = &[u8]> {
    let (mut in_text, mut is_escaped) = (false, false);
    let quotes = json.as_bytes().split(move |byte| {
        let is_quote = *byte == b'"' && !is_escaped;
        is_escaped = in_text && *byte == b'\\' && !is_escaped;
        in_text ^= is_quote;
        is_quote
    });
    quotes.step_by(2)
}

/// JSON that `jsonb` can hold, but for its numbers.
struct Fits;

impl<'de> Deserialize<'de> for Fits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FitsVisitor)
    }
}

struct FitsVisitor;

impl<'de> Visitor<'de> for FitsVisitor {
    type Value = Fits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without zero characters")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Fits, E> {
        Ok(Fits)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Fits, E> {
        Ok(Fits)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Fits, E> {
        Ok(Fits)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Fits, E> {
        Ok(Fits)
    }

    fn visit_unit<E>(self) -> Result<Fits, E> {
        Ok(Fits)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Fits, E> {
        if text.contains('\0') {
            return Err(E::custom("a zero character"));
        }
        Ok(Fits)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Fits, A::Error> {
        while items.next_element::<Fits>()?.is_some() {}
        Ok(Fits)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Fits, A::Error> {
        while fields.next_entry::<Fits, Fits>()?.is_some() {}
        Ok(Fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jsonb_would_refuse_is_left_out() {
        let zeros = format!("0.{}1", "0".repeat(20_000));
        for json in [
            r#""\u0000""#,
            r#"{"\u0000":1}"#,
            r#"["\ud800"]"#,
            "1e999999",
            "1e-99999",
            &zeros,
            "[1,]",
            "",
        ] {
            assert!(!fits(json), "{json:.40}");
        }
    }

    #[test]
    fn what_people_query_is_not() {
        for json in [
            r#"{"a": 1.50, "b": [null, true, "\u00e4\n\ud83d\ude00"], "c": {}}"#,
            "-1.5e300",
            "18446744073709551615",
            r#"{"id": "0190e1234567", "quoted": "\"1e123456\\"}"#,
        ] {
            assert!(fits(json), "{json}");
        }
    }
}
