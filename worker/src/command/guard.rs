//! Kills what commands have started when the worker dies, even by `kill -9`.
//!
//! A process that is killed cannot clean up, so another one must: a small shell
//! per worker, started with the first command, in a process group of its own so
//! that what kills the worker's group leaves it alive. It holds the read end of
//! a pipe; the worker writes each process group that begins (`+ 4711`) and ends
//! (`- 4711`). When the worker is gone, however it went, the shell reads the end
//! of the pipe and kills the groups that are left.
//!
//! ```text
//! worker ── + 4711 ──► guard          a command reads a line before it begins;
//!    └───── the line, the payload ──► command       the worker writes that line
//! ```
//!
//! after it has told the guard. So a worker that dies between starting a command
//! and telling the guard leaves a command that reads the end of its input
//! instead of the line, and ends by itself.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

const SCRIPT: &str = r#"trap '' HUP INT QUIT TERM
groups=' '
while read -r change group; do
  case $change in
    +) groups="$groups$group " ;;
    -) groups="${groups%% $group *} ${groups#* $group }" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"#;

/// The worker's end of its guard.
#[derive(Default)]
pub(super) struct Guard {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    shell: Option<Shell>,
    /// The groups that are alive, told again to a guard that had to be replaced.
    groups: BTreeSet<i32>,
}

struct Shell {
    process: Child,
    /// Taken to end it.
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Watches over the process group that `leader` leads.
    pub(super) fn watch(self: &Arc<Self>, leader: Pid) -> io::Result<Group> {
        self.change(
            |groups| groups.insert(leader.as_raw_nonzero().get()),
            '+',
            leader,
        )?;
        Ok(Group {
            leader,
            killed: AtomicBool::new(false),
            guard: Arc::clone(self),
        })
    }

    fn forget(&self, leader: Pid) -> io::Result<()> {
        self.change(
            |groups| groups.remove(&leader.as_raw_nonzero().get()),
            '-',
            leader,
        )
    }

    fn change(
        &self,
        change: impl FnOnce(&mut BTreeSet<i32>) -> bool,
        word: char,
        leader: Pid,
    ) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.groups);
        let line = format!("{word} {}\n", leader.as_raw_nonzero());
        let told = match &mut state.shell {
            Some(shell) => shell.tell(&line),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        if told.is_ok() {
            return Ok(());
        }
        // There is none yet, or somebody killed it.
        let mut shell = Shell::start()?;
        let groups = state.groups.iter();
        shell.tell(
            &groups
                .map(|group| format!("+ {group}\n"))
                .collect::<String>(),
        )?;
        state.shell = Some(shell);
        Ok(())
    }
}

impl Shell {
    fn start() -> io::Result<Self> {
        let mut process = Command::new("sh")
            .args(["-c", SCRIPT, "homing-guard"])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// Writes to the pipe. Lines of a few bytes, which the shell reads at once,
    /// fit its buffer of 64 KiB.
    fn tell(&mut self, lines: &str) -> io::Result<()> {
        let pipe = self.pipe.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        pipe.write_all(lines.as_bytes())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It ends with its input. One that was killed has ended before.
        let _ended = self.process.wait();
    }
}

/// A command's process group. Dropped, it is killed.
pub(super) struct Group {
    leader: Pid,
    killed: AtomicBool,
    guard: Arc<Guard>,
}

impl Group {
    /// Kills what is left of the group, once: later its number may be another's.
    pub(super) fn kill(&self) {
        if self.killed.swap(true, Ordering::Relaxed) {
            return;
        }
        // That there is nobody left is what is wanted.
        let _gone = kill_process_group(self.leader, Signal::KILL);
        if let Err(error) = self.guard.forget(self.leader) {
            tracing::warn!(%error, "no guard watches over the commands of this worker");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
