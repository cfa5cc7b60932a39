use homing::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Divides one number by another: the task of `custom_worker`.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
pub struct Divide {
    /// What is divided.
    pub dividend: u64,
    /// What it is divided by.
    pub divisor: u64,
}

/// Why a number cannot be divided. Travels to the producer as a value.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize, thiserror::Error)]
pub enum DivideError {
    /// The divisor is 0.
    #[error("{dividend} cannot be divided by 0")]
    ByZero {
        /// What was to be divided.
        dividend: u64,
    },
}

impl TaskError for DivideError {
    /// It will not be another number the next time.
    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl Task for Divide {
    const KIND: &'static str = "example.divide";
    type Output = u64;
    type Error = DivideError;
}
