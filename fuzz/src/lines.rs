//! Files that `homing submit` reads.

use std::collections::BTreeMap;

use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use tokio::sync::mpsc;

#[path = "../../cli/src/submit/columns.rs"]
#[expect(dead_code, reason = "nothing is told of a column")]
mod columns;
#[path = "../../cli/src/submit/csv.rs"]
#[expect(dead_code, reason = "nothing is told of a refused file")]
mod csv;
#[path = "../../cli/src/submit/journal.rs"]
#[expect(dead_code, reason = "nothing is written here")]
mod journal;
#[path = "../../cli/src/submit/ndjson.rs"]
mod ndjson;
#[path = "../../cli/src/submit/records.rs"]
mod records;
#[path = "../../cli/src/submit/rows.rs"]
#[expect(dead_code, reason = "no file is opened here")]
mod rows;

/// Chunks of what is fuzzed; none is larger than libFuzzer makes them.
const CHUNKS_MAX: usize = 1_000;

/// The columns that are read as something else than text.
const COLUMNS: [&str; 3] = ["number=b:number", "bool=b:bool", "json=b:json"];

/// The rows of a file of JSON.
pub fn rows(bytes: &[u8]) {
    let (tx, mut rx) = mpsc::channel(CHUNKS_MAX);
    rows::chunks(bytes, &mut ndjson::Lines::default(), None, &tx);
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

/// The rows of a file of CSV, with its own columns and with some of them.
pub fn csv(bytes: &[u8]) {
    let wanted = COLUMNS.map(|column| column.parse().expect("a column"));
    for columns in [&[][..], &wanted] {
        let mut rest = bytes;
        if let Ok(csv) = csv::Csv::begin(&mut rest, columns) {
            rows_of_csv(rest, csv, columns.len());
        }
    }
}

fn rows_of_csv(rest: &[u8], mut csv: csv::Csv, columns: usize) {
    let (tx, mut rx) = mpsc::channel(CHUNKS_MAX);
    rows::chunks(rest, &mut csv, None, &tx);
    drop(tx);
    let (mut read, mut last, mut line) = (0, 0, 0);
    while let Ok(chunk) = rx.try_recv() {
        let chunk = chunk.expect("there is no file that could fail");
        read += chunk.bytes;
        for row in chunk.rows {
            assert_eq!(row.number, last + 1, "rows are counted one by one");
            assert!(row.line > line, "each begins on a line of its own");
            (last, line) = (row.number, row.line);
            match row.payload {
                Ok(payload) => {
                    let fields: BTreeMap<String, serde_json::Value> =
                        payload.decode().expect("it is an object");
                    assert!(columns == 0 || fields.len() == columns);
                }
                Err(rejected) => assert!(rejected.reason.starts_with("row ")),
            }
        }
    }
    assert_eq!(read, rest.len() as u64);
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
