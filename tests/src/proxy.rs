//! A TCP proxy in front of a broker, for everything that can happen to a link.
//!
//! ```no_run
//! # use homing_tests::{Direction, How, Proxy, World};
//! # async fn example() {
//! let proxy = Proxy::start(&World::broker_url());
//! let world = World::start_at(proxy.url()).await;
//! let worker = world.worker("worker", &[]).await;
//! proxy.swallow(Direction::BOTH);     // half-open: both ends see silence
//! proxy.cut(How::Reset);              // now both see a reset
//! # }
//! ```
//!
//! It runs on a thread of its own, so that a test that blocks does not stop it,
//! and ends with its handle. Every command works at once, also on connections
//! that are open.

mod pump;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::place::Place;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1_024;

/// A way through the proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the client to the broker.
    ToBroker,
    /// From the broker to the client.
    FromBroker,
}

impl Direction {
    /// Both ways.
    pub const BOTH: &[Self] = &[Self::ToBroker, Self::FromBroker];

    const fn index(self) -> usize {
        self as usize
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// By a FIN to both sides.
    Close,
    /// By an RST to both sides: what they have not read yet is lost too.
    Reset,
}

/// A cut to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cut {
    /// The number of the first connection it may be, from 0 in the order they
    /// were accepted; may be one that does not exist yet. It is made in the first
    /// that gets so far.
    pub connection: usize,
    /// Which way's bytes are counted.
    pub direction: Direction,
    /// Bytes that still pass, counted from the connection's beginning.
    pub after: u64,
    /// How.
    pub how: How,
}

/// What passed through one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Passed {
    /// When it was accepted.
    pub accepted: Instant,
    /// Whether it is open.
    pub open: bool,
    /// Bytes from the client to the broker.
    pub to_broker: u64,
    /// Bytes from the broker to the client.
    pub from_broker: u64,
}

/// What is done to one way of all connections.
#[derive(Clone, Copy, Debug, Default)]
struct Rule {
    paused: bool,
    delay: Duration,
    bytes_per_second: Option<u64>,
}

#[derive(Debug)]
struct Connection {
    accepted: Instant,
    passed: [u64; 2],
    open: bool,
    /// What is read here goes nowhere, for good: a stream with a gap is none.
    deaf: [bool; 2],
    cut: Option<How>,
}

#[derive(Debug, Default)]
struct State {
    rules: [Rule; 2],
    connections: Vec<Connection>,
    cuts: Vec<Cut>,
    cuts_made: usize,
    refusing: bool,
    over: bool,
}

/// What the handle and the thread share.
#[derive(Debug)]
struct Shared {
    target: String,
    state: Mutex<State>,
    /// Changes with every command.
    changed: watch::Sender<()>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the state")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_replace(());
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    url: String,
    port: u16,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// Starts one in front of the broker at `url`.
    ///
    /// # Panics
    ///
    /// Panics if this machine has no port or no thread for it.
    pub fn start(url: &str) -> Self {
        let place = Place::of(url);
        let shared = Arc::new(Shared {
            target: format!("{}:{}", place.host, place.port),
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        let (ready, port) = std::sync::mpsc::channel();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_all().build().expect("a runtime");
                runtime.block_on(serve(of_thread, &ready));
            });
        let port = port.recv().expect("the proxy listens");
        Self {
            shared,
            url: place.url_at(port),
            port,
            thread: Some(thread.expect("a thread for the proxy")),
        }
    }

    /// The broker's URL through this proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its port on 127.0.0.1.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How many connections it has accepted.
    pub fn count(&self) -> usize {
        self.shared.state().connections.len()
    }

    /// How many of them are open.
    pub fn open(&self) -> usize {
        let state = self.shared.state();
        state.connections.iter().filter(|c| c.open).count()
    }

    /// What passed through each connection, in the order they were accepted.
    pub fn passed(&self) -> Vec<Passed> {
        let state = self.shared.state();
        let passed = state.connections.iter().map(|connection| Passed {
            accepted: connection.accepted,
            open: connection.open,
            to_broker: connection.passed[0],
            from_broker: connection.passed[1],
        });
        passed.collect()
    }

