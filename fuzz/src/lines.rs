//! Files that `homing submit` reads.

use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use tokio::sync::mpsc;

#[path = "../../cli/src/submit/journal.rs"]
#[expect(dead_code, reason = "nothing is written here")]
mod journal;
#[path = "../../cli/src/submit/rows.rs"]
#[expect(dead_code, reason = "no file is opened here")]
mod rows;

/// Chunks of what is fuzzed; none is larger than libFuzzer makes them.
const CHUNKS_MAX: usize = 1_000;

/// The rows of a file.
pub fn rows(bytes: &[u8]) {
    let (tx, mut rx) = mpsc::channel(CHUNKS_MAX);
    rows::chunks(bytes, &tx);
    drop(tx);
    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    let (mut read, mut last) = (0, 0);
    while let Ok(chunk) = rx.try_recv() {
        let chunk = chunk.expect("there is no file that could fail");
        read += chunk.bytes;
        for row in chunk.rows {
            assert!(row.line > last, "rows come in order");
            last = row.line;
            let line = lines[usize::try_from(row.line).expect("a line") - 1];
            match row.payload {
                Ok(payload) => {
                    assert!(payload.bytes.len() <= PAYLOAD_BYTES_MAX);
                    assert!(payload.decode::<serde::de::IgnoredAny>().is_ok());
                    let text = std::str::from_utf8(line).expect("it was read as text");
                    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
                    assert_eq!(text.as_bytes(), payload.bytes);
                }
                Err(rejected) => assert!(!rejected.reason.is_empty()),
            }
        }
    }
    assert_eq!(read, bytes.len() as u64);
}

/// The journal of a batch.
pub fn journal(bytes: &[u8]) {
    let Ok(noted) = journal::noted(bytes) else {
        return;
    };
    let whole = usize::try_from(noted.whole).expect("it is in memory");
    assert!(whole <= bytes.len());
    assert!(bytes[..whole].ends_with(b"\n"));
    let again = journal::noted(&bytes[..whole]).expect("whole lines are a journal");
    assert_eq!((again.whole, again.head), (noted.whole, noted.head));
    assert_eq!(again.tasks, noted.tasks);
}
