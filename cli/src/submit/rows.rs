//! Reads rows from NDJSON, on a thread of its own, a chunk ahead of whoever
//! submits them.
//!
//! A row's number is its line in the file, so that it stays the same when
//! another line is corrected. Memory stays flat whatever the file: chunks and
//! lines are bounded.

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::{EncodeError, Payload};
use tokio::sync::mpsc;

/// Bytes of rows that travel together to the submitting task: enough that
/// handing them over costs nothing beside reading them.
const CHUNK_BYTES: u64 = 256 << 10;

/// Chunks read ahead.
const CHUNKS_AHEAD: usize = 2;

/// Most bytes of a line that are kept, so that a rejected row is whole in the
/// rejects: 16 times what a payload may have.
const LINE_BYTES_KEPT: usize = 16 * PAYLOAD_BYTES_MAX;

/// The text before the first character of a file that some editors write.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line that is not blank.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its number in the file, from 1.
    pub(crate) line: u64,
    /// Its payload, or why it has none.
    pub(crate) payload: Result<Payload, Rejected>,
}

/// A line that is no payload.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Rejected {
    /// Why.
    pub(crate) reason: String,
    /// The line, without its end.
    pub(crate) bytes: Vec<u8>,
}

/// Some rows, in order.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) rows: Vec<Row>,
    /// Bytes of the file they and the blank lines among them take.
    pub(crate) bytes: u64,
}

/// Where rows come from.
#[derive(Debug)]
pub(crate) enum Source {
    Stdin,
    File(File),
}

/// Begins to read; the receiver ends after the last row, or after an error.
pub(crate) fn read(source: Source) -> mpsc::Receiver<io::Result<Chunk>> {
    let (tx, rx) = mpsc::channel(CHUNKS_AHEAD);
    // Nobody joins it: it ends with the file, with its receiver, or, while it
    // waits for a terminal, with the process.
    std::thread::spawn(move || match source {
        Source::Stdin => chunks(io::stdin().lock(), &tx),
        Source::File(file) => chunks(BufReader::new(file), &tx),
    });
    rx
}

/// Reads rows in chunks until the file or their receiver ends.
pub(crate) fn chunks(mut reader: impl BufRead, tx: &mpsc::Sender<io::Result<Chunk>>) {
    let mut number = 0;
    let mut line = Line::default();
    let mut chunk = Chunk::default();
    loop {
        match line.read(&mut reader) {
            Ok(true) => {
                number += 1;
                chunk.bytes += line.length;
                chunk.rows.extend(row(number, &line));
                // What came from a pipe goes on when no more is there yet.
                if chunk.bytes < CHUNK_BYTES && line.more_is_there {
                    continue;
                }
                if tx.blocking_send(Ok(std::mem::take(&mut chunk))).is_err() {
                    return;
                }
            }
            Ok(false) => {
                let _gone = tx.blocking_send(Ok(chunk));
                return;
            }
            Err(error) => {
                let _gone = tx.blocking_send(Err(error));
                return;
            }
        }
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
    fn read(&mut self, reader: &mut impl BufRead) -> io::Result<bool> {
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
            let room = LINE_BYTES_KEPT.saturating_sub(self.bytes.len());
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
    let blank = bytes.is_empty() && line.length <= LINE_BYTES_KEPT as u64;
    (!blank).then(|| Row {
        line: number,
        payload: payload(bytes, line.length).map_err(|reason| Rejected {
            reason,
            bytes: bytes.to_vec(),
        }),
    })
}

fn payload(bytes: &[u8], length: u64) -> Result<Payload, String> {
    if length > LINE_BYTES_KEPT as u64 {
        return Err(format!(
            "a line of {length} bytes, but at most {PAYLOAD_BYTES_MAX} are allowed; its first {LINE_BYTES_KEPT} are kept here"
        ));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to() + 1))?;
    Payload::json("a payload", text, PAYLOAD_BYTES_MAX).map_err(|error| match error {
        EncodeError::Invalid { problem, .. } => format!("not valid JSON: {problem}"),
        EncodeError::TooLarge {
            what,
            bytes,
            bytes_max,
        } => format!("{what} of {bytes} bytes, but at most {bytes_max} are allowed"),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> Vec<Row> {
        let (tx, mut rx) = mpsc::channel(1_000);
        chunks(text, &tx);
        drop(tx);
        let mut rows = Vec::new();
        while let Ok(chunk) = rx.try_recv() {
            rows.extend(chunk.unwrap().rows);
        }
        rows
    }

    #[test]
    fn a_row_has_the_number_of_its_line_and_blank_lines_none() {
        let rows = rows(b"\xef\xbb\xbf1\r\n\n  \n {\"a\": 2}\n3");

        let read: Vec<_> = rows
            .iter()
            .map(|row| (row.line, &row.payload.as_ref().unwrap().bytes[..]))
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
        let mut text = vec![b' '; LINE_BYTES_KEPT + 1];
        text.extend_from_slice(b"1\n2\n");

        let rows = rows(&text);

        assert_eq!(rows.len(), 2);
        let reason = &rows[0].payload.as_ref().unwrap_err().reason;
        assert!(reason.starts_with("a line of 16777219 bytes"), "{reason}");
        assert_eq!(rows[1].line, 2);
    }

    #[test]
    fn every_byte_of_the_file_is_counted() {
        let (tx, mut rx) = mpsc::channel(10);
        chunks(&b"1\n\n2"[..], &tx);

        let bytes: u64 = std::iter::from_fn(|| rx.try_recv().ok())
            .map(|chunk| chunk.unwrap().bytes)
            .sum();
        assert_eq!(bytes, 4);
    }
}