    /// Cuts all connections that are open.
    pub fn cut(&self, how: How) {
        self.shared.change(|state| {
            for connection in state.connections.iter_mut().filter(|c| c.open) {
                connection.cut = Some(how);
            }
        });
    }

    /// Cuts one connection.
    ///
    /// # Panics
    ///
    /// Panics if it was never accepted.
    pub fn cut_one(&self, connection: usize, how: How) {
        self.shared
            .change(|state| state.connections[connection].cut = Some(how));
    }

    /// Cuts a connection, once, when so many bytes have passed; several cuts may
    /// wait.
    pub fn cut_at(&self, cut: Cut) {
        self.shared.change(|state| state.cuts.push(cut));
    }

    /// How many cuts of [`cut_at`](Self::cut_at) were made.
    pub fn cuts_made(&self) -> usize {
        self.shared.state().cuts_made
    }

    /// Reads and drops what comes these ways over the connections that are open
    /// now, and keeps them open, for good. Later ones are not touched.
    pub fn swallow(&self, directions: &[Direction]) {
        self.shared.change(|state| {
            for connection in state.connections.iter_mut().filter(|c| c.open) {
                for direction in directions {
                    connection.deaf[direction.index()] = true;
                }
            }
        });
    }

    /// Reads nothing more that comes these ways, over connections now and to
    /// come: a peer that is frozen. The senders' buffers fill.
    pub fn pause(&self, directions: &[Direction]) {
        self.rule(directions, |rule| rule.paused = true);
    }

    /// Ends the pauses. Nothing of what waited is lost.
    pub fn resume(&self) {
        self.rule(Direction::BOTH, |rule| rule.paused = false);
    }

    /// Holds up each piece that comes these ways for this long.
    pub fn delay(&self, directions: &[Direction], delay: Duration) {
        self.rule(directions, |rule| rule.delay = delay);
    }

    /// Lets this many bytes a second pass each of these ways in each
    /// connection; `None` for any number.
    pub fn throttle(&self, directions: &[Direction], bytes_per_second: Option<u64>) {
        self.rule(directions, |rule| rule.bytes_per_second = bytes_per_second);
    }

    /// Whether nobody listens at its port: new connections are refused, those
    /// that are open stay.
    pub fn refuse(&self, refuse: bool) {
        self.shared.change(|state| state.refusing = refuse);
    }

    fn rule(&self, directions: &[Direction], set: impl Fn(&mut Rule)) {
        self.shared.change(|state| {
            for direction in directions {
                set(&mut state.rules[direction.index()]);
            }
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| state.over = true);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Accepts until the handle is gone.
async fn serve(shared: Arc<Shared>, ready: &std::sync::mpsc::Sender<u16>) {
    let mut changed = shared.changed.subscribe();
    let mut listener = Some(listen(0));
    let address = listener.as_ref().and_then(|l| l.local_addr().ok());
    let port = address.expect("it listens somewhere").port();
    ready.send(port).expect("somebody starts it");
    loop {
        let (over, refusing) = {
            let state = shared.state();
            (state.over, state.refusing)
        };
        if over {
            return;
        }
        match (refusing, &listener) {
            (true, Some(_)) => listener = None,
            (false, None) => listener = Some(listen(port)),
            _ => {}
        }
        tokio::select! {
            client = accept(listener.as_ref()) => begin(&shared, client),
            _ = changed.changed() => {}
        }
    }
}

fn listen(port: u16) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("an option of a socket");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.bind(address).expect("a port of its own");
    socket.listen(BACKLOG).expect("it listens")
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        if let Ok((client, _)) = listener.accept().await {
            return client;
        }
        // No descriptor, most likely; others may end.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn begin(shared: &Arc<Shared>, client: TcpStream) {
    let number = {
        let mut state = shared.state();
        state.connections.push(Connection {
            accepted: Instant::now(),
            passed: [0; 2],
            open: true,
            deaf: [false; 2],
            cut: None,
        });
        state.connections.len() - 1
    };
    let shared = Arc::clone(shared);
    // Ends with the runtime of the proxy's thread.
    tokio::spawn(async move {
        pump::pump(&shared, number, client).await;
        shared.state().connections[number].open = false;
    });
}
