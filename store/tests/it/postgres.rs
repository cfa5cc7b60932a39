//! A database of a test's own, on the server that the variable names, and what
//! may happen to it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use homing_store::StoreUrl;
use tokio_postgres::{NoTls, SimpleQueryMessage};
use uuid::Uuid;

const VARIABLE: &str = "HOMING_TEST_POSTGRES";

/// Where the server is, as its superuser.
pub(crate) fn server() -> String {
    std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{VARIABLE} names no PostgreSQL: run the tests by `scripts/postgres run DIR COMMAND`"
        )
    })
}

/// A fresh database, dropped with its handle.
pub(crate) struct Database {
    name: String,
}

impl Database {
    pub(crate) fn create() -> Self {
        Self::create_with("")
    }

    pub(crate) fn create_with(options: &str) -> Self {
        let name = format!("t{}", Uuid::new_v4().simple());
        sql(&server(), &format!("CREATE DATABASE {name} {options}"));
        Self { name }
    }

    /// Its URL as text, with the password.
    pub(crate) fn text(&self) -> String {
        let server = server();
        let (place, _) = server.rsplit_once('/').unwrap();
        format!("{place}/{}", self.name)
    }

    pub(crate) fn url(&self) -> StoreUrl {
        self.text().parse().unwrap()
    }

    pub(crate) fn sql(&self, statements: &str) -> Vec<Vec<Option<String>>> {
        let path = format!("SET search_path = homing, public; {statements}");
        sql(&self.text(), &path)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        sql(&server(), &drop);
    }
}

/// Runs statements as a person's shell would, and gives all rows, whatever
/// runtime the test is in.
pub(crate) fn sql(url: &str, statements: &str) -> Vec<Vec<Option<String>>> {
    let (url, statements) = (url.to_owned(), statements.to_owned());
    let ran = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            let driven = tokio::spawn(connection);
            let messages = client.simple_query(&statements);
            let messages = tokio::time::timeout(Duration::from_secs(60), messages);
            let rows = messages.await.unwrap().unwrap().into_iter();
            let rows = rows.filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => {
                    let columns = (0..row.len()).map(|column| row.get(column).map(str::to_owned));
                    Some(columns.collect())
                }
                _ => None,
            });
            let rows = rows.collect();
            drop(client);
            driven.await.unwrap().unwrap();
            rows
        })
    });
    ran.join().unwrap()
}

/// A transaction that somebody else holds open.
pub(crate) struct Held {
    commit: Sender<()>,
    thread: JoinHandle<()>,
}

