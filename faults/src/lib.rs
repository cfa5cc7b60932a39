//! Faults that tests ask for: places where a process dies, and guarantees that
//! it breaks on purpose.
//!
//! A [`Point`] stands at each step of the pipeline at which it matters what was
//! done before and what was not. [`Sabotage`] shows that the tests would notice:
//! a build that breaks a guarantee must fail them.
//!
//! ```text
//! HOMING_CRASH_AT=worker.outcome-confirmed       dies the first time it is there
//! HOMING_CRASH_AT=worker.outcome-confirmed:7     dies the 7th time
//! HOMING_CRASH_AT=worker.received:9,store.begun  dies at whichever comes first
//! HOMING_SABOTAGE=ack-before-confirm
//! ```
//!
//! # Invariants
//!
//! Without the feature `enabled`, which only the tests' own builds have, nothing
//! of this is compiled in, and no variable is read.

mod point;
mod sabotage;

#[cfg(feature = "enabled")]
mod plan;

pub use point::Point;
pub use sabotage::Sabotage;

/// Names the points to die at.
pub const CRASH_VARIABLE: &str = "HOMING_CRASH_AT";

/// Names the guarantee to break.
pub const SABOTAGE_VARIABLE: &str = "HOMING_SABOTAGE";

/// Whether this build can be made to fail.
pub const fn is_enabled() -> bool {
    cfg!(feature = "enabled")
}

/// Ends the process at once, as `kill -9` would, if it was asked to die here.
#[cfg(feature = "enabled")]
pub fn crash_point(point: Point) {
    plan::crash_point(point);
}

/// Nothing: this is no build for tests.
#[cfg(not(feature = "enabled"))]
#[inline(always)]
pub const fn crash_point(_: Point) {}

/// Whether this guarantee is to be broken.
#[cfg(feature = "enabled")]
pub fn is_broken(guarantee: Sabotage) -> bool {
    plan::is_broken(guarantee)
}

/// Never: this is no build for tests.
#[cfg(not(feature = "enabled"))]
#[inline(always)]
pub const fn is_broken(_: Sabotage) -> bool {
    false
}
