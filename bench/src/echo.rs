//! The tasks that are measured: their output is their payload.

use std::hint::black_box;
use std::time::Duration;

use homing::prelude::*;
use serde::{Deserialize, Serialize};

/// Bytes of a payload, and of an output.
pub const BYTES: usize = 100;

/// Tasks in a message, of those that share one.
pub const BUNDLE: u16 = 128;

/// Bytes that MessagePack spends on a text of up to 255 bytes, besides it.
const TEXT_HEAD_BYTES: usize = 2;

/// A task of [`BYTES`] bytes whose output is itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Echo(String);

impl Echo {
    /// The task with this number.
    pub fn new(number: u64) -> Self {
        Self(format!("{number:0width$}", width = BYTES - TEXT_HEAD_BYTES))
    }
}

impl Task for Echo {
    const KIND: &'static str = "bench.echo";
    type Output = Self;
    type Error = AnyError;
}

/// The same, of which many share a message.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Bundled(Echo);

impl Bundled {
    /// The task with this number.
    pub fn new(number: u64) -> Self {
        Self(Echo::new(number))
    }
}

impl Task for Bundled {
    const KIND: &'static str = "bench.bundled";
    const POLICY: Policy = Policy::DEFAULT.bundle(BUNDLE);
    type Output = Self;
    type Error = AnyError;
}

/// The same, after a wait without a thread.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Sleep(Echo);

impl Sleep {
    /// How long it waits.
    pub const TIME: Duration = Duration::from_millis(10);

    /// The task with this number.
    pub fn new(number: u64) -> Self {
        Self(Echo::new(number))
    }
}

impl Task for Sleep {
    const KIND: &'static str = "bench.sleep";
    type Output = Self;
    type Error = AnyError;
}

/// The same, after some tens of milliseconds of work for one core.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Spin(Echo);

impl Spin {
    /// Steps of the work, each of which needs the one before.
    const STEPS: u64 = 25_000_000;

    /// The task with this number.
    pub fn new(number: u64) -> Self {
        Self(Echo::new(number))
    }

    /// Does the work.
    pub fn work(&self) -> u64 {
        let step = |sum: u64, step: u64| {
            (sum ^ step)
                .rotate_left(7)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        black_box((0..black_box(Self::STEPS)).fold(self.0.0.len() as u64, step))
    }
}

impl Task for Spin {
    const KIND: &'static str = "bench.spin";
    type Output = Self;
    type Error = AnyError;
}

#[cfg(test)]
mod tests {
    use homing::protocol::{ContentType, Payload};

    use super::*;

    #[test]
    fn a_payload_has_the_bytes_it_is_measured_with() {
        let payload = Payload::encode("a payload", &Echo::new(7), ContentType::default(), 1_000);

        assert_eq!(payload.unwrap().bytes.len(), BYTES);
    }
}
