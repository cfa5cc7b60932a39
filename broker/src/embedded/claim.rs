use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::file::{clients, clients_of, open_private};

/// The name of the file that whoever runs a broker for others keeps locked.
const NAME: &str = "up";

/// How often it is tried to claim it.
const TRIES: u32 = 5;

/// Longer than a look whether it is claimed takes.
const LOOK_TIME: Duration = Duration::from_millis(10);

/// Says that the broker in a file is run for others, who may take it as theirs
/// without naming it: as long as this is kept, and its process lives.
#[derive(Debug)]
pub struct Claim {
    _file: File,
}

impl Claim {
    /// Claims the broker in the file at `path`; `None` if another process has.
    ///
    /// # Errors
    ///
    /// What the system says if nothing can be written beside that file.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = open_private(&clients_of(path)?.join(NAME))?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Some(Self { _file: file })),
                // Or somebody looks whether it is taken.
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_TIME),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Whether a living process has claimed it.
    pub fn is_taken(path: &Path) -> bool {
        let file = File::open(clients(path).join(NAME));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}
