//! Looks whether the file contradicts itself, before anything is written to it.
//!
//! Disks and copies turn bits. What SQLite cannot tell, a turned bit within a
//! payload, shows in the payload's digest.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::fault::{Answer, Fault};

/// How long a start may take for it: about 1 GB, at what a disk reads. The rest
/// of a larger file is looked at as it is used.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Checks the structure of the file: every page, every row against its columns.
pub(super) fn check(connection: &Connection) -> Answer<()> {
    let interrupt = connection.get_interrupt_handle();
    let (done, waiting) = channel::<()>();
    // Joined below; it ends once `done` is gone, or the time is up.
    let watch = thread::spawn(move || {
        if waiting.recv_timeout(TIME_MAX) == Err(RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    let found = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    drop(done);
    let joined = watch.join();
    debug_assert!(joined.is_ok(), "the watch does nothing that panics");
    match found {
        Ok(found) if found == "ok" => Ok(()),
        Ok(detail) => Err(Fault::Damaged { detail }),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
