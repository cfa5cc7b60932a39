//! The kinds of task that `test_worker` runs.

use std::path::PathBuf;
use std::time::Duration;

use homing_protocol::{AnyError, Policy, Retry, Task, TaskError};
use serde::{Deserialize, Serialize};

const SECOND: Duration = Duration::from_secs(1);

const MINUTE: Duration = Duration::from_mins(1);

/// One retry after a second: the shortest delay there is.
const TWICE: Policy = Policy::DEFAULT.attempts_max(2).backoff(SECOND, SECOND);

/// No retry.
const ONCE: Policy = Policy::DEFAULT.attempts_max(1);

macro_rules! kind {
    ($task:ident, $kind:literal, $output:ty, $error:ty, $policy:expr) => {
        impl Task for $task {
            const KIND: &'static str = $kind;
            type Output = $output;
            type Error = $error;
            const POLICY: Policy = $policy;
        }
    };
}

/// Gives back its number.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Echo {
    /// Its number.
    pub n: u64,
}
kind!(Echo, "test.echo", u64, AnyError, Policy::DEFAULT);

/// Gives back its number, and travels with up to 15 others.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Small {
    /// Its number.
    pub n: u64,
}
kind!(
    Small,
    "test.small",
    u64,
    AnyError,
    Policy::DEFAULT.bundle(16)
);

/// Takes a while, without a thread.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Sleep {
    /// How long.
    pub ms: u64,
}
kind!(Sleep, "test.sleep", (), AnyError, Policy::DEFAULT);

/// Fails on its first attempts.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Flaky {
    /// How many attempts fail.
    pub failures: u32,
}
kind!(
    Flaky,
    "test.flaky",
    u32,
    AnyError,
    Policy::DEFAULT.attempts_max(3).backoff(SECOND, SECOND)
);

/// Fails for good, with an error that travels as a value.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Refuse {
    /// What is too little.
    pub amount: u64,
}
kind!(Refuse, "test.refuse", (), TooLittle, Policy::DEFAULT);

/// Less than it takes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, thiserror::Error)]
#[error("{amount} is too little, it takes {least}")]
pub struct TooLittle {
    /// What there is.
    pub amount: u64,
    /// What it takes.
    pub least: u64,
}

impl TaskError for TooLittle {
    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// How a [`Panic`] is to panic.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub enum PanicWith {
    /// With a text.
    Text,
    /// With a value that is no text.
    Value,
    /// With a value that panics again when it is dropped.
    Bomb,
}

/// Panics.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Panic {
    /// How.
    pub with: PanicWith,
}
kind!(Panic, "test.panic", (), AnyError, ONCE);

/// Ends its process, the first `times` times it is run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Abort {
    /// How often.
    pub times: u32,
}
kind!(Abort, "test.abort", u32, AnyError, Policy::DEFAULT);

/// How a [`Die`] ends its process.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub enum Death {
    /// By `abort`.
    Abort,
    /// By recursion without an end.
    Overflow,
    /// By asking for memory without an end. Meant for a worker with a limit.
    Memory,
    /// By `kill -9` of itself, as the kernel does it when memory is short.
    Kill,
}

/// Ends its process, each time it is run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Die {
    /// How.
    pub by: Death,
}
kind!(Die, "test.die", (), AnyError, Policy::DEFAULT);

/// Waits for a file, without a thread.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Gate {
    /// The file.
    pub file: PathBuf,
}
kind!(Gate, "test.gate", (), AnyError, Policy::DEFAULT);

/// Waits for a file, one at a time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Single {
    /// The file.
    pub file: PathBuf,
}
kind!(
    Single,
    "test.single",
    (),
    AnyError,
    Policy::DEFAULT.concurrency_max(1)
);

/// Waits for a file, and takes a thread for it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Block {
    /// The file.
    pub file: PathBuf,
}
kind!(Block, "test.block", (), AnyError, Policy::DEFAULT);

/// Takes longer than it may, without a thread.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Slow {}
kind!(Slow, "test.slow", (), AnyError, TWICE.timeout(SECOND));

/// Waits for a file, takes a thread for it, and has a second for it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Hang {
    /// The file.
    pub file: PathBuf,
}
kind!(
    Hang,
    "test.hang",
    (),
    AnyError,
    Policy::DEFAULT.timeout(SECOND)
);

/// How a [`Jam`] blocks its thread.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub enum JamBy {
    /// It computes.
    Spin,
    /// It sleeps.
    Sleep,
    /// It waits for a lock that it holds itself.
    Lock,
}

/// Blocks a thread that it shares with others, until the file is there, and at
/// most for as long as it is told. Has a second for it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Jam {
    /// How.
    pub by: JamBy,
    /// How long at most.
    pub ms: u64,
    /// The file.
    pub file: PathBuf,
}
kind!(
    Jam,
    "test.jam",
    (),
    AnyError,
    Policy::DEFAULT.backoff(SECOND, SECOND).timeout(SECOND)
);

/// Gives back a text as long as it is told.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Big {
    /// How long.
    pub bytes: usize,
}
kind!(Big, "test.big", String, AnyError, ONCE);

/// Fails, and asks for another attempt in a minute.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Later {}
kind!(
    Later,
    "test.later",
    (),
    AnyError,
    Policy::DEFAULT.backoff(MINUTE, MINUTE)
);

/// Fails on its first attempts, and asks for others in three seconds: two tiers
/// of the delays, one after the other.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Again {
    /// How many attempts fail.
    pub failures: u32,
}
kind!(Again, "test.again", u32, AnyError, Policy::DEFAULT);

/// Gives back what cannot be encoded.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Odd {}
kind!(Odd, "test.odd", Secret, AnyError, Policy::DEFAULT);

/// What cannot be encoded.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Secret;

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it is a secret"))
    }
}

/// Fails with this text.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Fail {
    /// The text.
    pub text: String,
}
kind!(Fail, "test.fail", (), AnyError, ONCE);

/// A kind that the worker has no handler for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Unknown {
    /// Its number.
    pub n: u64,
}
kind!(Unknown, "test.unknown", u64, AnyError, Policy::DEFAULT);
