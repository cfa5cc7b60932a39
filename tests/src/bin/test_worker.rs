//! A worker whose handlers do what tests need, well and badly.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use homing_tests::kind::{
    Abort, Again, Big, Block, Death, Die, Echo, Fail, Flaky, Gate, Hang, Jam, JamBy, Later, Odd,
    Panic, PanicWith, Refuse, Secret, Single, Sleep, Slow, Small, TooLittle,
};
use homing_tests::{Journal, JournalWriter};
use homing_worker::{Attempt, AttemptError, Worker, worker_main};

/// How often a handler that waits for a file looks for it.
const LOOK: Duration = Duration::from_millis(5);

/// What a handler that takes all memory asks for at once: 64 MiB.
const MEMORY_STEP: usize = 64 << 20;

type Runs = Attempt<JournalWriter>;

fn main() -> ExitCode {
    worker_main(async || {
        Ok(Worker::with_state(Journal::named()?.writer()?)
            .handler(echo)
            .handler(small)
            .handler(sleep)
            .handler(flaky)
            .handler(refuse)
            .handler(panic)
            .handler(abort)
            .blocking_handler(die)
            .handler(gate)
            .handler(single)
            .blocking_handler(block)
            .handler(slow)
            .blocking_handler(hang)
            .handler(jam)
            .handler(big)
            .handler(odd)
            .handler(later)
            .handler(again)
            .handler(fail))
    })
}

async fn echo(task: Echo, attempt: Runs) -> Result<u64, AttemptError> {
    attempt.state().began(attempt.task_id())?;
    Ok(task.n)
}

async fn small(task: Small, attempt: Runs) -> Result<u64, AttemptError> {
    attempt.state().began(attempt.task_id())?;
    Ok(task.n)
}

async fn sleep(task: Sleep, attempt: Runs) -> Result<(), AttemptError> {
    attempt.state().began(attempt.task_id())?;
    tokio::time::sleep(Duration::from_millis(task.ms)).await;
    Ok(attempt.state().ended(attempt.task_id())?)
}

async fn flaky(task: Flaky, attempt: Runs) -> Result<u32, AttemptError> {
    attempt.state().began(attempt.task_id())?;
    let number = attempt.number().get();
    if number <= task.failures {
        return Err(format!("attempt {number} fails").into());
    }
    Ok(number)
}

async fn refuse(task: Refuse, attempt: Runs) -> Result<(), AttemptError> {
    attempt.state().began(attempt.task_id())?;
    let (amount, least) = (task.amount, 100);
    Err(TooLittle { amount, least }.into())
}

async fn panic(task: Panic, _: Runs) -> Result<(), AttemptError> {
    match task.with {
        PanicWith::Text => panic!("out of cheese"),
        PanicWith::Value => std::panic::panic_any(17),
        PanicWith::Bomb => std::panic::panic_any(Bomb),
    }
}

/// Goes off when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("the payload of a panic panics");
        }
    }
}

async fn abort(task: Abort, attempt: Runs) -> Result<u32, AttemptError> {
    attempt.state().began(attempt.task_id())?;
    let runs = Journal::named()?.began(attempt.task_id());
    if runs <= task.times as usize {
        std::process::abort();
    }
    Ok(task.times)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a handler is given its task and attempt"
)]
fn die(task: Die, attempt: Runs) -> Result<(), AttemptError> {
    attempt.state().began(attempt.task_id())?;
    match task.by {
        Death::Abort => std::process::abort(),
        Death::Overflow => {
            std::hint::black_box(overflow(0));
        }
        Death::Memory => {
            let mut taken = Vec::new();
            loop {
                // Never written to, so that it costs address space alone.
                taken.push(std::hint::black_box(vec![0_u8; MEMORY_STEP]));
            }
        }
        Death::Kill => {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL)?;
        }
    }
    Ok(())
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    overflow(depth + 1) + std::hint::black_box(frame[0])
}

async fn gate(task: Gate, attempt: Runs) -> Result<(), AttemptError> {
    opened(&task.file, &attempt).await
}

async fn single(task: Single, attempt: Runs) -> Result<(), AttemptError> {
    opened(&task.file, &attempt).await
}

async fn opened(file: &Path, attempt: &Runs) -> Result<(), AttemptError> {
    attempt.state().began(attempt.task_id())?;
    while !file.exists() {
        tokio::time::sleep(LOOK).await;
    }
    Ok(attempt.state().ended(attempt.task_id())?)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a handler is given its task and attempt"
)]
fn block(task: Block, attempt: Runs) -> Result<(), AttemptError> {
    wait_for(&task.file, &attempt)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a handler is given its task and attempt"
)]
fn hang(task: Hang, attempt: Runs) -> Result<(), AttemptError> {
    wait_for(&task.file, &attempt)
}

fn wait_for(file: &Path, attempt: &Runs) -> Result<(), AttemptError> {
    attempt.state().began(attempt.task_id())?;
    while !file.exists() {
        thread::sleep(LOOK);
    }
    Ok(attempt.state().ended(attempt.task_id())?)
}

async fn jam(task: Jam, attempt: Runs) -> Result<(), AttemptError> {
    attempt.state().began(attempt.task_id())?;
    let since = Instant::now();
    let lock = Mutex::new(());
    let _held = lock.lock();
    while !task.file.exists() && since.elapsed() < Duration::from_millis(task.ms) {
        match task.by {
            JamBy::Spin => std::hint::spin_loop(),
            JamBy::Sleep => thread::sleep(LOOK),
            // For ever: nobody else has it to give back.
            JamBy::Lock => drop(lock.lock()),
        }
    }
    Ok(attempt.state().ended(attempt.task_id())?)
}

async fn slow(_: Slow, attempt: Runs) -> Result<(), AttemptError> {
    attempt.state().began(attempt.task_id())?;
    std::future::pending().await
}

async fn big(task: Big, _: Runs) -> Result<String, AttemptError> {
    Ok("x".repeat(task.bytes))
}

async fn later(_: Later, _: Runs) -> Result<(), AttemptError> {
    Err("not now".into())
}

async fn again(task: Again, attempt: Runs) -> Result<u32, AttemptError> {
    attempt.state().began(attempt.task_id())?;
    let number = attempt.number().get();
    if number <= task.failures {
        let delay = Duration::from_secs(3);
        return Err(AttemptError::retry_after("not yet", delay));
    }
    Ok(number)
}

async fn odd(_: Odd, _: Runs) -> Result<Secret, AttemptError> {
    Ok(Secret)
}

async fn fail(task: Fail, attempt: Runs) -> Result<(), AttemptError> {
    attempt.state().began(attempt.task_id())?;
    Err(task.text.into())
}
