//! The programs that tests start, and what they say.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::world::{World, within};

/// The stock program.
pub const HOMING: &str = "homing";

/// The worker of this package.
pub const TEST_WORKER: &str = "test_worker";

/// The producer of this package.
pub const TEST_PRODUCER: &str = "test_producer";

/// How long a program that is to end may take. Longer than it waits for a
/// broker.
const RUN_TIME_MAX: Duration = Duration::from_secs(60);

/// The folder that the workspace's programs are built into.
///
/// # Panics
///
/// Panics if this program is not where cargo builds tests.
pub fn folder() -> PathBuf {
    let this = std::env::current_exe().expect("a program knows where it is");
    let folder = this.parent().expect("a program is in a folder");
    // Tests are built one folder further down.
    let above = folder.parent().filter(|_| folder.ends_with("deps"));
    above.unwrap_or(folder).to_owned()
}

/// Where the program of this name is.
///
/// # Panics
///
/// Panics if it is not built: cargo does not build the programs of another
/// package for a test.
pub fn path(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(
        path.exists(),
        "{} is not built; run the tests by `make test`",
        path.display()
    );
    path
}

/// A program that will know of this world and of nothing else.
pub(crate) fn command(name: &str, world: &World) -> Command {
    let mut command = Command::new(path(name));
    for (variable, _) in std::env::vars_os() {
        let variable = variable.to_string_lossy().into_owned();
        if variable.starts_with("HOMING_") || variable == "AMQP_URL" {
            command.env_remove(variable);
        }
    }
    command
        .env("AMQP_URL", &world.url)
        .env("HOMING_NAMESPACE", &world.namespace)
        .env("HOMING_STORE", world.store_url().to_string())
        .env("TZ", "UTC")
        // Nor of contexts of whoever runs the tests.
        .env("XDG_CONFIG_HOME", world.dir.join("config"))
        // A task that nobody knows is not waited for, except where that is what
        // is tested.
        .env("HOMING_UNKNOWN_GRACE", "0s")
        .current_dir(&world.dir)
        .kill_on_drop(true);
    command
}

/// What a program that has ended said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its answer.
    pub stdout: String,
    /// Its talk.
    pub stderr: String,
}

impl Said {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Its answer, each line read as JSON.
    ///
    /// # Panics
    ///
    /// Panics if a line is none.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {self:?}")))
            .collect()
    }
}

impl World {
    /// Runs `homing` with these arguments in this world to its end.
    pub async fn homing(&self, arguments: &[&str]) -> Said {
        self.homing_with(arguments, "").await
    }

    /// The same, with `stdin` as its standard input.
    pub async fn homing_with(&self, arguments: &[&str], stdin: &str) -> Said {
        self.run_program(HOMING, arguments, stdin).await
    }

    /// Runs `program`, one of ours or a path, in this world to its end.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be run.
    pub async fn run_program(&self, program: &str, arguments: &[&str], stdin: &str) -> Said {
        let mut child = command(program, self)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a program can be started");
        let mut pipe = child.stdin.take().expect("it was asked for");
        // It may end without reading it all.
        let _unread = pipe.write_all(stdin.as_bytes()).await;
        drop(pipe);
        let what = format!("the end of {program} {}", arguments.join(" "));
        let output = within(RUN_TIME_MAX, &what, child.wait_with_output()).await;
        Said::new(&output.expect("its output can be read"))
    }
}
