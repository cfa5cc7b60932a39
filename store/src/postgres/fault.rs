use homing_protocol::chain;
use tokio_postgres::Error;

use super::address::Address;
use crate::error::StoreError;
use crate::position::Outside;

/// What went wrong, before it is known in which database.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server or the connection to it says so.
    Sql(Error),
    /// There was no answer in time.
    Silent,
    /// There is no database, or no schema of ours in it.
    Missing,
    /// What is there is not ours.
    Foreign(&'static str),
    /// It has another schema than this build reads.
    Newer { found: u32, supported: u32 },
    /// As above.
    Older { found: u32, supported: u32 },
    /// There is no encryption as it must be.
    Tls(String),
    /// A value is not what it must be.
    Corrupt(String),
    /// The log has no such position.
    Position(Outside),
}

/// What a query answers.
pub(super) type Answer<T> = Result<T, Fault>;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Outside> for Fault {
    fn from(outside: Outside) -> Self {
        Self::Position(outside)
    }
}

impl Fault {
    /// A value in the store that none of ours would have written.
    pub(super) fn corrupt(problem: &str) -> Self {
        Self::Corrupt(problem.to_owned())
    }

    /// Whether another connection may do better.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::Silent => true,
            Self::Sql(error) => is_of_connection(error),
            _ => false,
        }
    }

    /// Whether somebody else has a lock for longer than it was waited for.
    pub(super) fn is_lock(&self) -> bool {
        matches!(self, Self::Sql(error)
            if error.code().is_some_and(|code| matches!(code.code(), "55P03" | "40P01")))
    }

    /// The error, about the store at `address`.
    pub(crate) fn at(self, address: &Address) -> StoreError {
        let store = address.place();
        match self {
            Self::Sql(error) => failure(&error, address),
            Self::Silent => StoreError::Unreachable {
                store,
                detail: "no answer in time".to_owned(),
            },
            Self::Missing => StoreError::Missing { store },
            Self::Foreign(what) => StoreError::Foreign { store, what },
            Self::Newer { found, supported } => StoreError::Newer {
                store,
                found,
                supported,
            },
            Self::Older { found, supported } => StoreError::Older {
                store,
                found,
                supported,
            },
            Self::Tls(detail) => StoreError::Tls { store, detail },
            Self::Corrupt(detail) => StoreError::Corrupt { store, detail },
            Self::Position(outside) => outside.into(),
        }
    }
}

/// Whether the connection, or the server, is what failed:
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn is_of_connection(error: &Error) -> bool {
    let Some(code) = error.code() else {
        let broken = error.is_closed() || has_cause::<std::io::Error>(error);
        return broken && !is_of_encryption(&chain(error));
    };
    let code = code.code();
    let ended = matches!(
        code,
        // The transaction was idle for too long, or open, or the session idle.
        "25P03" | "25P04" | "57P05"
        // The server stops, has crashed, or starts; the database was dropped.
        | "57P01" | "57P02" | "57P03" | "57P04"
        // There are too many connections; the server has become a standby.
        | "53300" | "25006"
    );
    code.starts_with("08") || ended
}

fn has_cause<T: std::error::Error + 'static>(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if error.is::<T>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn failure(error: &Error, address: &Address) -> StoreError {
    let store = address.place();
    let detail = said(error);
    if is_of_connection(error) {
        return StoreError::Unreachable { store, detail };
    }
    let Some(code) = error.code() else {
        return of_client(error, address, detail);
    };
    match code.code() {
        // Such as no database of this name.
        "3D000" | "3F000" | "42P01" => StoreError::Missing { store },
        "42501" => StoreError::Denied { store, detail },
        // The disk is full, or what the server lets files have.
        "53100" | "53400" => StoreError::Full { store },
        // A lock that is held for too long, deadlocks, statements that take too
        // long, no memory.
        "40001" | "40P01" | "55P03" | "57014" | "53200" => StoreError::Busy { store },
        // Somebody took a partition away: the next writer makes it again.
        "23514" if detail.contains("partition") => StoreError::Busy { store },
        code => match &code[..2] {
            "28" => StoreError::Denied { store, detail },
            "58" => StoreError::Disk { store, detail },
            // What they are about is a value, or a row, of one entry.
            "22" | "23" | "54" | "P0" => StoreError::Rejected { store, detail },
            "XX" => StoreError::Corrupt { store, detail },
            _ => StoreError::Refused { store, detail },
        },
    }
}

/// An error that did not come from the server.
fn of_client(error: &Error, address: &Address, detail: String) -> StoreError {
    let store = address.place();
    // The driver tells kinds of errors apart in its texts alone.
    if is_of_encryption(&detail) {
        return StoreError::Tls { store, detail };
    }
    if detail.contains("authentication") || detail.contains("password") {
        return StoreError::Denied { store, detail };
    }
    if has_cause::<tokio_postgres::types::WrongType>(error)
        || has_cause::<tokio_postgres::types::WasNull>(error)
        || detail.contains("deserializing")
    {
        return StoreError::Corrupt { store, detail };
    }
    StoreError::Unreachable { store, detail }
}

/// Whether the server cannot encrypt, or is not who it has to be. A connection
/// that breaks meanwhile is none of that.
fn is_of_encryption(detail: &str) -> bool {
    detail.contains("certificate") || detail.contains("does not support TLS")
}

/// What the server says, in its own words, else what the driver does, without the
/// number of a system's error.
fn said(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return said.message().to_owned();
    }
    let mut said = chain(error);
    said.truncate(said.find(" (os error").unwrap_or(said.len()));
    said
}
