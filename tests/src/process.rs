//! Processes that run until they are told to stop, or are killed.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tokio::process::Child;

use crate::journal;
use crate::program;
use crate::world::{TIME_MAX, World, eventually, within};

/// How much of what it said is shown if the test fails.
const SHOWN_LINES: usize = 40;

/// What it says: all but a line for each task.
const LOG: &str = "info,homing_worker::attempt=warn";

/// A running program. Killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl World {
    /// Starts `program` with these arguments in this world; `name` is its own
    /// among those of the world.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    pub fn start_program(&self, name: &str, program: &str, arguments: &[&str]) -> Process {
        self.start_program_with(name, program, arguments, &[])
    }

    /// The same, with these variables in its environment too.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be started.
    pub fn start_program_with(
        &self,
        name: &str,
        program: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Process {
        let file = |extension: &str| self.dir.join(format!("{name}.{extension}"));
        let (stdout, stderr) = (file("out"), file("err"));
        let create = |path: &PathBuf| std::fs::File::create(path).expect("a file in the folder");
        let child = program::command(program, self)
            .args(arguments)
            .env("HOMING_LOG", LOG)
            .env(journal::VARIABLE, self.journal().path())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(create(&stdout))
            .stderr(create(&stderr))
            .spawn()
            .expect("a program can be started");
        Process {
            name: name.to_owned(),
            child,
            stdout,
            stderr,
        }
    }

    /// Starts the worker of this package, and waits until it runs tasks.
    pub async fn worker(&self, name: &str, arguments: &[&str]) -> Process {
        let worker = self.start_program(name, program::TEST_WORKER, arguments);
        worker.says(" from tasks").await;
        worker
    }

    /// Starts a collector, and waits until it stores outcomes.
    pub async fn collector(&self, name: &str) -> Process {
        let collector = self.start_program(name, program::HOMING, &["collector"]);
        collector.says("collecting from").await;
        collector
    }
}

impl Process {
    /// Sends SIGTERM.
    pub fn term(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it in its tracks, as a machine that hangs.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("a child can be signalled");
    }

    fn pid(&self) -> Pid {
        let id = self
            .child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()));
        id.unwrap_or_else(|| panic!("{} has ended: {}", self.name, self.stderr()))
    }

    /// Lets it have no more address space than this, as `ulimit -v` does.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be limited.
    pub fn limit_memory(&self, bytes: u64) {
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        let limited = prlimit(Some(self.pid()), Resource::As, limit);
        limited.expect("a child can be limited");
    }

    /// Its id, `None` once it has ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The most memory it had at once until now, in MiB.
    ///
    /// # Panics
    ///
    /// Panics if it has ended.
    pub fn memory_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid().as_raw_nonzero());
        let status = std::fs::read_to_string(path).expect("a running process has a status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        let kib: u64 = kib.and_then(|kib| kib.parse().ok()).expect("a number");
        kib >> 10
    }

    /// Lets it open no more than this many files and connections; may be raised
    /// again.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be limited.
    pub fn limit_files(&self, count: u64) {
        let pid = Some(self.pid());
        // The limit of the limit is this process's own.
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = Some(count);
        let limited = prlimit(pid, Resource::Nofile, Rlimit { current, maximum });
        limited.expect("a child can be limited");
    }

    /// Kills it, as nothing can prevent, and waits until it is gone.
    pub async fn kill(&mut self) {
        let killed = self.child.kill().await;
        killed.expect("a child can be killed");
    }

    /// Waits until it has ended; answers its exit code, -1 after a signal.
    pub async fn ended(&mut self) -> i32 {
        let what = format!("the end of {}", self.name);
        let status = within(TIME_MAX, &what, self.child.wait()).await;
        code(status.expect("a child can be waited for"))
    }

    /// Sends SIGTERM and waits until it has ended; answers its exit code.
    pub async fn stop(mut self) -> i32 {
        self.term();
        self.ended().await
    }

    /// Whether it has ended already, and with which exit code.
    pub fn has_ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().expect("a child can be asked");
        status.map(code)
    }

    /// Waits until it has said `text` on stderr.
    pub async fn says(&self, text: &str) {
        let what = format!("{} says `{text}`", self.name);
        eventually(&what, async || self.stderr().contains(text).then_some(())).await;
    }

    /// The files that what it says goes to.
    pub fn files(&self) -> [PathBuf; 2] {
        [self.stdout.clone(), self.stderr.clone()]
    }

    /// What it said on stdout until now.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    /// What it said on stderr until now.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}

impl Drop for Process {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let said = self.stderr();
        let lines: Vec<_> = said.lines().collect();
        let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        eprintln!("--- {} said last:\n{shown}", self.name);
    }
}
