//! Every way to write a handler registers: these are checks by the compiler.

use std::sync::Arc;

use homing_protocol::{AnyError, Policy, Retry, Task, TaskError};
use homing_worker::{Attempt, AttemptError, ResultExt, Worker};
use serde::{Deserialize, Serialize};

macro_rules! task {
    ($name:ident, $kind:literal, $error:ty) => {
        #[derive(Serialize, Deserialize)]
        struct $name {
            n: u64,
        }

        impl Task for $name {
            const KIND: &'static str = $kind;
            type Output = u64;
            type Error = $error;
        }
    };
}

task!(A, "form.a", AnyError);
task!(B, "form.b", AnyError);
task!(C, "form.c", AnyError);
task!(D, "form.d", AnyError);
task!(E, "form.e", AnyError);
task!(F, "form.f", OwnError);

#[derive(Debug, Serialize, Deserialize)]
struct OwnError;

impl std::fmt::Display for OwnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("its own")
    }
}

impl std::error::Error for OwnError {}

impl TaskError for OwnError {
    fn retry(&self) -> Retry {
        Retry::Never
    }
}

struct App {
    factor: u64,
}

trait Factor {
    fn factor(&self) -> u64;
}

impl Factor for App {
    fn factor(&self) -> u64 {
        self.factor
    }
}

struct Adder(u64);

impl Adder {
    async fn add(&self, task: &E, _: Attempt<App>) -> Result<u64, AttemptError> {
        Ok(self.0 + task.n)
    }
}

async fn with_state(task: A, attempt: Attempt<App>) -> Result<u64, AttemptError> {
    Ok(task.n * attempt.state().factor)
}

async fn of_any_worker<S>(task: B, attempt: Attempt<S>) -> Result<u64, AttemptError> {
    Ok(task.n + u64::from(attempt.number().get()))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a blocking handler owns its task and its attempt"
)]
fn blocking(task: C, attempt: Attempt<App>) -> Result<u64, AttemptError> {
    if attempt.is_cancelled() {
        return Err("told to stop".into());
    }
    Ok(task.n)
}

async fn with_part_of_the_state<S: Factor>(
    task: D,
    attempt: Attempt<S>,
) -> Result<u64, AttemptError> {
    Ok(task.n * attempt.state().factor())
}

async fn with_every_error(task: F, _: Attempt<App>) -> Result<u64, AttemptError> {
    let port: u16 = "80".parse().permanent()?;
    let first = "x".chars().next().ok_or("the page is empty")?;
    if task.n == 0 {
        return Err(OwnError.into());
    }
    if task.n == 1 {
        return Err(AttemptError::permanent(format!("{first} at {port}")));
    }
    std::fs::read("/nonexistent").retry_after(std::time::Duration::from_secs(5))?;
    Err(OwnError)?
}

#[test]
fn every_form_of_a_handler_registers() {
    let adder = Arc::new(Adder(7));

    let worker = Worker::with_state(App { factor: 2 })
        .handler(with_state)
        .handler(of_any_worker)
        .blocking_handler(blocking)
        .handler(with_part_of_the_state)
        .handler(with_every_error)
        .handler(move |task: E, attempt| {
            let adder = Arc::clone(&adder);
            async move { adder.add(&task, attempt).await }
        })
        .command("form.wc".parse().unwrap(), "wc -w")
        .policy::<A>(Policy::DEFAULT.attempts_max(1).concurrency_max(4));

    assert_eq!(format!("{worker:?}"), "Worker { .. }");
}

#[test]
fn a_closure_needs_only_the_type_of_its_task() {
    let worker = Worker::with_state(App { factor: 2 }).handler(async |task: A, attempt| {
        let text = std::fs::read_to_string("x")?;
        Ok(task.n + text.len() as u64 + attempt.state().factor)
    });

    assert_eq!(format!("{worker:?}"), "Worker { .. }");
}
