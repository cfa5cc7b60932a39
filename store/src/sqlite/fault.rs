use std::io;
use std::path::Path;

use rusqlite::{Error, ErrorCode};

use crate::error::StoreError;
use crate::position::Outside;

/// What went wrong, before it is known in which file.
#[derive(Debug)]
pub(crate) enum Fault {
    /// SQLite says so, or a value is not what it must be.
    Sql(Error),
    /// The file contradicts itself.
    Damaged { detail: String },
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
    pub(super) fn corrupt(column: usize, problem: &'static str) -> Error {
        Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, problem.into())
    }

    /// The error, about the file at `path`.
    pub(crate) fn at(self, path: &Path) -> StoreError {
        let error = match self {
            Self::Sql(error) => error,
            Self::Damaged { detail } => {
                let store = path.into();
                return StoreError::Corrupt { store, detail };
            }
            Self::Position(outside) => return outside.into(),
        };
        let detail = error.to_string();
        let path = path.to_owned();
        match error {
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..) => StoreError::Corrupt {
                store: path.into(),
                detail,
            },
            other => match other.sqlite_error_code() {
                Some(code) => failure(code, path, detail),
                None => StoreError::Refused {
                    store: path.into(),
                    detail,
                },
            },
        }
    }
}

fn failure(code: ErrorCode, path: std::path::PathBuf, detail: String) -> StoreError {
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            StoreError::Busy { store: path.into() }
        }
        ErrorCode::DiskFull => StoreError::Full { store: path.into() },
        ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed => StoreError::Disk {
            store: path.into(),
            detail,
        },
        ErrorCode::DatabaseCorrupt => StoreError::Corrupt {
            store: path.into(),
            detail,
        },
        ErrorCode::NotADatabase => StoreError::Foreign {
            store: path.into(),
            what: "it is no SQLite database",
        },
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            StoreError::Unwritable {
                path,
                source: io::Error::other(detail),
            }
        }
        // What they are about is a value, or a row, of one entry.
        ErrorCode::ConstraintViolation
        | ErrorCode::TooBig
        | ErrorCode::TypeMismatch
        | ErrorCode::ParameterOutOfRange => StoreError::Rejected {
            store: path.into(),
            detail,
        },
        _ => StoreError::Refused {
            store: path.into(),
            detail,
        },
    }
}
