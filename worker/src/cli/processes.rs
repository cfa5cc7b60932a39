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
        tracing::warn!(
            process = index,
            "process {index} of this worker died ({status}); another is started in {} s",
            pause.as_secs(),
        );
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
    use std::fs;
    use std::future::Future;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitCode;

    use clap::Parser;

    use super::*;
    use crate::Worker;
    use crate::cli::start::{Program, worker_main_with};
    use crate::eventually::eventually;

    const ROLE: &str = "HOMING_TEST_WORKER";

    #[test]
    fn a_child_that_died_is_started_again_and_one_that_ended_is_not() {
        let exited = |code| ExitStatus::from_raw(code << 8);
        let crashes = [ExitStatus::from_raw(9), exited(101), exited(70), exited(75)];
        let ends = [exited(0), exited(2), exited(69), exited(77), exited(78)];

        assert!(crashes.into_iter().all(is_crash));
        assert!(!ends.into_iter().any(is_crash));
    }

    /// A worker of two processes, which wait for a broker that is not there:
    /// `test` again, as a program of its own.
    fn worker_of_two(test: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(ROLE, "1")
            .env("RUST_TEST_THREADS", "1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Runs that worker, in its own process or in one of its children.
    fn be_the_worker() -> bool {
        if std::env::var_os(ROLE).is_none() {
            return false;
        }
        let flags = [
            "worker",
            "--processes",
            "2",
            "--broker",
            "amqp://127.0.0.1:1",
        ];
        let args = Program::parse_from(flags).args;
        let kind = "a".parse().unwrap();
        let code = worker_main_with(args, async || Ok(Worker::new().command(kind, "true")));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        true
    }

    fn block_on(test: impl Future<Output = ()>) {
        // Not around a worker, which has a runtime of its own.
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(test);
    }

    fn pid(child: &Child) -> Pid {
        Pid::from_raw(child.id().unwrap().cast_signed()).unwrap()
    }

    /// The living processes that `parent` started.
    fn children(parent: Pid) -> Vec<Pid> {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let stats = processes.filter_map(|process| {
            let id = process.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(process.path().join("stat")).ok()?;
            let mut fields = stat.rsplit(')').next()?.split_whitespace();
            let (state, of) = (fields.next()?, fields.next()?.parse::<i32>().ok()?);
            let alive = state != "Z" && of == parent.as_raw_nonzero().get();
            alive.then(|| Pid::from_raw(id)).flatten()
        });
        stats.collect()
    }

    fn is_alive(id: Pid) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero()));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn a_killed_child_is_replaced_and_all_end_when_told_to() {
        if !be_the_worker() {
            let name = "cli::processes::tests::a_killed_child_is_replaced_and_all_end_when_told_to";
            block_on(kill_a_child_then_stop(name));
        }
    }

    async fn kill_a_child_then_stop(name: &str) {
        let mut worker = worker_of_two(name);
        let parent = pid(&worker);
        eventually("two children", || children(parent).len() == 2).await;
        let victim = children(parent)[0];

        kill_process(victim, Signal::KILL).unwrap();

        let replaced = || children(parent).len() == 2 && !children(parent).contains(&victim);
        eventually("another child", replaced).await;
        let last = children(parent);
        kill_process(parent, Signal::TERM).unwrap();
        assert!(worker.wait().await.unwrap().success());
        assert!(!last.into_iter().any(is_alive));
    }

    #[test]
    fn children_end_when_their_parent_is_killed() {
        if !be_the_worker() {
            let name = "cli::processes::tests::children_end_when_their_parent_is_killed";
            block_on(kill_the_parent(name));
        }
    }

    async fn kill_the_parent(name: &str) {
        let mut worker = worker_of_two(name);
        let parent = pid(&worker);
        eventually("two children", || children(parent).len() == 2).await;
        let orphans = children(parent);

        worker.kill().await.unwrap();

        eventually("no orphans", || !orphans.iter().copied().any(is_alive)).await;
    }
}
