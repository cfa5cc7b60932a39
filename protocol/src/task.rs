use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::policy::{Policy, Retry};

/// A unit of work: what a producer submits and a worker's handler receives.
///
/// The type is the payload. It owns its data, since it outlives the message it
/// came in.
///
/// ```
/// use homing_protocol::{AnyError, Policy, Task};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Resize {
///     source: String,
///     width: u32,
/// }
///
/// impl Task for Resize {
///     const KIND: &'static str = "image.resize";
///     type Output = String;
///     type Error = AnyError;
///     const POLICY: Policy = Policy::DEFAULT.attempts_max(3);
/// }
/// ```
pub trait Task: Serialize + DeserializeOwned + Send + 'static {
    /// Names this kind of task on the wire, such as `image.resize`: 1 to 255
    /// bytes of `a-z`, `0-9`, `.`, `_` and `-`; anything else does not build.
    ///
    /// Queued tasks keep the kind they were published with, so a kind is never
    /// changed: a new meaning is a new kind.
    const KIND: &'static str;

    /// What a successful attempt returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The error a handler may return as a value that reaches the producer;
    /// [`AnyError`](crate::AnyError) if its text is enough.
    type Error: TaskError;

    /// How often, how long and how patiently it is tried.
    const POLICY: Policy = Policy::DEFAULT;
}

/// An error that travels back to the producer as a value.
pub trait TaskError: Error + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What this error asks for. Another attempt, unless it says otherwise.
    fn retry(&self) -> Retry {
        Retry::Backoff
    }
}
