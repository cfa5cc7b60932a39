//! The whole `main` of a worker program: flags, log, processes, signals, exit
//! codes.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | told to stop, and stopped |
//! | 2 | used in a way that has no meaning, or without any handler |
//! | 69 | the broker cannot be reached any more |
//! | 70 | a bug in Homing |
//! | 75 | a handler would not end; start the worker again |
//! | 77 | the broker refuses this user |
//! | 78 | a setting that cannot be |
//! | 130 | told twice to stop, and stopped at once |

mod args;
mod log;
mod processes;
mod signals;
mod start;
mod trouble;

pub use args::{BrokerArgs, LogArgs, LogFormat, RunArgs, WorkerArgs};
pub use start::{StartError, worker_main, worker_main_with};
