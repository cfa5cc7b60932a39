//! Runs tasks: takes each from its queue, runs its handler, publishes what came
//! of it, and only then takes it off the queue.
//!
//! A [`Worker`] is a set of handlers; [`Worker::run`] runs it until it is told
//! to stop. With feature `cli`, [`worker_main`] is the whole `main` of a worker
//! program, with all its flags.
//!
//! ```no_run
//! use homing_protocol::{AnyError, Task};
//! use homing_worker::{Attempt, AttemptError, Worker};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//!
//! impl Task for Greet {
//!     const KIND: &'static str = "demo.greet";
//!     type Output = String;
//!     type Error = AnyError;
//! }
//!
//! async fn greet(task: Greet, _: Attempt) -> Result<String, AttemptError> {
//!     Ok(format!("hello, {}", task.name))
//! }
//!
//! # #[cfg(feature = "cli")]
//! fn main() -> std::process::ExitCode {
//!     homing_worker::worker_main(async || Ok(Worker::new().handler(greet)))
//! }
//! # #[cfg(not(feature = "cli"))]
//! # fn main() {}
//! ```
//!
//! # Invariants
//!
//! A task is acked only after the broker has confirmed what takes its place: its
//! outcome, its next attempt, or a dead letter. A crash in between leaves two
//! copies, never none: a handler must be safe to run more than once.
//!
//! Deciding is apart from doing: `triage` (what to do with a task before it is
//! run) and `settle` (what becomes of it afterwards) are pure; `engine` carries
//! out what they say.

mod attempt;
mod attempt_error;
#[cfg(feature = "cli")]
mod cli;
mod command;
mod config;
mod engine;
mod error;
#[cfg(test)]
mod eventually;
mod handler;
mod registry;
mod settle;
#[cfg(feature = "testing")]
pub mod testing;
mod triage;
mod turns;
mod worker;

pub use attempt::Attempt;
pub use attempt_error::{AttemptError, BoxError, ResultExt};
#[cfg(feature = "cli")]
pub use cli::{
    BrokerArgs, LogArgs, LogFormat, RunArgs, StartError, WorkerArgs, worker_main, worker_main_with,
};
pub use config::{ConfigError, ConfigProblem, PerKind, WorkerConfig};
pub use error::RunError;
pub use worker::{Stopped, Worker};

/// Tells a process that it is one of several of a worker, and which one.
pub(crate) const PROCESS_VARIABLE: &str = "HOMING_WORKER_PROCESS";
