//! Producers that are started again until their load is submitted.

use std::path::{Path, PathBuf};

use homing_protocol::BatchId;

use super::fleet::Fleet;
use crate::load::Load;
use crate::oracle::Claims;
use crate::process::Process;
use crate::program::{HOMING, TEST_PRODUCER};

/// Which program submits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Submitter {
    /// One written on the library.
    Library,
    /// `homing submit --rows`: all rows are of one kind, and plain.
    CommandLine,
}

/// A load on its way.
#[derive(Debug)]
pub struct Submission {
    load: Load,
    submitter: Submitter,
    /// The load, or its rows.
    input: PathBuf,
    journal: PathBuf,
    process: Option<Process>,
    crash: Option<String>,
    done: bool,
}

impl Submission {
    /// Begins to submit `load`; `crash` says where the first producer dies.
    pub fn begin(
        load: Load,
        submitter: Submitter,
        crash: Option<String>,
        fleet: &mut Fleet,
    ) -> Self {
        let file = |extension: &str| fleet.world.dir.join(format!("{}.{extension}", load.batch));
        let (input, journal) = (file("load"), file("journal"));
        match submitter {
            Submitter::Library => load.write(&input),
            Submitter::CommandLine => {
                let rows: Vec<_> = load.rows.iter().map(|row| &*row.payload).collect();
                std::fs::write(&input, rows.join("\n")).expect("a file in the folder");
            }
        }
        let mut submission = Self {
            load,
            submitter,
            input,
            journal,
            process: None,
            crash,
            done: false,
        };
        submission.start(fleet);
        submission
    }

    /// Whether everything is submitted and the batch is sealed.
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// What its producer was told.
    pub fn claim(&mut self, claims: &mut Claims) {
        // Rows of the command line belong to a batch that it names itself.
        if let Some(batch) = batch_of(&self.journal).filter(|_| self.is_of_command_line()) {
            self.load.batch = batch;
        }
        claims.add(&self.load, &self.journal, self.done);
    }

    /// The load.
    pub const fn load(&self) -> &Load {
        &self.load
    }

    /// Kills its producer; another goes on. False if there is none any more.
    pub async fn kill(&mut self) -> bool {
        let Some(process) = &mut self.process else {
            return false;
        };
        process.kill().await;
        true
    }

    /// Starts its producer again if that died.
    pub fn tend(&mut self, fleet: &mut Fleet) {
        let Some(process) = &mut self.process else {
            return;
        };
        match process.has_ended() {
            None => return,
            Some(0) => {
                self.done = true;
                self.process = None;
                return;
            }
            Some(-1) => {
                fleet.tally.kills += 1;
                fleet.note_crash(&process.stderr());
            }
            Some(code) => {
                let said = process.stderr();
                let trouble = format!("a producer ended with {code}: {said}");
                fleet.trouble.push(trouble);
                self.process = None;
                return;
            }
        }
        self.start(fleet);
    }

    /// Removes its files.
    pub fn forget(&self) {
        for file in [&self.input, &self.journal] {
            let _gone = std::fs::remove_file(file);
        }
    }

    const fn is_of_command_line(&self) -> bool {
        matches!(self.submitter, Submitter::CommandLine)
    }

    fn start(&mut self, fleet: &mut Fleet) {
        let crash = self.crash.take();
        let path = |path: &Path| path.display().to_string();
        let (input, journal) = (path(&self.input), path(&self.journal));
        self.process = Some(match self.submitter {
            Submitter::Library => {
                let arguments = [&*input, &*journal];
                fleet.spawn("producer", TEST_PRODUCER, &arguments, crash.as_deref())
            }
            Submitter::CommandLine => {
                let batch = batch_of(&self.journal).map(|batch| batch.to_string());
                if batch.is_none() {
                    // Its first line is torn: nothing was published yet.
                    let _none = std::fs::remove_file(&self.journal);
                }
                let kind = self.load.rows[0].kind.to_string();
                let mut arguments = vec!["submit", &kind, "--rows", &input, "--journal", &journal];
                if let Some(batch) = &batch {
                    arguments.extend(["--resume", batch]);
                }
                fleet.spawn("submit", HOMING, &arguments, crash.as_deref())
            }
        });
    }
}

/// The batch that the journal of `homing submit` is of.
fn batch_of(journal: &Path) -> Option<BatchId> {
    let text = std::fs::read_to_string(journal).ok()?;
    let (head, _) = text.split_once('\n')?;
    let head: serde_json::Value = serde_json::from_str(head).ok()?;
    head["batch"].as_str()?.parse().ok()
}
