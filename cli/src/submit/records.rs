//! Splits CSV into records and their fields.
//!
//! As RFC 4180 has it, and lenient as programs that write CSV are: lines end in
//! `\r\n`, `\n` or `\r`, blank lines are none, and a quote within a field that does
//! not begin with one is a character. A quote that nothing closes would take the
//! rest of the file into its field, so it is told, and no more of it is kept than of
//! any row.
//!
//! <https://www.rfc-editor.org/rfc/rfc4180>

use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Reader};

use super::rows::{BYTE_ORDER_MARK, ROW_BYTES_KEPT};

/// Bytes of fields that there is room for at first.
const FIELDS_BYTES: usize = 1 << 10;

/// Fields that there is room for at first.
const FIELDS: usize = 32;

/// Reads records, one after the other into the same memory.
pub(crate) struct Records {
    parser: Reader,
    lines: LineCount,
    /// Most fields that are kept of a record.
    fields_max: usize,
    begun: bool,
    /// The record as it stands in the file, its first bytes.
    raw: Vec<u8>,
    /// How many bytes it has, with its end.
    raw_length: u64,
    /// Its fields, one after the other.
    fields: Vec<u8>,
    fields_length: usize,
    /// Where each of them ends.
    ends: Vec<usize>,
    ends_length: usize,
    count: u64,
}

/// What reading came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    /// Whether there is a record, and not the end of the file.
    pub(crate) found: bool,
    /// Bytes of the file it and the blank lines before it take.
    pub(crate) bytes: u64,
    /// Whether more than line ends is in memory already.
    pub(crate) more_is_there: bool,
    /// The line it begins at.
    pub(crate) line: u64,
    /// Whether it ends with a quote that is not closed.
    pub(crate) open: bool,
}

impl Records {
    /// Keeps up to `fields_max` fields of a record.
    pub(crate) fn new(fields_max: usize) -> Self {
        Self {
            parser: Reader::new(),
            lines: LineCount::default(),
            fields_max,
            begun: false,
            raw: Vec::new(),
            raw_length: 0,
            fields: vec![0; FIELDS_BYTES],
            fields_length: 0,
            ends: vec![0; FIELDS.min(fields_max)],
            ends_length: 0,
            count: 0,
        }
    }

    /// Keeps up to `fields_max` fields, from the next record on.
    pub(crate) fn keep_fields(&mut self, fields_max: usize) {
        self.fields_max = fields_max;
        self.ends.resize(fields_max.max(1), 0);
    }

    /// The last record as it stands in the file, without its end.
    pub(crate) fn raw(&self) -> &[u8] {
        let raw = self.raw.as_slice();
        raw.strip_suffix(b"\n")
            .or_else(|| raw.strip_suffix(b"\r"))
            .unwrap_or(raw)
    }

    /// How many bytes it has, of which the first are kept.
    pub(crate) const fn raw_length(&self) -> u64 {
        self.raw_length
    }

    /// How many fields it has.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Its fields, if all of it was kept.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let ends = &self.ends[..self.ends_length];
        let starts = std::iter::once(&0).chain(ends);
        starts
            .zip(ends)
            .map(|(start, end)| self.fields.get(*start..*end).unwrap_or_default())
    }

    /// Reads the next record.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(crate) fn read(&mut self, reader: &mut dyn BufRead) -> io::Result<Read> {
        self.clear();
        let mut read = Read {
            found: false,
            bytes: 0,
            more_is_there: false,
            line: self.lines.line(),
            open: false,
        };
        loop {
            let buffer = match reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffer.is_empty() {
                read.found = self.begun;
                read.open = self.begun && !self.end();
                return Ok(read);
            }
            let (ended, taken) = self.take(buffer, &mut read.line);
            read.bytes += taken as u64;
            read.more_is_there = buffer[taken..].iter().any(|byte| !is_end(*byte));
            reader.consume(taken);
            if ended {
                read.found = true;
                return Ok(read);
            }
        }
    }

    fn clear(&mut self) {
        self.begun = false;
        self.raw.clear();
        (self.raw_length, self.count) = (0, 0);
        (self.fields_length, self.ends_length) = (0, 0);
    }

    /// Takes the start of `buffer`: whether the record ends there, and its length.
    fn take(&mut self, buffer: &[u8], line: &mut u64) -> (bool, usize) {
        if self.lines.is_at_start()
            && let Some(_rest) = buffer.strip_prefix(BYTE_ORDER_MARK)
        {
            self.lines.pass(BYTE_ORDER_MARK);
            return (false, BYTE_ORDER_MARK.len());
        }
        let (ended, taken) = self.parse(buffer);
        let mut bytes = &buffer[..taken];
        if !self.begun {
            let blank = bytes.iter().take_while(|byte| is_end(**byte)).count();
            self.lines.pass(&bytes[..blank]);
            bytes = &bytes[blank..];
            self.begun = !bytes.is_empty();
            *line = self.lines.line();
        }
        self.lines.pass(bytes);
        let room = ROW_BYTES_KEPT.saturating_sub(self.raw.len());
        self.raw.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.raw_length += bytes.len() as u64;
        (ended, taken)
    }

    /// The same of the fields alone. Takes all there is, unless the record ends.
    fn parse(&mut self, buffer: &[u8]) -> (bool, usize) {
        let mut taken = 0;
        loop {
            let (result, bytes, written, ended) = self.parser.read_record(
                &buffer[taken..],
                &mut self.fields[self.fields_length..],
                &mut self.ends[self.ends_length..],
            );
            taken += bytes;
            self.fields_length += written;
            self.ends_length += ended;
            self.count += ended as u64;
            match result {
                ReadRecordResult::InputEmpty => return (false, taken),
                ReadRecordResult::OutputFull => self.make_room(),
                ReadRecordResult::OutputEndsFull => self.make_room_for_ends(),
                ReadRecordResult::Record | ReadRecordResult::End => return (true, taken),
            }
        }
    }

    /// Of a record that is too large to be kept, the fields are overwritten.
    fn make_room(&mut self) {
        if self.fields.len() >= ROW_BYTES_KEPT {
            self.fields_length = 0;
            return;
        }
        let length = self.fields.len() * 2;
        self.fields.resize(length.min(ROW_BYTES_KEPT), 0);
    }

    /// The same of one that has too many.
    fn make_room_for_ends(&mut self) {
        if self.ends.len() >= self.fields_max {
            self.ends_length = 0;
            return;
        }
        let length = (self.ends.len() * 2).max(1);
        self.ends.resize(length.min(self.fields_max), 0);
    }

    /// Ends the last record of the file; `false` if a quote is open.
    fn end(&mut self) -> bool {
        // An end of a line ends any record but one within quotes.
        self.parse(b"\n").0
    }
}

const fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Counts lines that end in `\r\n`, `\n` or `\r`.
#[derive(Default)]
struct LineCount {
    ended: u64,
    last: Option<u8>,
}

impl LineCount {
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let second_half = *byte == b'\n' && self.last == Some(b'\r');
            self.ended += u64::from(is_end(*byte) && !second_half);
            self.last = Some(*byte);
        }
    }

    const fn is_at_start(&self) -> bool {
        self.last.is_none()
    }

    /// The line of what comes next, from 1.
    const fn line(&self) -> u64 {
        self.ended + 1
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Line and fields of each record, and whether a quote is open in the last one.
    fn records(text: &[u8]) -> (Vec<(u64, Vec<String>)>, bool) {
        // Few bytes at once: nothing depends on what is in memory.
        let mut reader = BufReader::with_capacity(3, text);
        let mut records = Records::new(100);
        let (mut found, mut open) = (Vec::new(), false);
        loop {
            let read = records.read(&mut reader).unwrap();
            if !read.found {
                return (found, open);
            }
            let fields = records.fields().map(String::from_utf8_lossy);
            found.push((read.line, fields.map(Into::into).collect()));
            open = read.open;
        }
    }

    fn is(text: &str, expected: &[(u64, &[&str])]) {
        let (found, open) = records(text.as_bytes());
        let found: Vec<_> = found
            .iter()
            .map(|(line, fields)| (*line, fields.iter().map(String::as_str).collect::<Vec<_>>()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(line, fields)| (*line, fields.to_vec()))
            .collect();
        assert_eq!((found, open), (expected, false), "{text:?}");
    }

    #[test]
    fn fields_are_split_whatever_ends_the_lines() {
        is("a,b\nc,d\n", &[(1, &["a", "b"]), (2, &["c", "d"])]);
        is("a,b\r\nc,d", &[(1, &["a", "b"]), (2, &["c", "d"])]);
        is("a,b\rc,d\r", &[(1, &["a", "b"]), (2, &["c", "d"])]);
        is(",\n", &[(1, &["", ""])]);
        is("", &[]);
    }

    #[test]
    fn a_quoted_field_has_commas_line_ends_and_doubled_quotes() {
        is(
            "a,\"b\nb\r\nb\"\r\n\"c,\"\"c\"\"\",d\n",
            &[(1, &["a", "b\nb\r\nb"]), (4, &["c,\"c\"", "d"])],
        );
    }

    #[test]
    fn blank_lines_and_a_byte_order_mark_are_no_part_of_a_record() {
        is("\u{feff}\"a\"\r\n\r\n\nb\n\n", &[(1, &["a"]), (4, &["b"])]);
        is("\u{feff}", &[]);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_told() {
        let (found, open) = records(b"a\n\"b\nc,d\n");

        assert_eq!((found.len(), open), (2, true));
    }

    #[test]
    fn a_record_is_kept_as_it_stands_without_its_end() {
        let mut records = Records::new(2);
        let mut text = &b"\n a,\"b\nb\",c\r\n"[..];

        let read = records.read(&mut text).unwrap();

        assert_eq!(records.raw(), b" a,\"b\nb\",c");
        assert_eq!((read.line, records.count()), (2, 3));
        let last = records.read(&mut text).unwrap();
        assert_eq!((last.found, read.bytes + last.bytes), (false, 13));
    }

    #[test]
    fn no_more_is_kept_of_a_record_than_of_any_row() {
        let mut text = vec![b'x'; 2 * ROW_BYTES_KEPT];
        text.extend_from_slice(b"\ny\n");
        let (mut text, mut records) = (text.as_slice(), Records::new(1));

        records.read(&mut text).unwrap();
        assert_eq!(records.raw().len(), ROW_BYTES_KEPT);
        assert_eq!(records.raw_length(), 2 * ROW_BYTES_KEPT as u64 + 1);
        assert!(records.fields.len() <= ROW_BYTES_KEPT);

        assert!(records.read(&mut text).unwrap().found);
        assert_eq!(records.fields().collect::<Vec<_>>(), [b"y"]);
    }
}
