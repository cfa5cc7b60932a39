//! The worker of `make demo`: one kind of task run by a Rust function, another
//! by a command.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::process::ExitCode;

use homing::prelude::*;
use homing_examples::{Checksum, Words};
use sha2::{Digest as _, Sha256};

/// Bytes read at once: beyond this, a larger part makes it no faster.
const PART_BYTES: usize = 64 << 10;

/// Blocks while it reads, so it runs on a thread of its own.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a handler owns its task and its attempt"
)]
fn checksum(task: Checksum, attempt: Attempt) -> Result<String, AttemptError> {
    let mut file = File::open(&task.path).map_err(|error| no_file(&task, &error))?;
    let mut hasher = Sha256::new();
    let mut part = vec![0; PART_BYTES];
    while !attempt.is_cancelled() {
        let read = file
            .read(&mut part)
            .map_err(|error| no_file(&task, &error))?;
        if read == 0 {
            let digits = hasher
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            return Ok(digits);
        }
        hasher.update(&part[..read]);
    }
    Err("stopped before the end of the file".into())
}

/// A file that is not there, or not ours to read, will be no other next time.
fn no_file(task: &Checksum, error: &std::io::Error) -> AttemptError {
    let text = format!("cannot read `{}`: {error}", task.path.display());
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::IsADirectory => {
            AttemptError::permanent(text)
        }
        _ => AttemptError::retryable(text),
    }
}

fn main() -> ExitCode {
    homing::worker_main(async || {
        let worker = Worker::new().blocking_handler(checksum);
        Ok(worker.command(Words::KIND.parse()?, "examples/words.sh"))
    })
}
