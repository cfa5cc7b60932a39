//! Chaos: real processes, faults of every kind, and the oracle after each run.

mod arena;
mod fleet;
mod inject;
mod kind;
mod sample;
mod session;
mod settle;
mod submission;
mod summary;

pub use arena::{Arena, Ran};
pub use fleet::{Fleet, Member, Role, Size, Tally};
pub use kind::Kind;
pub use sample::Samples;
pub use session::{Failure, Plan, sabotage};
pub use settle::settle;
pub use submission::{Submission, Submitter};
pub use summary::{Summary, Sums};
