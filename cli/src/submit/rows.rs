//! Reads rows of a file, on a thread of its own, a chunk ahead of whoever submits
//! them.
//!
//! Memory stays flat whatever the file: chunks are bounded, and so is what is kept
//! of a row.

use std::io::{self, BufRead};
use std::num::NonZeroU64;

use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::{EncodeError, Payload};
use tokio::sync::mpsc;

/// Bytes of rows that travel together to the submitting task: enough that
/// handing them over costs nothing beside reading them.
const CHUNK_BYTES: u64 = 256 << 10;

/// Chunks read ahead.
const CHUNKS_AHEAD: usize = 2;

/// Most bytes of a row that are kept, so that a rejected row is whole in the
/// rejects: 16 times what a payload may have.
pub(crate) const ROW_BYTES_KEPT: usize = 16 * PAYLOAD_BYTES_MAX;

/// The text before the first character of a file that some editors write.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What one task is made of.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its number in the file, from 1. It stays the same when another row is
    /// corrected.
    pub(crate) number: u64,
    /// The line it begins at, from 1.
    pub(crate) line: u64,
    /// Its payload, or why it has none.
    pub(crate) payload: Result<Payload, Rejected>,
}

/// A row that is no payload.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Rejected {
    /// Why.
    pub(crate) reason: String,
    /// The row, without its end.
    pub(crate) bytes: Vec<u8>,
}

/// Some rows, in order.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) rows: Vec<Row>,
    /// Bytes of the file they and the blank lines among them take.
    pub(crate) bytes: u64,
}

/// What is read of a file at once.
#[derive(Debug)]
pub(crate) struct Taken {
    /// `None` for blank lines alone.
    pub(crate) row: Option<Row>,
    /// Bytes of the file it takes.
    pub(crate) bytes: u64,
    /// Whether more of the file is in memory already.
    pub(crate) more_is_there: bool,
}

/// A form that rows have in a file.
pub(crate) trait Form {
    /// Reads the next row; `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    fn next(&mut self, reader: &mut dyn BufRead) -> io::Result<Option<Taken>>;
}

/// Begins to read, no more than `limit` rows, on a new thread; the receiver ends after
/// the last row, or after an error.
pub(crate) fn read(
    thread: std::thread::Builder,
    reader: Box<dyn BufRead + Send>,
    mut form: Box<dyn Form + Send>,
    limit: Option<NonZeroU64>,
) -> mpsc::Receiver<io::Result<Chunk>> {
    let (tx, rx) = mpsc::channel(CHUNKS_AHEAD);
    // Nobody joins it: it ends with the file, with its receiver, or, while it
    // waits for a terminal, with the process.
    let refused = tx.clone();
    if let Err(error) = thread.spawn(move || chunks(reader, &mut *form, limit, &tx)) {
        // Nothing else is in the channel.
        let _told = refused.try_send(Err(error));
    }
    rx
}

/// Reads rows in chunks until the file, the limit or their receiver ends.
pub(crate) fn chunks(
    mut reader: impl BufRead,
    form: &mut dyn Form,
    limit: Option<NonZeroU64>,
    tx: &mpsc::Sender<io::Result<Chunk>>,
) {
    let mut left = limit.map_or(u64::MAX, NonZeroU64::get);
    let mut chunk = Chunk::default();
    loop {
        match form.next(&mut reader) {
            Ok(Some(taken)) => {
                chunk.bytes += taken.bytes;
                left -= u64::from(taken.row.is_some());
                chunk.rows.extend(taken.row);
                // What came from a pipe goes on when no more is there yet.
                if left > 0 && chunk.bytes < CHUNK_BYTES && taken.more_is_there {
                    continue;
                }
                let gone = tx.blocking_send(Ok(std::mem::take(&mut chunk))).is_err();
                if gone || left == 0 {
                    return;
                }
            }
            Ok(None) => {
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

/// A row as it stands in the file, which is `length` bytes and perhaps not whole in
/// `bytes`, as text.
///
/// # Errors
///
/// Why it is none.
pub(crate) fn text(bytes: &[u8], length: u64) -> Result<&str, String> {
    if length > ROW_BYTES_KEPT as u64 {
        return Err(format!(
            "a row of {length} bytes, but at most {PAYLOAD_BYTES_MAX} are allowed; its first {ROW_BYTES_KEPT} are kept here"
        ));
    }
    std::str::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8 at byte {}", error.valid_up_to() + 1))
}

/// A payload of this JSON.
///
/// # Errors
///
/// Why there is none.
pub(crate) fn payload(json: &str) -> Result<Payload, String> {
    Payload::json("a payload", json, PAYLOAD_BYTES_MAX).map_err(|error| match error {
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

    /// A row for each byte, but none for a `-`.
    struct Bytes;

    impl Form for Bytes {
        fn next(&mut self, reader: &mut dyn BufRead) -> io::Result<Option<Taken>> {
            let buffer = reader.fill_buf()?;
            let Some(first) = buffer.first().copied() else {
                return Ok(None);
            };
            let more_is_there = buffer.len() > 1;
            reader.consume(1);
            let row = Row {
                number: first.into(),
                line: 1,
                payload: payload("1").map_err(|_| unreachable!("it is JSON")),
            };
            Ok(Some(Taken {
                row: (first != b'-').then_some(row),
                bytes: 1,
                more_is_there,
            }))
        }
    }

    /// The numbers of the rows, and how many bytes they took.
    fn read_all(text: &mut &[u8], limit: u64) -> (Vec<u8>, u64) {
        let (tx, mut rx) = mpsc::channel(10);
        chunks(text, &mut Bytes, NonZeroU64::new(limit), &tx);
        let (mut numbers, mut bytes) = (Vec::new(), 0);
        while let Ok(chunk) = rx.try_recv() {
            let chunk = chunk.unwrap();
            bytes += chunk.bytes;
            numbers.extend(chunk.rows.iter().map(|row| row.number as u8));
        }
        (numbers, bytes)
    }

    #[test]
    fn every_byte_of_the_file_is_counted() {
        assert_eq!(read_all(&mut &b"a-b-"[..], 0), (b"ab".to_vec(), 4));
    }

    #[test]
    fn a_limit_counts_rows_and_nothing_is_read_past_it() {
        let mut text = &b"a-b-c"[..];

        assert_eq!(read_all(&mut text, 2), (b"ab".to_vec(), 3));
        assert_eq!(text, b"-c");
    }
}
