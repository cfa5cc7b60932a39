//! Runs the tasks of `{{name}}` until it is told to stop. `--help` has its flags.

use homing::prelude::*;

use {{crate}}::count;

fn main() -> std::process::ExitCode {
    // A handler that blocks its thread, as this one while it reads a file, is a
    // `blocking_handler`; an `async fn` is a `handler`.
    homing::worker_main(async || Ok(Worker::new().blocking_handler(count)))
}
