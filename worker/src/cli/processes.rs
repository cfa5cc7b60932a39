//! Several processes of one worker: starts them, starts one again that dies,
//! and passes on what it is told.
//!
//! Each child is this program again, with the same flags and a variable that
//! says which one it is. Its stdin is a pipe that only this process holds: when
//! this process ends, even by `kill -9`, the child reads the end of it and
//! stops. Children are in process groups of their own, so that Ctrl-C on a
//! terminal reaches them once, through this process, not twice.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

use super::signals::Signals;
use super::trouble::{INTERNAL, WEDGED};
use crate::PROCESS_VARIABLE;

/// The pause before a child is started again, doubled each time.
const PAUSE_FIRST: Duration = Duration::from_secs(1);

/// The longest pause: one that dies at once costs little by then.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A child that lived this long begins anew with the first pause.
const STEADY: Duration = Duration::from_mins(1);

/// Rust's exit code of a process whose main thread panicked.
const PANICKED: i32 = 101;

/// Runs `processes` children until all have ended; answers the highest of their
/// exit codes.
///
/// # Errors
///
/// A child cannot be started at all.
pub(super) async fn supervise(processes: u16, signals: Signals) -> io::Result<u8> {
    let mut children = JoinSet::new();
    for index in 1..=processes {
        let first = start(index)?;
        children.spawn(keep(index, first, signals.clone()));
    }
    let mut code = 0;
    while let Some(ended) = children.join_next().await {
        code = code.max(ended.unwrap_or(Ok(INTERNAL))?);
    }
    Ok(code)
}

/// A child, and what ends with this process.
struct Process {
    child: Child,
    /// The write end of the child's stdin. Held outside `child`, whose `wait`
    /// would close it, and so tell the child to stop.
    _lifeline: Option<ChildStdin>,
}

fn start(index: u16) -> io::Result<Process> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(PROCESS_VARIABLE, index.to_string())
        .process_group(0)
        .stdin(Stdio::piped())
        .spawn()?;
    let lifeline = child.stdin.take();
    Ok(Process {
        child,
        _lifeline: lifeline,
    })
}

/// Keeps one child alive until it ends in order or is told to stop; answers its
/// exit code.
async fn keep(index: u16, mut process: Process, signals: Signals) -> io::Result<u8> {
    let mut pause = PAUSE_FIRST;
    loop {
        let started = Instant::now();
        let (status, asked) = ended(&mut process.child, &signals).await?;
        if asked || !is_crash(status) {
            return Ok(code(status));
        }
        if started.elapsed() >= STEADY {
            pause = PAUSE_FIRST;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = signals.asked(1) => return Ok(0),
        }
        pause = (pause * 2).min(PAUSE_MAX);
        process = start(index)?;
    }
}

/// Waits until `child` has ended, and passes on each time this process is asked
/// to stop. Answers whether it was.
async fn ended(child: &mut Child, signals: &Signals) -> io::Result<(ExitStatus, bool)> {
    let mut asked = 0;
    loop {
        tokio::select! {
            status = child.wait() => return Ok((status?, asked > 0)),
            () = signals.asked(asked + 1) => {
                asked += 1;
                pass_on(child);
            }
        }
    }
}

fn pass_on(child: &Child) {
    let id = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Some(id) = id {
        // It may have ended just now; then it needs no telling.
        let _ended = kill_process(id, Signal::TERM);
    }
}

/// Whether a child that ended so is to be started again: it died, or a handler
/// of it would not end. What ends in order with an error would end so again.
fn is_crash(status: ExitStatus) -> bool {
    match status.code() {
        None => true,
        Some(code) => [PANICKED, i32::from(INTERNAL), i32::from(WEDGED)].contains(&code),
    }
}

fn code(status: ExitStatus) -> u8 {
    // Ended by a signal after it was told to stop: it was told twice, or its
    // supervisor lost patience. Nothing is lost by it.
    status
        .code()
        .map_or(0, |code| u8::try_from(code).unwrap_or(INTERNAL))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_child_that_died_is_started_again_and_one_that_ended_is_not() {
        let exited = |code| ExitStatus::from_raw(code << 8);
        let crashes = [ExitStatus::from_raw(9), exited(101), exited(70), exited(75)];
        let ends = [exited(0), exited(2), exited(69), exited(77), exited(78)];

        assert!(crashes.into_iter().all(is_crash));
        assert!(!ends.into_iter().any(is_crash));
    }
}
