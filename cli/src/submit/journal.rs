//! Notes which rows of a batch the broker has confirmed, beside the input.
//!
//! ```text
//! {"batch":"01a1…","kind":"image.resize","label":"night-42"}
//! 2 01a1fc18-d018-883a-be5c-e7af8756bca9
//! 1 01a1fc18-d018-8c01-95f2-0c1f3d5b7e90
//! @ 1795236030123
//! ```
//!
//! The last kind of line is the time of a record of the batch itself, opened or
//! sealed, on the clock of whoever wrote it.
//!
//! A row is noted only after its confirm, so every noted row is queued. Rows
//! are written in chunks of whole lines: a `kill -9` loses at most the last
//! chunk, whose rows are published again under the same ids.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use homing_faults::{Point, crash_point};
use homing_protocol::{BatchId, TaskId, TaskKind, Timestamp};
use serde::{Deserialize, Serialize};

/// Bytes that are written at once: about 700 rows.
const CHUNK_BYTES: usize = 32 << 10;

/// Which batch a journal is of: its first line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Head {
    pub(crate) batch: BatchId,
    pub(crate) kind: TaskKind,
    pub(crate) label: String,
}

/// A journal that is being written.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    pending: String,
}

/// What an earlier run noted.
pub(crate) struct Noted {
    pub(crate) head: Head,
    pub(crate) tasks: HashSet<TaskId>,
    /// The latest time of a record of the batch.
    pub(crate) recorded_at: Option<Timestamp>,
    /// Bytes of whole lines; what follows is the torn end of a last chunk.
    pub(crate) whole: u64,
}

impl Journal {
    /// Begins the journal of a new batch.
    ///
    /// # Errors
    ///
    /// The file cannot be created, or is there already, or another process has it.
    pub(crate) fn create(path: PathBuf, head: &Head) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        take(&file)?;
        file.write_all((serde_json::to_string(head)? + "\n").as_bytes())?;
        Ok(Self::new(path, file))
    }

    /// Goes on with the journal that `noted` was read from.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or another process has it, or had it since.
    pub(crate) fn resume(path: PathBuf, noted: &Noted) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        take(&file)?;
        file.seek(SeekFrom::Start(noted.whole))?;
        let mut line = String::new();
        if next_line(&mut BufReader::new(&file), &mut line)?.is_some() && is_noted(&line) {
            return Err(io::Error::other(
                "another `homing submit` wrote to it just now",
            ));
        }
        file.set_len(noted.whole)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self::new(path, file))
    }

    const fn new(path: PathBuf, file: File) -> Self {
        Self {
            path,
            file,
            pending: String::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that the task of `row` is confirmed.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn note(&mut self, row: u64, task: TaskId) -> io::Result<()> {
        self.pending.push_str(&format!("{row} {task}\n"));
        if self.pending.len() < CHUNK_BYTES {
            return Ok(());
        }
        self.write()
    }

    /// Notes the time of a record of the batch, on disk before it is published.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn note_record(&mut self, at: Timestamp) -> io::Result<()> {
        self.pending.push_str(&format!("@ {}\n", at.as_ms()));
        self.write()?;
        self.file.sync_data()
    }

    /// Writes what is noted so far.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.file.write_all(self.pending.as_bytes())?;
        self.pending.clear();
        crash_point(Point::SubmitJournalWritten);
        Ok(())
    }

    /// Writes what is noted so far, onto the disk.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.write()?;
        self.file.sync_data()?;
        crash_point(Point::SubmitJournalFinished);
        Ok(())
    }
}

/// Takes the journal for this process, until it ends.
fn take(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::other("another `homing submit` writes to it"))
        }
        // A file system without locks has none to give.
        _ => Ok(()),
    }
}

fn is_noted(line: &str) -> bool {
    task(line).is_some() || record(line).is_some()
}

/// Reads the journal at `path`; `None` if there is none.
///
/// # Errors
///
/// It cannot be read, or is no journal.
pub(crate) fn read(path: &Path) -> io::Result<Option<Noted>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    noted(BufReader::new(file)).map(Some)
}

/// What is noted in a journal.
///
/// # Errors
///
/// It cannot be read, or is no journal.
pub(crate) fn noted(mut reader: impl BufRead) -> io::Result<Noted> {
    let mut line = String::new();
    let mut whole = next_line(&mut reader, &mut line)?.unwrap_or(0);
    let head = serde_json::from_str(&line)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no journal"))?;
    let (mut tasks, mut recorded_at) = (HashSet::new(), None);
    while let Some(length) = next_line(&mut reader, &mut line)? {
        match (task(&line), record(&line)) {
            (Some(task), _) => _ = tasks.insert(task),
            (None, Some(at)) => recorded_at = recorded_at.max(Some(at)),
            // Power was lost while the disk had part of a chunk. What follows
            // is unknown and is published again.
            (None, None) => break,
        }
        whole += length;
    }
    Ok(Noted {
        head,
        tasks,
        recorded_at,
        whole,
    })
}

