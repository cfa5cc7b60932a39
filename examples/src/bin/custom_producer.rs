//! Submits two tasks to `custom_worker`; awaits a typed output and a typed
//! error.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use anyhow::{Result, ensure};
use homing::prelude::*;
use homing_examples::{Divide, DivideError};

#[tokio::main]
async fn main() -> Result<()> {
    let producer = Producer::from_env().await?;

    let task = Divide {
        dividend: 42,
        divisor: 6,
    };
    let quotient: u64 = producer.submit(task).await?.output().await?;
    println!("42 / 6 = {quotient}");
    ensure!(quotient == 7, "the output is wrong");

    let task = Divide {
        dividend: 42,
        divisor: 0,
    };
    let outcome = producer.submit(task).await?.outcome().await?;
    let Err(failure) = outcome.result else {
        anyhow::bail!("42 / 0 has no quotient");
    };
    println!("42 / 0 {}: {failure}", failure.status);
    ensure!(
        failure.error == Some(DivideError::ByZero { dividend: 42 }),
        "the error is wrong"
    );
    ensure!(outcome.attempts == 1, "an error that stays was tried again");
    Ok(())
}
