//! Which processes work with the file, which of them live, and how they are woken.
//!
//! Each keeps a file locked as long as it lives: the system gives the lock back
//! when a process ends, in whatever way. One that lives and does not run (it is
//! stopped, or swapped out) is told by that file too, whose time it sets again and
//! again: what it holds goes back once that stands still for a lease.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, Result};

use super::file::{clients, open_private};
use super::messages::Messages;
use super::queues;

/// How long a process that does not run keeps what it holds.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// How many tasks a consumer takes, and holds.
pub(super) type Load = (u32, u32);

/// How often each says that it runs.
const BEAT: Duration = Duration::from_secs(2);

/// Whoever has not looked for this long did not run itself, and can say nothing of
/// others.
const LOOK_GAP: Duration = Duration::from_secs(1);

/// This process, as others see it.
pub(super) struct Life {
    folder: PathBuf,
    name: String,
    /// Ends the thread that beats when it is dropped.
    _beats: Sender<()>,
    looked_at: Instant,
    seen: HashMap<i64, (SystemTime, Instant)>,
}

/// Where it is woken.
pub(super) struct Bell {
    socket: UdpSocket,
}

impl Bell {
    /// Without one the file is looked at from time to time.
    pub(super) fn hang() -> io::Result<(Self, u16)> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let port = socket.local_addr()?.port();
        Ok((Self { socket }, port))
    }

    /// Another handle, to wait for it to ring.
    pub(super) fn listen(&self) -> io::Result<UdpSocket> {
        self.socket.try_clone()
    }

    /// Rings at others. Whoever does not hear it looks for itself, later.
    pub(super) fn ring(&self, ports: &[u16]) {
        for port in ports {
            let _deaf = self.socket.send_to(&[1], (Ipv4Addr::LOCALHOST, *port));
        }
    }
}

impl Life {
    /// Begins beside the file at `path`.
    pub(super) fn begin(path: &Path) -> io::Result<Self> {
        let folder = clients(path);
        let name = crate::mint().to_string();
        let file = open_private(&folder.join(&name))?;
        file.lock()?;
        let (beats, ended) = channel();
        // On a thread that nothing else of this process can hold up.
        std::thread::Builder::new()
            .name("embedded broker lives".to_owned())
            .spawn(move || beat(&file, &ended))?;
        Ok(Self {
            folder,
            name,
            _beats: beats,
            looked_at: Instant::now(),
            seen: HashMap::new(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Which of the clients of the file are dead.
    pub(super) fn dead(&mut self, file: &Connection) -> Result<Vec<i64>> {
        let mut others = file.prepare_cached("SELECT id, life FROM client WHERE life != ?1")?;
        let others = others.query_map([&self.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let others = others.collect::<Result<Vec<(i64, String)>>>()?;
        if self.looked_at.elapsed() > LOOK_GAP {
            self.seen.clear();
        }
        self.looked_at = Instant::now();
        self.seen
            .retain(|client, _| others.iter().any(|(id, _)| id == client));
        let mut dead = Vec::new();
        for (client, life) in others {
            let path = self.folder.join(life);
            if !self.lives(client, &path) {
                dead.push(client);
            }
        }
        Ok(dead)
    }

    fn lives(&mut self, client: i64, path: &Path) -> bool {
        let other = match File::open(path) {
            Ok(other) => other,
            Err(error) => return error.kind() != io::ErrorKind::NotFound,
        };
        match other.try_lock() {
            Ok(()) => return false,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(_)) => return true,
        }
        let Ok(beat) = other.metadata().and_then(|data| data.modified()) else {
            return true;
        };
        let (last, since) = self.seen.entry(client).or_insert((beat, Instant::now()));
        if *last != beat {
            (*last, *since) = (beat, Instant::now());
        }
        since.elapsed() < LEASE
    }

    /// Removes the file of one that is dead.
    pub(super) fn bury(&self, life: &str) {
        let _gone = std::fs::remove_file(self.folder.join(life));
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.bury(&self.name);
    }
}

/// Says again and again that this process runs, until its life ends. The file is
/// locked as long.
fn beat(file: &File, ended: &Receiver<()>) {
    while ended.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
        // One that cannot be touched makes others take what is held here, which is
        // safe.
        let _late = file.set_modified(SystemTime::now());
    }
}

/// Writes a client down.
pub(super) fn register(file: &Connection, life: &str, port: Option<u16>) -> Result<i64> {
    let sql = "INSERT INTO client (life, port) VALUES (?1, ?2)";
    file.prepare_cached(sql)?.insert((life, port))
}

/// Whether a client is still written down: nobody took it for dead.
pub(super) fn is_there(file: &Connection, client: i64) -> Result<bool> {
    file.prepare_cached("SELECT 1 FROM client WHERE id = ?1")?
        .exists([client])
}

/// Writes a consumer down.
pub(super) fn subscribe(file: &Connection, client: i64, queue: i64) -> Result<i64> {
    let sql = "INSERT INTO consumer (client, queue) VALUES (?1, ?2)";
    file.prepare_cached(sql)?.insert((client, queue))
}

/// Writes down how many tasks a consumer takes and holds.
pub(super) fn load(file: &Connection, consumer: i64, (prefetch, held): Load) -> Result<()> {
    let sql = "UPDATE consumer SET prefetch = ?2, held = ?3 WHERE id = ?1";
    let mut statement = file.prepare_cached(sql)?;
    statement.execute((consumer, prefetch, held)).map(drop)
}

/// What the consumers of a queue take and hold that have room, but one.
pub(super) fn loads(file: &Connection, queue: i64, but: i64) -> Result<Vec<Load>> {
    let sql = "SELECT prefetch, held FROM consumer \
               WHERE queue = ?1 AND id != ?2 AND prefetch > held";
    let mut statement = file.prepare_cached(sql)?;
    let loads = statement.query_map((queue, but), |row| Ok((row.get(0)?, row.get(1)?)))?;
    loads.collect()
}

/// Whether other clients take from a queue.
pub(super) fn others_take(file: &Connection, queue: i64, but: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM consumer WHERE queue = ?1 AND client != ?2";
    file.prepare_cached(sql)?.exists((queue, but))
}

/// Strikes a consumer out, which holds nothing.
pub(super) fn unsubscribe(file: &Connection, consumer: i64) -> Result<()> {
    let sql = "DELETE FROM consumer WHERE id = ?1";
    file.prepare_cached(sql)?.execute([consumer]).map(drop)
}

/// The ports of others that take from a queue.
pub(super) fn ports(file: &Connection, queue: i64, but: i64, ports: &mut Vec<u16>) -> Result<()> {
    let sql = "SELECT DISTINCT port FROM consumer JOIN client ON client.id = consumer.client \
               WHERE consumer.queue = ?1 AND client.id != ?2 AND port IS NOT NULL";
    let mut statement = file.prepare_cached(sql)?;
    for port in statement.query_map((queue, but), |row| row.get(0))? {
        let port = port?;
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Ok(())
}

/// Strikes a client out. Answers with the name of its life, and what it held: to
/// be returned.
pub(super) fn strike(file: &Connection, client: i64) -> Result<(String, Vec<(i64, i64)>)> {
    let held = Messages(file).release_all(client)?;
    queues::remove_inboxes(file, client)?;
    file.execute("DELETE FROM consumer WHERE client = ?1", [client])?;
    let sql = "DELETE FROM client WHERE id = ?1 RETURNING life";
    let life = file.query_row(sql, [client], |row| row.get(0))?;
    Ok((life, held))
}
