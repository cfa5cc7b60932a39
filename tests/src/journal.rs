//! What handlers really did, told by themselves: the store tells what came of
//! tasks, this how often they ran.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use homing_protocol::TaskId;

use crate::world::World;

/// Tells a worker where the journal is.
pub(crate) const VARIABLE: &str = "TEST_JOURNAL";

/// A file to which every worker of a world adds a line when a handler begins,
/// and one when it ends.
#[derive(Clone, Debug)]
pub struct Journal {
    path: PathBuf,
}

/// A line of the journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Run {
    /// The task.
    pub task: TaskId,
    /// The process that ran it.
    pub process: u32,
    /// Whether the handler ended, or began.
    pub ended: bool,
}

impl World {
    /// The journal of this world's workers.
    pub fn journal(&self) -> Journal {
        Journal {
            path: self.dir.join("journal"),
        }
    }
}

impl Journal {
    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it; a line that a killed worker began is left out.
    pub fn runs(&self) -> Vec<Run> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().filter_map(parse).collect()
    }

    /// How often the handler of this task began.
    pub fn began(&self, task: TaskId) -> usize {
        let began = |run: &Run| run.task == task && !run.ended;
        self.runs().iter().filter(|run| began(run)).count()
    }

    /// The journal that the environment names, for a worker.
    ///
    /// # Errors
    ///
    /// It names none.
    pub fn named() -> io::Result<Self> {
        let path = std::env::var_os(VARIABLE).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { path: path.into() })
    }

    /// Opens it to add to.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub fn writer(&self) -> io::Result<JournalWriter> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        Ok(JournalWriter { file })
    }
}

fn parse(line: &str) -> Option<Run> {
    let mut words = line.split(' ');
    let task = words.next()?.parse().ok()?;
    let process = words.next()?.parse().ok()?;
    let ended = match words.next()? {
        "began" => false,
        "ended" => true,
        _ => return None,
    };
    Some(Run {
        task,
        process,
        ended,
    })
}

/// Adds to a journal.
#[derive(Debug)]
pub struct JournalWriter {
    file: File,
}

impl JournalWriter {
    /// Notes that the handler of `task` begins.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn began(&self, task: TaskId) -> io::Result<()> {
        self.note(task, "began")
    }

    /// Notes that the handler of `task` ends.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn ended(&self, task: TaskId) -> io::Result<()> {
        self.note(task, "ended")
    }

    fn note(&self, task: TaskId, what: &str) -> io::Result<()> {
        let process = std::process::id();
        // One write, so that lines of several processes stay apart.
        let line = format!("{task} {process} {what}\n");
        (&self.file).write_all(line.as_bytes())
    }
}
