use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::Place;

/// Tells a process that it is a worker of an example, and what it is called.
const NAME_VARIABLE: &str = "HOMING_EXAMPLE_WORKER";

/// Lines of children that wait to be read. One that has more to say waits.
const LINES_MAX: usize = 64;

/// Whether this process is a worker that an example started.
pub fn is_child() -> bool {
    std::env::var_os(NAME_VARIABLE).is_some()
}

/// Starts this program again, as workers. They end with the example.
pub struct Children {
    lines: mpsc::Receiver<(usize, String)>,
    said: mpsc::Sender<(usize, String)>,
}

/// A worker process.
pub struct Child {
    process: tokio::process::Child,
    id: u32,
}

impl Children {
    /// No worker yet.
    pub fn new() -> Self {
        let (said, lines) = mpsc::channel(LINES_MAX);
        Self { lines, said }
    }

    /// Starts worker number `number`, with these flags.
    ///
    /// # Errors
    ///
    /// The process cannot be started.
    pub fn start(&self, place: &Place, number: usize, flags: &[&str]) -> Result<Child> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(flags)
            .env(NAME_VARIABLE, number.to_string())
            .env("HOMING_NAMESPACE", place.namespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a worker")?;
        let id = process.id().context("the worker has ended already")?;
        let stdout = process.stdout.take().context("the worker has no output")?;
        let said = self.said.clone();
        // Ends with the worker, or with the example's runtime.
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if said.send((number, line)).await.is_err() {
                    break;
                }
            }
        });
        Ok(Child { process, id })
    }

    /// The next line that a worker prints, and the worker's number.
    ///
    /// # Errors
    ///
    /// All workers have ended.
    pub async fn line(&mut self) -> Result<(usize, String)> {
        self.lines.recv().await.context("all workers have ended")
    }
}

impl Default for Children {
    fn default() -> Self {
        Self::new()
    }
}

impl Child {
    /// The process's id.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Errors
    ///
    /// It has ended already.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }
}
