//! A worker of one's own: a task, a handler, and all flags of `homing worker`
//! (`custom_worker --help`). `custom_producer` submits to it, and so does
//! `homing submit example.divide`, which checks what it sends by the schema that is
//! made of the type here.

use homing::prelude::*;
use homing_examples::{Divide, DivideError};
use schemars::schema_for;

async fn divide(task: Divide, _: Attempt) -> Result<u64, AttemptError> {
    let Divide { dividend, divisor } = task;
    let quotient = dividend.checked_div(divisor);
    Ok(quotient.ok_or(DivideError::ByZero { dividend })?)
}

fn main() -> std::process::ExitCode {
    homing::worker_main(async || {
        let worker = Worker::new().handler(divide);
        Ok(worker.schema::<Divide>(schema_for!(Divide)))
    })
}
