//! Private brokers, for the tests that stop or kill them. They are of the
//! RabbitMQ that the variable `RABBITMQ` names, as all of a test run is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::disk::SmallDisk;
use crate::world::TIME_MAX;

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
        Self::start_with(&[])
    }

    /// The same with these lines in its `rabbitmq.conf`. RabbitMQ 4.3 takes up
    /// some settings only when it starts.
    pub fn start_set(settings: &[&str]) -> Self {
        let flags = settings.iter().flat_map(|setting| ["--set", setting]);
        Self::start_with(&flags.collect::<Vec<_>>())
    }

    /// One that takes back what is held longer than `secs` seconds without an
    /// ack, some seconds after.
    pub fn start_impatient(secs: u64) -> Self {
        let node = Self::start_set(&[&format!("consumer_timeout = {}", secs * 1_000)]);
        // Up to 4.2 each channel looks at the clock this often only, 60 s by
        // default, and rabbitmq.conf has no name for it.
        node.eval("application:set_env(rabbit, channel_tick_interval, 1000).");
        node
    }

    /// The same with RabbitMQ's management API.
    pub fn start_with_management() -> Self {
        Self::start_with(&["--management"])
    }

    /// The same with its data on this disk.
    pub fn start_on(disk: &SmallDisk) -> Self {
        Self::start_in(disk.folder().join("node"), &[])
    }

    fn start_with(flags: &[&str]) -> Self {
        Self::start_in(folder(), flags)
    }

    fn start_in(dir: PathBuf, flags: &[&str]) -> Self {
        let mut node = Self {
            dir,
            url: String::new(),
        };
        node.url = node.start_flagged(flags);
        node
    }

    /// The URL of its management API.
    ///
    /// # Panics
    ///
    /// Panics if its own URL has no port.
    pub fn management_url(&self) -> String {
        let (_, place) = self.url.rsplit_once(':').expect("a port");
        let port = place.split('/').next().and_then(|port| port.parse().ok());
        let port: u16 = port.expect("a port");
        format!("http://127.0.0.1:{}", port + 3)
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

    /// Stops it in its tracks, as a machine that hangs: its connections stay
    /// open, and nobody answers.
    pub fn freeze(&self) {
        self.run("freeze", &[]);
    }

    /// Lets it go on where it was.
    pub fn thaw(&self) {
        self.run("thaw", &[]);
    }

    /// Stops it in an orderly way. Its data stays.
    pub fn stop(&self) {
        self.run("stop", &[]);
    }

    /// Starts it again after a stop or kill, with the same port and data, waits
    /// until it answers, and gives its URL.
    pub fn start_again(&self) -> String {
        self.start_flagged(&[])
    }

    fn start_flagged(&self, flags: &[&str]) -> String {
        let owner = std::process::id().to_string();
        let owned = ["--owner", &owner, path(&self.dir)];
        script(&[&["start"], flags, &owned].concat())
    }

    /// Runs `rabbitmqctl` against it and gives what that prints.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        self.run("ctl", arguments)
    }

    /// Evaluates an Erlang expression, with its full stop, inside it: as
    /// `rabbitmqctl eval` does, in milliseconds.
    pub fn eval(&self, expression: &str) -> String {
        self.run("eval", &[expression])
    }

    /// Has it take no messages, as one that is short of memory.
    pub fn alarm(&self) {
        self.set_memory_limit("{absolute, 1}");
    }

    /// Undoes [`Node::alarm`].
    pub fn calm(&self) {
        self.set_memory_limit("0.4");
    }

    fn set_memory_limit(&self, limit: &str) {
        self.eval(&format!(
            "vm_memory_monitor:set_vm_memory_high_watermark({limit})."
        ));
    }

    /// Adds a user who may configure, write and read what these patterns match.
    pub fn add_user(&self, name: &str, password: &str, [configure, write, read]: [&str; 3]) {
        let [name, password] = [name, password].map(binary);
        let [configure, write, read] = [configure, write, read].map(binary);
        self.eval(&format!(
            "rabbit_auth_backend_internal:add_user({name}, {password}, <<\"test\">>), \
             rabbit_auth_backend_internal:set_permissions({name}, <<\"/\">>, \
             {configure}, {write}, {read}, <<\"test\">>)."
        ));
    }

    /// Purges the queue of this full name.
    pub fn purge(&self, queue: &str) {
        let look = lookup(queue);
        self.eval(&format!(
            "{{ok, Queue}} = {look}, {{ok, _}} = rabbit_amqqueue:purge(Queue)."
        ));
    }

    /// The name that it has in a cluster.
    fn name(&self) -> String {
        let port = self.url.rsplit(':').next();
        let port = port.and_then(|rest| rest.split('/').next());
        format!("homing-{}@localhost", port.expect("a URL with a port"))
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> String {
        script(&[&[verb, path(&self.dir)], arguments].concat())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// Three private brokers as one cluster, in which every queue of ours has a
/// member on each. Removed together when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    dir: PathBuf,
    url: String,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts a fresh one and waits until all its nodes answer.
    ///
    /// # Panics
    ///
    /// Panics if it does not start.
    pub fn start() -> Self {
        let dir = folder();
        let owner = std::process::id().to_string();
        let url = script(&["cluster", "--owner", &owner, path(&dir)]);
        let nodes = (1..=3).map(|number| {
            let dir = dir.join(number.to_string());
            let url = script(&["url", path(&dir)]);
            Node { dir, url }
        });
        let nodes = nodes.collect();
        Self { dir, url, nodes }
    }

    /// A URL that names all its nodes.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Which node leads the queue of this full name.
    ///
    /// # Panics
    ///
    /// Panics if there is no such queue, or nobody leads it.
    pub fn leader(&self, queue: &str) -> usize {
        let look = lookup(queue);
        let said = self.nodes[0].eval(&format!(
            "{{ok, Queue}} = {look}, rabbit_amqqueue:info(Queue, [leader])."
        ));
        let nodes = &mut self.nodes.iter();
        let leader = nodes.position(|node| said.contains(&node.name()));
        leader.unwrap_or_else(|| panic!("nobody leads {queue}: {said}"))
    }

    /// Waits until each queue has all its members, so that any node can go.
    ///
    /// # Panics
    ///
    /// Panics if they do not come.
    pub fn await_members(&self) {
        // One that was cut off starts anew by itself.
        let look = "true =:= (catch rabbit:is_running() \
                    andalso ok =:= rabbit_nodes:await_running_count(3, 1000) \
                    andalso [] =:= [Queue || Queue <- rabbit_amqqueue:list(), \
                    amqqueue:get_type(Queue) =:= rabbit_quorum_queue, \
                    [{online, Online}] <- [rabbit_amqqueue:info(Queue, [online])], \
                    length(Online) < 3]).";
        let until = Instant::now() + TIME_MAX;
        let whole = || self.nodes[0].eval(look).contains("true");
        while !whole() {
            assert!(Instant::now() < until, "a queue lacks members");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Cuts node `number` off from the two others. Clients go on reaching each.
    pub fn cut_off(&self, number: usize) {
        // Nodes that do not know each other by the same cookie do not connect.
        self.meet_others(number, "cut", "erlang:disconnect_node(Node)");
    }

    /// Undoes [`Cluster::cut_off`].
    ///
    /// # Panics
    ///
    /// Panics if the node has no cookie.
    pub fn rejoin(&self, number: usize) {
        let cookie = std::fs::read_to_string(self.nodes[number].dir.join(".erlang.cookie"));
        let cookie = cookie.expect("a node has a cookie");
        self.meet_others(number, cookie.trim(), "net_kernel:connect_node(Node)");
    }

    /// Has node `number` know each other one by `cookie`, and do `then`.
    fn meet_others(&self, number: usize, cookie: &str, then: &str) {
        let others = self
            .others(number)
            .map(|other| format!("'{}'", other.name()));
        let others = others.collect::<Vec<_>>().join(", ");
        let each = format!("begin erlang:set_cookie(Node, '{cookie}'), {then} end");
        let eval = format!("[{each} || Node <- [{others}]].");
        self.nodes[number].eval(&eval);
    }

    fn others(&self, number: usize) -> impl Iterator<Item = &Node> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(move |(index, node)| (index != number).then_some(node))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

/// The Erlang expression that finds the queue of this full name.
fn lookup(queue: &str) -> String {
    let name = binary(queue);
    format!("rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, {name}))")
}

/// A text as an Erlang binary.
fn binary(text: &str) -> String {
    let text = text.replace('\\', r"\\").replace('"', r#"\""#);
    format!("<<\"{text}\">>")
}

/// A folder of the temporary folder that does not exist yet.
fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("homing-node-{}-{count}", std::process::id());
    std::env::temp_dir().join(name)
}

fn remove(dir: &Path) {
    let removed = command(&["remove", path(dir)]).status();
    assert!(
        removed.is_ok_and(|status| status.success()) || std::thread::panicking(),
        "the node in {} cannot be removed",
        dir.display()
    );
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
