//! Says what a file is without taking part in it.

use std::io;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Result};

use super::file;
use crate::About;
use crate::error::BrokerError;

/// The schema of the broker in the file at `path`, `None` if none is there yet.
pub(super) fn schema(path: &Path) -> Result<Option<u32>, BrokerError> {
    let refuse = |problem: String| BrokerError::File {
        path: path.to_owned(),
        problem,
    };
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(refuse("it is a directory".to_owned())),
        Ok(found) if found.len() == 0 => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refuse(error.to_string())),
    }
    let looked = read_only(path).and_then(|connection| file::state(&connection));
    looked
        .map_err(|error| refuse(error.to_string()))?
        .map_err(refuse)
}

/// Opens the file at `path`, to read in it alone.
pub(super) fn read_only(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(file::BUSY_TIMEOUT)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// What an open file runs on.
pub(super) fn about(file: &Connection) -> Result<About> {
    Ok(About {
        product: "SQLite".to_owned(),
        version: rusqlite::version().to_owned(),
        schema: file::state(file)?.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("homing-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_look_at_what_is_no_broker_leaves_nothing_beside_it() {
        let folder = folder("look");
        let (other, empty) = (folder.join("other.db"), folder.join("empty.db"));
        let connection = Connection::open(&other).unwrap();
        connection.execute("CREATE TABLE other (id)", ()).unwrap();
        drop(connection);
        std::fs::write(&empty, "").unwrap();

        let looked = [&other, &empty, &folder.join("none.db"), &folder].map(|path| schema(path));

        let [other, empty, none, directory] = looked;
        assert!(matches!(other, Err(BrokerError::File { .. })));
        assert!(matches!(empty, Ok(None)) && matches!(none, Ok(None)));
        assert!(matches!(directory, Err(BrokerError::File { .. })));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
