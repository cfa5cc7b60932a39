//! Chaos: real processes, faults of every kind, and the oracle after each run.

mod fleet;
mod settle;
mod submission;

pub use fleet::{Fleet, Member, Role, Size, Tally};
pub use settle::settle;
pub use submission::{Submission, Submitter};
