//! What rows are read from.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;

use crate::exit::Exit;
use crate::trouble::Trouble;
use crate::which::quoted;

/// Something to read from. It is opened once: what is checked and what is sent come
/// from the same file, whatever is done to its name meanwhile.
pub(super) enum Opened {
    Stdin,
    /// A pipe, or a device.
    Once(Arc<File>),
    /// A file of so many bytes, which can be gone through again.
    Again(Arc<File>, u64),
}

impl Opened {
    /// Opens `file`; `-` is stdin.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: it cannot be read.
    pub(super) fn open(file: &Path) -> Result<Self, Trouble> {
        if file == Path::new("-") {
            return Ok(Self::Stdin);
        }
        let shown = file.display().to_string();
        let failed = |error| not_read(&shown, &error);
        let opened = File::open(file).map_err(failed)?;
        let found = opened.metadata().map_err(failed)?;
        if found.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let opened = Arc::new(opened);
        Ok(match found.is_file() {
            true => Self::Again(opened, found.len()),
            false => Self::Once(opened),
        })
    }

    /// Reads it from where it is.
    pub(super) fn reader(&self) -> Box<dyn BufRead + Send> {
        match self {
            Self::Stdin => Box::new(BufReader::new(io::stdin())),
            Self::Once(file) | Self::Again(file, _) => Box::new(BufReader::new(Arc::clone(file))),
        }
    }

    /// Begins at its start again, if it can be gone through again.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) fn rewind(&self) -> io::Result<()> {
        match self {
            Self::Again(file, _) => file.as_ref().rewind(),
            Self::Stdin | Self::Once(_) => Ok(()),
        }
    }
}

fn not_read(shown: &str, error: &io::Error) -> Trouble {
    let trouble = Trouble::file("read", shown, error);
    match shown.strip_prefix('@') {
        Some(name) if error.kind() == io::ErrorKind::NotFound => trouble.fix(format!(
            "--rows takes the name alone: --rows {}",
            quoted(name)
        )),
        _ => trouble,
    }
}

/// Refuses one JSON array in a file that is called so: its items are meant, and no
/// line of it is one of them.
///
/// # Errors
///
/// [`Trouble`]: it is one, or cannot be read.
pub(super) fn refuse_array(file: &Path, opened: &Opened) -> Result<(), Trouble> {
    let is_json = file.extension().is_some_and(|ending| ending == "json");
    let Opened::Again(inside, _) = opened else {
        return Ok(());
    };
    if !is_json {
        return Ok(());
    }
    let shown = file.display().to_string();
    let failed = |error| Trouble::file("read", &shown, &error);
    let first = first_byte(inside).map_err(failed)?;
    opened.rewind().map_err(failed)?;
    if first != Some(b'[') {
        return Ok(());
    }
    Err(Trouble::new(
        Exit::Usage,
        format!("{shown} is one JSON array, and not a line of JSON for each task"),
    )
    .from("--rows")
    .fix(format!(
        "a task for each of its items: jq -c '.[]' {} | homing submit KIND --rows -; if each line is an array that is a payload: --format ndjson",
        quoted(&shown)
    )))
}

/// The first byte that is no space.
fn first_byte(file: &File) -> io::Result<Option<u8>> {
    let mut bytes = BufReader::new(file).bytes();
    bytes
        .find(|byte| !byte.as_ref().is_ok_and(u8::is_ascii_whitespace))
        .transpose()
}
