//! Private brokers, for the tests that stop or kill them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A RabbitMQ of a test's own, started by `scripts/node`. Removed, with its
/// data, when it is dropped, and also when the test is killed.
#[derive(Debug)]
pub struct Node {
    dir: PathBuf,
    url: String,
}

impl Node {
    /// Starts a fresh one and waits until it answers.
    ///
    /// # Panics
    ///
    /// Panics if it does not start: a missing broker fails a test.
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("homing-node-{}-{count}", std::process::id());
        let mut node = Self {
            dir: std::env::temp_dir().join(name),
            url: String::new(),
        };
        node.url = node.start_again();
        node
    }

    /// Its URL, which stays the same as long as it lives.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it at once, as a power cut would. Its data stays.
    ///
    /// RabbitMQ 3.10 writes down which quorum queues there are only after half
    /// a second without a new one: a queue declared right before this is there
    /// afterwards, but never gets a leader. Declare it a second earlier.
    pub fn kill(&self) {
        self.run("kill", &[]);
    }

    /// Stops it in an orderly way. Its data stays.
    pub fn stop(&self) {
        self.run("stop", &[]);
    }

    /// Starts it again after a stop or kill, with the same port and data, waits
    /// until it answers, and gives its URL.
    pub fn start_again(&self) -> String {
        let owner = std::process::id().to_string();
        script(&["start", "--owner", &owner, path(&self.dir)])
    }

    /// Runs `rabbitmqctl` against it and gives what that prints.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.run("ctl", arguments)
    }

    /// Has it take back what is held longer than `secs` seconds without an ack,
    /// within a second or two after. It holds for connections made after this,
    /// and until it is started again.
    pub fn set_consumer_timeout(&self, secs: u64) {
        let ms = secs * 1_000;
        // Each channel looks at the clock this often only, 60 s by default.
        let set = format!(
            "application:set_env(rabbit, consumer_timeout, {ms}), \
             application:set_env(rabbit, channel_tick_interval, 1000)."
        );
        self.ctl(&["eval", &set]);
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> String {
        script(&[&[verb, path(&self.dir)], arguments].concat())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let removed = command(&["remove", path(&self.dir)]).status();
        assert!(
            removed.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "the node in {} cannot be removed",
            self.dir.display()
        );
    }
}

fn path(dir: &Path) -> &str {
    dir.to_str().expect("a temporary folder with a UTF-8 name")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/node"));
    command.args(arguments);
    command
}

fn script(arguments: &[&str]) -> String {
    let output = command(arguments)
        .output()
        .expect("scripts/node can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "scripts/node {}: {said}",
        arguments.join(" ")
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
