//! Keeps the rows that were not submitted, each with its line and the reason.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::rows::Rejected;

/// How many of them are told on the terminal; the file has all.
const TOLD_MAX: usize = 2;

/// The file of rejected rows, which is there once there is one.
pub(crate) struct Rejects {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    count: u64,
    told: Vec<(u64, String)>,
}

#[derive(Serialize)]
struct RejectJson<'a> {
    line: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<&'a str>,
    /// The row in hexadecimal, if it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    row_hex: Option<String>,
}

impl Rejects {
    /// Rejected rows go to `path`.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            count: 0,
            told: Vec::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// The first of them: line and reason.
    pub(crate) fn told(&self) -> &[(u64, String)] {
        &self.told
    }

    /// Keeps the row at `line`.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn keep(&mut self, line: u64, rejected: &Rejected) -> io::Result<()> {
        let row = std::str::from_utf8(&rejected.bytes).ok();
        let json = RejectJson {
            line,
            reason: &rejected.reason,
            row,
            row_hex: row.is_none().then(|| hex(&rejected.bytes)),
        };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::new(File::create(&self.path)?)),
        };
        serde_json::to_writer(&mut *file, &json)?;
        file.write_all(b"\n")?;
        self.count += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push((line, rejected.reason.clone()));
        }
        Ok(())
    }

    /// Writes what is left, and takes away the file of an earlier run if every
    /// row is accepted now.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub(crate) fn finish(&mut self, complete: bool) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.flush(),
            None if complete => match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(bytes: &[u8]) -> Rejected {
        Rejected {
            reason: "not \"valid\"".to_owned(),
            bytes: bytes.to_vec(),
        }
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("homing-{}-{name}.rejects", std::process::id()))
    }

    #[test]
    fn rejected_rows_are_kept_with_line_and_reason() {
        let mut rejects = Rejects::new(path("kept"));
        rejects.keep(17, &rejected(b"{\"a\"")).unwrap();
        rejects.keep(19, &rejected(b"\xff")).unwrap();
        rejects.finish(true).unwrap();

        let text = fs::read_to_string(rejects.path()).unwrap();
        fs::remove_file(rejects.path()).unwrap();

        assert_eq!(
            text,
            "{\"line\":17,\"reason\":\"not \\\"valid\\\"\",\"row\":\"{\\\"a\\\"\"}\n\
             {\"line\":19,\"reason\":\"not \\\"valid\\\"\",\"row_hex\":\"ff\"}\n"
        );
        assert_eq!((rejects.count(), rejects.told().len()), (2, 2));
    }

    #[test]
    fn a_run_without_rejected_rows_leaves_no_file() {
        let mut rejects = Rejects::new(path("stale"));
        fs::write(rejects.path(), "old").unwrap();

        rejects.finish(false).unwrap();
        assert!(rejects.path().exists());
        rejects.finish(true).unwrap();
        assert!(!rejects.path().exists());
    }
}
