//! Reads the properties of a message as well as they can be read.

use std::io;

use homing_protocol::limit::DEPTH_MAX;
use homing_protocol::{Header, HeaderValue, Properties};

use super::Fields;

/// Nesting from which it is better not to let amqprs recurse: far below what
/// the stack of a link's thread holds, far above what anybody means.
const NESTING_MAX: usize = 1_000;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::amqp) struct Read {
    /// The properties, all headers among them, those of the broker too.
    pub(in crate::amqp) properties: Properties,
    /// Why amqprs cannot read them.
    pub(in crate::amqp) problem: Option<String>,
}

/// Reads flags and properties. Never fails: what cannot be read is left out.
pub(in crate::amqp) fn read(bytes: &[u8]) -> Read {
    let mut read = Read::default();
    if let Err(error) = read.all(Fields(bytes)) {
        read.note(|| format!("the properties end too early: {error}"));
    }
    read
}

impl Read {
    fn note(&mut self, problem: impl FnOnce() -> String) {
        self.problem.get_or_insert_with(problem);
    }

    fn all(&mut self, mut fields: Fields<'_>) -> io::Result<()> {
        let flags = fields.short()?;
        let has = |bit: u16| flags & (1 << bit) != 0;
        if has(15) {
            self.properties.content_type = Some(self.short("content_type", &mut fields)?);
        }
        if has(14) {
            self.short("content_encoding", &mut fields)?;
        }
        if has(13) {
            let table = fields.long_bytes()?;
            self.properties.headers = self.table(table, 0);
        }
        if has(12) {
            fields.byte()?;
        }
        if has(11) {
            self.properties.priority = Some(fields.byte()?);
        }
        if has(10) {
            self.properties.correlation_id = Some(self.short("correlation_id", &mut fields)?);
        }
        if has(9) {
            self.properties.reply_to = Some(self.short("reply_to", &mut fields)?);
        }
        if has(8) {
            self.short("expiration", &mut fields)?;
        }
        if has(7) {
            self.properties.message_id = Some(self.short("message_id", &mut fields)?);
        }
        if has(6) {
            self.properties.timestamp = Some(fields.long_long()?);
        }
        if has(5) {
            self.properties.kind = Some(self.short("type", &mut fields)?);
        }
        if has(4) {
            self.short("user_id", &mut fields)?;
        }
        if has(3) {
            self.properties.app_id = Some(self.short("app_id", &mut fields)?);
        }
        if has(2) {
            self.short("cluster_id", &mut fields)?;
        }
        Ok(())
    }

    fn short(&mut self, what: &str, fields: &mut Fields<'_>) -> io::Result<String> {
        let bytes = fields.short_bytes()?;
        Ok(self.text(bytes, || format!("`{what}`")))
    }

    fn text(&mut self, bytes: &[u8], what: impl FnOnce() -> String) -> String {
        let text = String::from_utf8_lossy(bytes);
        if matches!(text, std::borrow::Cow::Owned(_)) {
            self.note(|| format!("{} is not UTF-8", what()));
        }
        text.into_owned()
    }

    fn table(&mut self, bytes: &[u8], depth: usize) -> Vec<Header> {
        let mut fields = Fields(bytes);
        let mut headers = Vec::new();
        while !fields.0.is_empty() {
            match self.header(&mut fields, depth) {
                Ok(header) => headers.push(header),
                // Where the next one begins is not known.
                Err(error) => {
                    self.note(|| format!("a header table is broken: {error}"));
                    break;
                }
            }
        }
        if depth == 0 {
            headers.sort_by(|(a, _): &Header, (b, _)| a.cmp(b));
        }
        headers
    }

    fn header(&mut self, fields: &mut Fields<'_>, depth: usize) -> io::Result<Header> {
        let name = fields.short_bytes()?;
        let name = self.text(name, || "the name of a header".to_owned());
        let value = self.value(fields, &name, depth)?;
        Ok((name, value))
    }

