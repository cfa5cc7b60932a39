//! Measures Homing beside the least program that does the same.
//!
//! Absolute figures do not travel between machines; ratios do. So every figure
//! of Homing has one of the *bare* program beside it, taken in the same run: the
//! least amqprs code that publishes, works and collects with the same
//! durability, without retries and without bookkeeping.
//!
//! | program | does |
//! |---|---|
//! | `bare` | the bare program, one stage a process |
//! | `submit` | Homing's producer |
//! | `echo_worker` | Homing's worker |
//! | `bench` | runs them beside the stock collector, and compares |
//!
//! Not part of Homing: nothing depends on it.

pub mod bare;
pub mod clock;
pub mod driver;
pub mod echo;
pub mod process;
pub mod report;
pub mod sample;
pub mod watch;

use std::io::Write as _;
use std::process::ExitCode;

/// The end of a program: its exit code, or 1 and one line that says why.
pub fn exit(ended: anyhow::Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|error| {
        // Nobody reads it: the exit code still says that it failed.
        let _unread = writeln!(std::io::stderr(), "error      {error:#}");
        ExitCode::FAILURE
    })
}
