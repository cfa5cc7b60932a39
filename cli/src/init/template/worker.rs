//! Runs the tasks of `{{name}}` until it is told to stop. `--help` has its flags.

use homing::prelude::*;
use schemars::schema_for;

use {{crate}}::{Count, count};

fn main() -> std::process::ExitCode {
    homing::worker_main(async || {
        // A handler that blocks its thread, as this one while it reads a file, is a
        // `blocking_handler`; an `async fn` is a `handler`.
        let worker = Worker::new().blocking_handler(count);
        // `homing submit` checks by it what it is given, before it sends any.
        Ok(worker.schema::<Count>(schema_for!(Count)))
    })
}