    fn value(
        &mut self,
        fields: &mut Fields<'_>,
        name: &str,
        depth: usize,
    ) -> io::Result<HeaderValue> {
        Ok(match fields.byte()? {
            b't' => HeaderValue::Bool(fields.byte()? != 0),
            b'b' => HeaderValue::Int(i8::from_be_bytes(fields.array()?).into()),
            b'B' => HeaderValue::Int(fields.byte()?.into()),
            b's' => HeaderValue::Int(i16::from_be_bytes(fields.array()?).into()),
            b'u' => HeaderValue::Int(fields.short()?.into()),
            b'I' => HeaderValue::Int(i32::from_be_bytes(fields.array()?).into()),
            b'i' => HeaderValue::Int(fields.long()?.into()),
            b'l' => HeaderValue::Int(i64::from_be_bytes(fields.array()?)),
            b'L' => {
                self.note(|| format!("header `{name}` is a number with tag L"));
                HeaderValue::Int(i64::from_be_bytes(fields.array()?))
            }
            b'f' => HeaderValue::Float(f32::from_be_bytes(fields.array()?).into()),
            b'd' => HeaderValue::Float(f64::from_be_bytes(fields.array()?)),
            b'D' => {
                let (scale, number) = (fields.byte()?, fields.long()?);
                HeaderValue::Text(format!("{number}e-{scale}"))
            }
            b'S' => {
                let bytes = fields.long_bytes()?;
                HeaderValue::Text(self.text(bytes, || format!("header `{name}`")))
            }
            b'x' => HeaderValue::Bytes(fields.long_bytes()?.to_vec()),
            b'T' => HeaderValue::Time(fields.long_long()?),
            b'V' => HeaderValue::Void,
            tag @ (b'A' | b'F') => {
                let bytes = fields.long_bytes()?;
                self.nested(tag, bytes, name, depth + 1)
            }
            tag => {
                self.note(|| format!("header `{name}` has tag {tag}, which means nothing"));
                return Err(io::Error::other("a value of unknown length"));
            }
        })
    }

    fn nested(&mut self, tag: u8, bytes: &[u8], name: &str, depth: usize) -> HeaderValue {
        if depth > DEPTH_MAX {
            if nesting(bytes) > NESTING_MAX {
                self.note(|| format!("header `{name}` is nested deeper than {NESTING_MAX} levels"));
            }
            return HeaderValue::Void;
        }
        if tag == b'F' {
            return HeaderValue::Table(self.table(bytes, depth));
        }
        let mut fields = Fields(bytes);
        let mut values = Vec::new();
        while !fields.0.is_empty() {
            match self.value(&mut fields, name, depth) {
                Ok(value) => values.push(value),
                Err(error) => {
                    self.note(|| format!("a list in header `{name}` is broken: {error}"));
                    break;
                }
            }
        }
        HeaderValue::List(values)
    }
}

/// How deep a value can be nested at most, by its bytes: each level takes six.
const fn nesting(bytes: &[u8]) -> usize {
    bytes.len() / 6
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers alone.
    fn headers(table: &[u8]) -> Read {
        let length = u32::try_from(table.len()).unwrap();
        read(&[&[0x20, 0][..], &length.to_be_bytes(), table].concat())
    }

    #[test]
    fn what_is_in_order_has_no_problem() {
        let read = headers(b"\x01aS\0\0\0\x01b\x01cl\0\0\0\0\0\0\0\x07\x01dA\0\0\0\x02t\x01");

        assert_eq!(read.problem, None);
        assert_eq!(
            read.properties.headers,
            [
                ("a".to_owned(), HeaderValue::Text("b".to_owned())),
                ("c".to_owned(), HeaderValue::Int(7)),
                (
                    "d".to_owned(),
                    HeaderValue::List(vec![HeaderValue::Bool(true)])
                ),
            ]
        );
    }

    #[test]
    fn each_problem_is_named_and_the_rest_read() {
        for (table, problem) in [
            (
                &b"\x02\xff\xfet\x01"[..],
                "the name of a header is not UTF-8",
            ),
            (b"\x01aS\0\0\0\x01\xff", "header `a` is not UTF-8"),
            (
                b"\x01aL\0\0\0\0\0\0\0\x07",
                "header `a` is a number with tag L",
            ),
            (b"\x01az", "header `a` has tag 122, which means nothing"),
        ] {
            let read = headers(&[b"\x01Bt\x01", table].concat());

            assert_eq!(read.problem.as_deref(), Some(problem));
            assert_eq!(
                read.properties.headers[0],
                ("B".to_owned(), HeaderValue::Bool(true))
            );
        }
    }

    #[test]
    fn properties_that_are_no_text_are_named_too() {
        // message_id and type.
        let read = read(b"\0\xa0\x02\xc3\x28\x01k");

        assert_eq!(read.problem.as_deref(), Some("`message_id` is not UTF-8"));
        assert_eq!(read.properties.kind.as_deref(), Some("k"));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        for seed in 0..20_000_u64 {
            let mut state = seed;
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })
            .take((seed % 90) as usize)
            .collect();
            let _read = headers(&bytes);
            let _read = read(&bytes);
        }
    }

    #[test]
    fn tables_nested_as_deep_as_a_frame_allows_cost_no_stack() {
        let mut table = Vec::new();
        for level in (1..=21_000_u32).rev() {
            table.extend_from_slice(b"\0F");
            table.extend_from_slice(&((level - 1) * 6).to_be_bytes());
        }

        let problem = headers(&table).problem.unwrap();

        assert!(
            problem.contains("nested deeper than 1000 levels"),
            "{problem}"
        );
    }
}
