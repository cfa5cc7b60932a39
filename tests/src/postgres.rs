//! Private PostgreSQL servers, for the tests that stop or kill them, and
//! databases on the one that all tests share.

use std::path::PathBuf;
use std::process::Command;

use homing_store::StoreUrl;
use uuid::Uuid;

/// Names the server that all tests share.
const VARIABLE: &str = "HOMING_TEST_POSTGRES";

/// A PostgreSQL of a test's own, started by `scripts/postgres`. Removed, with its
/// data, when it is dropped, and also when the test is killed.
#[derive(Debug)]
pub struct Postgres {
    dir: PathBuf,
    url: String,
}

impl Postgres {
    /// Starts a fresh one and waits until it answers.
    ///
    /// # Panics
    ///
    /// Panics if it does not start: a missing server fails a test.
    pub fn start() -> Self {
        let mut server = Self {
            dir: std::env::temp_dir().join(format!("homing-postgres-{}", Uuid::new_v4())),
            url: String::new(),
        };
        server.url = server.start_again();
        server
    }

    /// The URL of its database, with the password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it at once, as a power cut would. Its data stays.
    pub fn kill(&self) {
        self.run("kill", &[]);
    }

    /// Stops it in an orderly way. Its data stays.
    pub fn stop(&self) {
        self.run("stop", &[]);
    }

    /// Starts it again after a stop or kill, with the same port and data.
    pub fn start_again(&self) -> String {
        let owner = std::process::id().to_string();
        self.run("start", &["--owner", &owner])
    }

    fn run(&self, verb: &str, flags: &[&str]) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres");
        let mut command = Command::new(script);
        let done = command.arg(verb).args(flags).arg(&self.dir).output();
        let done = done.expect("scripts/postgres can be run");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "scripts/postgres {verb}: {said}");
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.run("remove", &[]);
    }
}

/// A fresh database on the server that all tests share, dropped with its handle.
#[derive(Debug)]
pub struct Database {
    name: String,
    server: String,
}

impl Database {
    /// Creates one.
    ///
    /// # Panics
    ///
    /// Panics if there is no server: a missing one fails a test.
    pub fn create() -> Self {
        let server = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!("{VARIABLE} names no PostgreSQL: run the tests by `make test`")
        });
        let name = format!("t{}", Uuid::new_v4().simple());
        psql(&server, &format!("CREATE DATABASE {name}"));
        Self { name, server }
    }

    /// Its URL, with the password.
    ///
    /// # Panics
    ///
    /// Panics if the server's URL names no database.
    pub fn text(&self) -> String {
        let (place, _) = self.server.rsplit_once('/').expect("a database");
        format!("{place}/{}", self.name)
    }

    /// The store in it.
    ///
    /// # Panics
    ///
    /// Panics if that is no URL.
    pub fn url(&self) -> StoreUrl {
        self.text().parse().expect("a valid URL")
    }

    /// The password of the URL, which nobody is to say.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    pub fn password(&self) -> &str {
        let (user, _) = self.server.rsplit_once('@').expect("a user");
        user.rsplit_once(':').expect("a password").1
    }

    /// Runs SQL, and gives what psql prints.
    pub fn sql(&self, statements: &str) -> String {
        psql(&self.text(), statements)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        psql(&self.server, &drop);
    }
}

fn psql(url: &str, statements: &str) -> String {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
    command.args(["--set", "ON_ERROR_STOP=1", "--command", statements, url]);
    let done = command.output().expect("psql can be run");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "psql: {said}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}
