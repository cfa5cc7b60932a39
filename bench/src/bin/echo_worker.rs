//! The worker that is measured: the smallest there is.

use std::process::ExitCode;

use homing::prelude::*;
use homing_bench::echo::Echo;

async fn echo(task: Echo, _: Attempt) -> Result<Echo, AttemptError> {
    Ok(task)
}

fn main() -> ExitCode {
    homing::worker_main(async || Ok(Worker::new().handler(echo)))
}
