//! Runs both pipelines in turn, and compares them.
//!
//! Every process is a real one and every run has a namespace, a folder and a
//! store of its own, so that no run finds what another left. The two sides take
//! turns, so that a machine that grows busy slows both.

mod child;
mod comparison;
mod guard;
mod lone;
mod machine;
mod memory;
mod pipeline;
mod side;
mod world;

use std::time::Duration;

use serde::Serialize;

pub use comparison::{Comparison, compare};
pub use guard::{Kept, Verdict};
pub use machine::Machine;
pub use memory::{Memory, RSS_GROWTH_MIB_MAX, memory};
pub use side::Side;

/// Between two lone tasks: long enough for the system to be idle again.
pub const LONE_PAUSE: Duration = Duration::from_millis(5);

/// How long anything may go without progress before the run is given up.
const STALL_TIME_MAX: Duration = Duration::from_secs(60);

/// What to measure, and where.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The broker's URL, which may have a password.
    #[serde(skip)]
    pub url: String,
    /// Tasks of a run of the whole pipeline.
    pub tasks: u64,
    /// Tasks of a backlog that is worked off.
    pub backlog: u64,
    /// Tasks of a run of the whole pipeline in which many share a message.
    pub bundled: u64,
    /// Tasks of a run of tasks that wait.
    pub sleep: u64,
    /// Tasks of each run of tasks that keep a core busy.
    pub spin: u64,
    /// Lone tasks of a round, of each kind.
    pub lone: u64,
    /// How often everything is measured.
    pub rounds: u32,
    /// The one side to measure; both if `None`.
    pub only: Option<Side>,
}

/// Says on standard error what is going on.
fn say(text: impl std::fmt::Display) {
    use std::io::Write as _;
    // Nobody reads it: that is no reason to stop.
    let _unread = writeln!(std::io::stderr(), "bench      {text}");
}
