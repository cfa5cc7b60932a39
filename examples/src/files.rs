//! The two tasks of `make demo`.

use std::path::PathBuf;

use homing::prelude::*;
use serde::{Deserialize, Serialize};

/// Makes the SHA-256 of a file, as hexadecimal digits. Run by a Rust handler.
#[derive(Debug, Deserialize, Serialize)]
pub struct Checksum {
    /// The file.
    pub path: PathBuf,
}

impl Task for Checksum {
    const KIND: &'static str = "demo.checksum";
    type Output = String;
    type Error = AnyError;
}

/// Counts what is in a file. Run by a command, `examples/words.sh`.
#[derive(Debug, Deserialize, Serialize)]
pub struct Words {
    /// The file.
    pub path: PathBuf,
}

/// What [`Words`] counts.
#[derive(Debug, Deserialize, Serialize)]
pub struct Counts {
    /// Ends of lines.
    pub lines: u64,
    /// Words, parted by white space.
    pub words: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Task for Words {
    const KIND: &'static str = "demo.words";
    type Output = Counts;
    type Error = AnyError;
}
