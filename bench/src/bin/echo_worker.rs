//! The worker that is measured: the smallest there is.

use std::process::ExitCode;

use homing::prelude::*;
use homing_bench::echo::{Bundled, Echo, Sleep, Spin};

async fn echo(task: Echo, _: Attempt) -> Result<Echo, AttemptError> {
    Ok(task)
}

async fn bundled(task: Bundled, _: Attempt) -> Result<Bundled, AttemptError> {
    Ok(task)
}

async fn sleep(task: Sleep, _: Attempt) -> Result<Sleep, AttemptError> {
    tokio::time::sleep(Sleep::TIME).await;
    Ok(task)
}

fn spin(task: Spin, _: Attempt) -> Result<Spin, AttemptError> {
    task.work();
    Ok(task)
}

fn main() -> ExitCode {
    homing::worker_main(async || {
        Ok(Worker::new()
            .handler(echo)
            .handler(bundled)
            .handler(sleep)
            .blocking_handler(spin))
    })
}
