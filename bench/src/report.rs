//! What a process says of its stage when it ends: one line of JSON.

use std::io::Write as _;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::clock::secs_between;
use crate::process::Usage;
use crate::sample::Lone;

/// One stage, done by one process.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Report {
    /// What it did: `publish`, `work`, `collect`, …
    pub stage: String,
    /// Tasks it did it to.
    pub tasks: u64,
    /// How long it took: from its first task, or delivery, to its last answer.
    pub secs: f64,
    /// Tasks in a second.
    pub rate: f64,
    /// Seconds of CPU since the process began.
    pub cpu_secs: f64,
    /// The most memory it had, MiB.
    pub rss_peak_mib: f64,
    /// When it began, nanoseconds since 1970.
    pub start_ns: u64,
    /// When it ended, nanoseconds since 1970.
    pub end_ns: u64,
    /// The batch it submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// How long single tasks took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lone: Option<Lone>,
}

impl Report {
    /// Of `tasks` tasks between two times of [`now_ns`](crate::clock::now_ns).
    ///
    /// # Errors
    ///
    /// What this process used cannot be read.
    pub fn new(stage: &str, tasks: u64, start_ns: u64, end_ns: u64) -> anyhow::Result<Self> {
        let Usage {
            cpu_secs,
            rss_peak_mib,
        } = Usage::of_self()?;
        let secs = secs_between(start_ns, end_ns);
        Ok(Self {
            stage: stage.to_owned(),
            tasks,
            secs,
            rate: if secs > 0.0 { tasks as f64 / secs } else { 0.0 },
            cpu_secs,
            rss_peak_mib,
            start_ns,
            end_ns,
            batch: None,
            lone: None,
        })
    }

    /// Writes it to standard output.
    ///
    /// # Errors
    ///
    /// Nobody reads it.
    pub fn print(&self) -> anyhow::Result<()> {
        let line = serde_json::to_string(self)?;
        writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
    }

    /// Reads it from what a process wrote.
    ///
    /// # Errors
    ///
    /// The process wrote something else.
    pub fn parse(stdout: &[u8]) -> anyhow::Result<Self> {
        serde_json::from_slice(stdout).context("its output is no report")
    }
}