impl Held {
    /// Begins one with these statements, and waits until they are done.
    pub(crate) fn begin(url: &str, statements: &str) -> Self {
        let (url, statements) = (url.to_owned(), format!("BEGIN; {statements}"));
        let (commit, asked) = channel::<()>();
        let (begun, waiting) = channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let client = runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
                tokio::spawn(connection);
                client.batch_execute(&statements).await.unwrap();
                client
            });
            begun.send(()).unwrap();
            asked.recv().unwrap();
            runtime.block_on(client.batch_execute("COMMIT")).unwrap();
        });
        waiting.recv().unwrap();
        Self { commit, thread }
    }

    pub(crate) fn commit(self) {
        self.commit.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// A server of a test's own, started by `scripts/postgres`. Removed, with its
/// data, when it is dropped, and also when the test is killed.
pub(crate) struct Server {
    folder: PathBuf,
    text: String,
}

impl Server {
    pub(crate) fn start(flags: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("homing-postgres-{}", Uuid::new_v4()));
        let mut server = Self {
            folder,
            text: String::new(),
        };
        let owner = std::process::id().to_string();
        server.text = server.run("start", &[flags, &["--owner", &owner]].concat());
        server
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn url(&self) -> StoreUrl {
        self.text.parse().unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub(crate) fn sql(&self, statements: &str) -> Vec<Vec<Option<String>>> {
        sql(&self.text, statements)
    }

    /// Waits until a query gives this number.
    pub(crate) fn until(&self, query: &str, number: i64) {
        let since = Instant::now();
        while self.sql(query)[0][0] != Some(number.to_string()) {
            assert!(since.elapsed() < Duration::from_secs(30), "{query}");
        }
    }

    /// Ends it at once, as a power cut would.
    pub(crate) fn kill(&self) {
        self.run("kill", &[]);
    }

    pub(crate) fn start_again(&self) {
        self.run("start", &[]);
    }

    /// Stops it in its tracks, as a machine that hangs.
    pub(crate) fn freeze(&self) {
        self.run("freeze", &[]);
    }

    pub(crate) fn thaw(&self) {
        self.run("thaw", &[]);
    }

    fn run(&self, verb: &str, flags: &[&str]) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres");
        let mut command = Command::new(script);
        let done = command.arg(verb).args(flags).arg(&self.folder).output();
        let done = done.unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "scripts/postgres {verb}: {said}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("remove", &[]);
    }
}

/// A way to a server that can be cut.
pub(crate) struct Relay {
    port: u16,
    server: String,
    state: Arc<Mutex<Cut>>,
}

/// What a relay does with what the server sends.
#[derive(Default)]
struct Cut {
    /// How many bytes the server has sent.
    passed: u64,
    /// What is never passed on: the connection is cut instead.
    instead_of: Option<Vec<u8>>,
    /// How many more bytes are passed on.
    left: Option<u64>,
}

impl Cut {
    /// How many of these bytes pass before the connection is cut; `None` if it is
    /// not.
    fn cuts(&mut self, bytes: &[u8]) -> Option<usize> {
        if let Some(word) = &self.instead_of
            && bytes.windows(word.len()).any(|part| part == word)
        {
            self.instead_of = None;
            return Some(0);
        }
        let left = self.left?;
        if bytes.len() as u64 >= left {
            self.left = Some(0);
            return Some(left as usize);
        }
        self.left = Some(left - bytes.len() as u64);
        None
    }
}

impl Relay {
    /// One to the server of this URL.
    pub(crate) fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<Cut>>::default();
        let (_, place) = url.rsplit_once('@').unwrap();
        let (server, _) = place.split_once('/').unwrap();
        let (to, cut) = (server.to_owned(), Arc::clone(&state));
        // It ends with the test's process, as each test's does.
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&to).unwrap());
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || pass(&from, &to));
                let cut = Arc::clone(&cut);
                thread::spawn(move || relay(&server, &client, &cut));
            }
        });
        Self {
            port,
            server: url.to_owned(),
            state,
        }
    }

    pub(crate) fn url(&self) -> StoreUrl {
        let (user, place) = self.server.rsplit_once('@').unwrap();
        let (_, database) = place.split_once('/').unwrap();
        let url = format!("{user}@127.0.0.1:{}/{database}", self.port);
        url.parse().unwrap()
    }

    pub(crate) fn passed(&self) -> u64 {
        self.state.lock().unwrap().passed
    }

    pub(crate) fn cut_instead_of(&self, word: &[u8]) {
        self.state.lock().unwrap().instead_of = Some(word.to_vec());
    }

    pub(crate) fn cut_after(&self, bytes: u64) {
        self.state.lock().unwrap().left = Some(bytes);
    }

    pub(crate) fn heal(&self) {
        self.state.lock().unwrap().left = None;
    }
}

fn pass(mut from: &TcpStream, mut to: &TcpStream) {
    let _ended = std::io::copy(&mut from, &mut to);
    let _gone = to.shutdown(Shutdown::Write);
}

/// Passes on what the server sends, until it is cut.
fn relay(mut server: &TcpStream, mut client: &TcpStream, cut: &Mutex<Cut>) {
    let mut buffer = [0; 1 << 16];
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        let bytes = &buffer[..length];
        let mut state = cut.lock().unwrap();
        state.passed += length as u64;
        let cuts = state.cuts(bytes);
        drop(state);
        let passes = &bytes[..cuts.unwrap_or(length)];
        if client.write_all(passes).is_err() || cuts.is_some() {
            break;
        }
    }
    for stream in [server, client] {
        let _gone = stream.shutdown(Shutdown::Both);
    }
}
