use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};

/// How processes of one kind are started.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    /// Addresses, which may hold a password, and so are in no command line.
    pub(super) variables: Vec<(&'static str, String)>,
    /// What they say is added to it.
    pub(super) log: PathBuf,
}

/// A running process, killed when it is dropped.
pub(super) struct Process {
    child: Child,
    /// The write end of the child's stdin. Held outside `child`, whose `wait`
    /// would close it, and so tell the child to end.
    _lifeline: Option<ChildStdin>,
}

impl Launch {
    pub(super) fn start(&self) -> io::Result<Process> {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.log)?;
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            // Ctrl-C on a terminal is for the parent alone.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let lifeline = child.stdin.take();
        Ok(Process {
            child,
            _lifeline: lifeline,
        })
    }
}

impl Process {
    /// Waits until it has ended. Cancel safe.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    pub(super) fn signal(&self, signal: Signal) {
        let id = self.child.id();
        if let Some(id) = id.and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It may have ended just now; then it needs no telling.
            let _ended = kill_process(id, signal);
        }
    }
}