/// Longer than any line of a journal: a label and a kind of 255 bytes each.
const LINE_BYTES_MAX: u64 = 4 << 10;

/// The next line that is whole, with its length.
fn next_line(reader: &mut impl BufRead, line: &mut String) -> io::Result<Option<u64>> {
    line.clear();
    let mut bytes = Vec::new();
    reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    if bytes.last() != Some(&b'\n') {
        return Ok(None);
    }
    let length = bytes.len() as u64;
    line.push_str(&String::from_utf8_lossy(&bytes));
    Ok(Some(length))
}

fn record(line: &str) -> Option<Timestamp> {
    let ms = line.trim_end().strip_prefix("@ ")?;
    ms.parse().ok().map(Timestamp::from_ms)
}

fn task(line: &str) -> Option<TaskId> {
    let (row, task) = line.trim_end().split_once(' ')?;
    row.parse::<u64>().ok()?;
    task.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::*;

    fn head() -> Head {
        Head {
            batch: Uuid::from_u128(7).into(),
            kind: "demo.echo".parse().unwrap(),
            label: "night 42".to_owned(),
        }
    }

    fn id(number: u128) -> TaskId {
        Uuid::from_u128(number).into()
    }

    fn path(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("homing-{}-{name}.journal", std::process::id()));
        let _none = fs::remove_file(&path);
        path
    }

    #[test]
    fn a_torn_last_chunk_is_cut_and_written_again() {
        let path = path("torn");
        let mut journal = Journal::create(path.clone(), &head()).unwrap();
        journal.note(2, id(2)).unwrap();
        journal.note(1, id(1)).unwrap();
        journal.finish().unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let Ok(Some(noted)) = read(&path) else {
                continue;
            };
            assert_eq!(noted.head, head());

            let mut journal = Journal::resume(path.clone(), &noted).unwrap();
            for task in [id(2), id(1)] {
                if !noted.tasks.contains(&task) {
                    journal.note(9, task).unwrap();
                }
            }
            journal.finish().unwrap();

            assert_eq!(read(&path).unwrap().unwrap().tasks.len(), 2, "cut at {cut}");
        }
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_journal_that_another_writes_or_wrote_since_it_was_read_is_not_gone_on_with() {
        let path = path("two");
        let mut other = Journal::create(path.clone(), &head()).unwrap();
        let noted = read(&path).unwrap().unwrap();
        let refused = || {
            Journal::resume(path.clone(), &noted)
                .err()
                .unwrap()
                .to_string()
        };

        let at_work = refused();
        other.note(1, id(1)).unwrap();
        other.finish().unwrap();
        drop(other);
        let since = refused();

        assert_eq!(at_work, "another `homing submit` writes to it");
        assert_eq!(since, "another `homing submit` wrote to it just now");
        let noted = read(&path).unwrap().unwrap();
        assert!(Journal::resume(path.clone(), &noted).is_ok());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_latest_time_of_a_record_is_kept_in_whatever_order_clocks_wrote_it() {
        let path = path("records");
        let mut journal = Journal::create(path.clone(), &head()).unwrap();
        for ms in [1_000, 9_000, 3_000] {
            journal.note_record(Timestamp::from_ms(ms)).unwrap();
        }
        journal.note(1, id(1)).unwrap();
        journal.finish().unwrap();

        let noted = read(&path).unwrap().unwrap();

        assert_eq!(noted.recorded_at, Some(Timestamp::from_ms(9_000)));
        assert_eq!(noted.tasks.len(), 1);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_journal_is_refused() {
        let path = path("foreign");
        assert!(read(&path).unwrap().is_none());
        fs::write(&path, "a,b,c\n1,2,3\n").unwrap();

        assert!(read(&path).is_err());
        assert!(Journal::create(path.clone(), &head()).is_err());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn rows_are_written_in_chunks_of_whole_lines() {
        let path = path("chunks");
        let mut journal = Journal::create(path.clone(), &head()).unwrap();
        for row in 1..=2_000 {
            journal.note(row, id(row.into())).unwrap();
        }

        let noted = read(&path).unwrap().unwrap();

        assert!(
            (1_000..2_000).contains(&noted.tasks.len()),
            "{}",
            noted.tasks.len()
        );
        assert_eq!(noted.whole, fs::metadata(&path).unwrap().len());
        fs::remove_file(&path).unwrap();
    }
}
