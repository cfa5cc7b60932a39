//! Runs tasks with any command: JSON in on stdin, JSON out on stdout.
//!
//! The command runs in a process group of its own, which is killed when the
//! attempt is to end, when the command has ended but left something behind, and
//! when the worker dies, however it dies (see [`guard`]).

mod ended;
mod guard;
mod process;

use std::sync::Arc;

use futures::FutureExt;
use homing_protocol::{Retry, to_json};

use crate::handler::{AttemptFailure, Brief, Ended, Handler, Launch};
use guard::Guard;

/// Makes handlers of commands. They share the guard of this worker.
#[derive(Default)]
pub(crate) struct Commands {
    guard: Arc<Guard>,
}

impl Commands {
    /// The handler that runs `command` with `sh -c`.
    pub(crate) fn handler(&self, command: &str) -> Handler {
        let guard = Arc::clone(&self.guard);
        let script: Arc<str> = process::script(command).into();
        Arc::new(move |brief| {
            let (guard, script) = (Arc::clone(&guard), Arc::clone(&script));
            Launch::Async(run(guard, script, brief).boxed())
        })
    }
}

async fn run(guard: Arc<Guard>, script: Arc<str>, brief: Brief) -> Ended {
    let content_type = brief.payload.content_type;
    let Some(json) = to_json(&brief.payload.bytes, content_type) else {
        let problem = format!("the payload is not valid {}", content_type.as_str());
        return Ended::Misfit(problem);
    };
    match process::run(&guard, &script, json, &brief).await {
        Ok(exit) => ended::ended(exit, content_type),
        Err(error) => {
            let text = format!("cannot run the command: {error}");
            Ended::Failure(AttemptFailure::new(&text, Retry::Backoff))
        }
    }
}

#[cfg(test)]
mod tests;
