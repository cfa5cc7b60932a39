//! Rows of NDJSON: each line is a payload.
//!
//! A row's number is that of its line.

use std::io::{self, BufRead};

use super::rows::{self, BYTE_ORDER_MARK, Form, ROW_BYTES_KEPT, Rejected, Row, Taken};

/// Reads a row for each line that is not blank.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    line: Line,
    number: u64,
}

impl Form for Lines {
    fn next(&mut self, reader: &mut dyn BufRead) -> io::Result<Option<Taken>> {
        if !self.line.read(reader)? {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Taken {
            row: row(self.number, &self.line),
            bytes: self.line.length,
            more_is_there: self.line.more_is_there,
        }))
    }
}

/// A line as it was read.
#[derive(Debug, Default)]
struct Line {
    /// Its first bytes, with its end.
    bytes: Vec<u8>,
    /// How many bytes it had.
    length: u64,
    /// Whether more is read already.
    more_is_there: bool,
}

impl Line {
    /// Reads the next line. `false` at the end of the file.
    fn read(&mut self, reader: &mut dyn BufRead) -> io::Result<bool> {
        self.bytes.clear();
        self.length = 0;
        loop {
            let buffer = match reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffer.is_empty() {
                self.more_is_there = false;
                return Ok(self.length > 0);
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(buffer.len(), |end| end + 1);
            self.more_is_there = taken < buffer.len();
            let room = ROW_BYTES_KEPT.saturating_sub(self.bytes.len());
            self.bytes.extend_from_slice(&buffer[..taken.min(room)]);
            self.length += taken as u64;
            reader.consume(taken);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

fn row(number: u64, line: &Line) -> Option<Row> {
    let mut bytes = line.bytes.as_slice();
    if number == 1 {
        bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    }
    let bytes = bytes.trim_ascii();
    let blank = bytes.is_empty() && line.length <= ROW_BYTES_KEPT as u64;
    let payload = || rows::payload(rows::text(bytes, line.length)?);
    (!blank).then(|| Row {
        number,
        line: number,
        payload: payload().map_err(|reason| Rejected {
            reason,
            bytes: bytes.to_vec(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(mut text: &[u8]) -> Vec<Row> {
        let mut lines = Lines::default();
        let taken = std::iter::from_fn(|| lines.next(&mut text).unwrap());
        taken.filter_map(|taken| taken.row).collect()
    }

    #[test]
    fn a_row_has_the_number_of_its_line_and_blank_lines_none() {
        let rows = rows(b"\xef\xbb\xbf1\r\n\n  \n {\"a\": 2}\n3");

        let read: Vec<_> = rows
            .iter()
            .map(|row| (row.number, &row.payload.as_ref().unwrap().bytes[..]))
            .collect();
        assert_eq!(read, [(1, &b"1"[..]), (4, b"{\"a\": 2}"), (5, b"3")]);
    }

    #[test]
    fn a_line_that_is_no_json_is_rejected_whole_with_its_reason() {
        let rows = rows(b"{\n\xff\n");

        let rejected: Vec<_> = rows
            .into_iter()
            .map(|row| row.payload.unwrap_err())
            .collect();
        assert_eq!(rejected[0].bytes, b"{");
        assert!(
            rejected[0].reason.starts_with("not valid JSON"),
            "{rejected:?}"
        );
        assert_eq!(rejected[1].reason, "not UTF-8 at byte 1");
    }

    #[test]
    fn a_line_longer_than_is_kept_is_one_rejected_row() {
        let mut text = vec![b' '; ROW_BYTES_KEPT + 1];
        text.extend_from_slice(b"1\n2\n");

        let rows = rows(&text);

        assert_eq!(rows.len(), 2);
        let reason = &rows[0].payload.as_ref().unwrap_err().reason;
        assert!(reason.starts_with("a row of 16777219 bytes"), "{reason}");
        assert_eq!(rows[1].line, 2);
    }
}
