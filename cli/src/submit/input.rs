//! The file that rows come from, and the form they have there.

use std::io::{self, BufRead};
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Instant;

use clap::ValueEnum;
use tokio::sync::mpsc;

use super::Many;
use super::checked::Checked;
use super::columns::Misfit;
use super::csv::{Csv, HeaderError};
use super::ndjson::Lines;
use super::opened::{Opened, refuse_array};
use super::rows::{self, Chunk, Form, Row};
use crate::exit::Exit;
use crate::schema::{Check, STACK_BYTES, Turns, Watch};
use crate::trouble::Trouble;
use crate::which::quoted;

/// Most names of columns that an error lists.
const NAMES_TOLD_MAX: usize = 10;

/// How rows are written in a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Ndjson,
    Csv,
}

impl Format {
    /// That of a file of this name.
    fn of(file: &Path) -> Self {
        let ending = file.extension();
        match ending.is_some_and(|ending| ending.eq_ignore_ascii_case("csv")) {
            true => Self::Csv,
            false => Self::Ndjson,
        }
    }
}

/// How much there is to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Whole {
    Bytes(u64),
    /// As many rows, if the file has so many.
    Rows(u64),
    Unknown,
}

/// A file that is open, and to be read row by row.
pub(super) struct Input {
    reader: Box<dyn BufRead + Send>,
    form: Box<dyn Form + Send>,
    limit: Option<NonZeroU64>,
    pub(super) whole: Whole,
    pub(super) format: Format,
    opened: Opened,
    /// Those of its checks, if it is checked as it is read.
    turns: Option<Turns>,
    /// Of CSV without `--column`, the fields that it gives each task.
    pub(super) fields: Option<String>,
}

impl Input {
    /// Opens `file`, and reads the names of its columns if it has any.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: it cannot be read, or its columns are not those asked for.
    pub(super) fn open(file: &Path, many: &Many) -> Result<Self, Trouble> {
        let format = many.format.unwrap_or_else(|| Format::of(file));
        if format == Format::Ndjson && !many.columns.is_empty() {
            return Err(Trouble::new(Exit::Usage, "NDJSON has no columns")
                .from("--column")
                .fix("--format csv if it is CSV"));
        }
        let opened = Opened::open(file)?;
        if many.format.is_none() {
            refuse_array(file, &opened)?;
        }
        Self::begin(opened, file, format, many)
    }

    fn begin(opened: Opened, file: &Path, format: Format, many: &Many) -> Result<Self, Trouble> {
        let mut reader = opened.reader();
        let mut fields = None;
        let form: Box<dyn Form + Send> = match format {
            Format::Ndjson => Box::new(Lines::default()),
            Format::Csv => {
                // A pipe may take its time.
                let begun = || Csv::begin(&mut reader, &many.columns);
                let csv = tokio::task::block_in_place(begun);
                let csv = csv.map_err(|error| refused(file, &error))?;
                fields = many.columns.is_empty().then(|| listed(&csv.fields()));
                Box::new(csv)
            }
        };
        let whole = match (many.limit, &opened) {
            (Some(limit), _) => Whole::Rows(limit.get()),
            (None, Opened::Again(_, bytes)) => Whole::Bytes(*bytes),
            (None, _) => Whole::Unknown,
        };
        Ok(Self {
            reader,
            form,
            limit: many.limit,
            whole,
            format,
            opened,
            turns: None,
            fields,
        })
    }

    /// The same rows, but those that do not match rejected.
    pub(super) fn checked(mut self, check: Check) -> Self {
        let form = self.form;
        self.turns = Some(check.turns());
        self.form = Box::new(Checked { form, check });
        self
    }

    /// Whether it can be gone through more than once.
    pub(super) const fn is_file(&self) -> bool {
        matches!(self.opened, Opened::Again(..))
    }

    /// The same file from its start.
    ///
    /// # Errors
    ///
    /// [`Trouble`]: it cannot be read, or has other columns by now.
    pub(super) fn again(self, file: &Path, many: &Many) -> Result<Self, Trouble> {
        let begun = self.opened.rewind();
        begun.map_err(|error| Trouble::file("read", &file.display().to_string(), &error))?;
        Self::begin(self.opened, file, self.format, many)
    }

    /// Goes through all rows at once.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub(super) fn each(&mut self, mut look: impl FnMut(&Row)) -> io::Result<()> {
        let mut left = self.limit.map_or(u64::MAX, NonZeroU64::get);
        while left > 0 {
            let Some(taken) = self.form.next(&mut self.reader)? else {
                break;
            };
            left -= u64::from(taken.row.is_some());
            taken.row.iter().for_each(&mut look);
        }
        Ok(())
    }

    /// Watches the checks of what is read.
    pub(super) fn watch(&self) -> Option<Watch> {
        let turns = self.turns.clone()?;
        Some(Watch::new(turns, Instant::now()))
    }

    /// Begins to read.
    pub(super) fn read(self) -> mpsc::Receiver<io::Result<Chunk>> {
        let thread = std::thread::Builder::new();
        let thread = match self.turns {
            Some(_) => thread.stack_size(STACK_BYTES),
            None => thread,
        };
        rows::read(thread, self.reader, self.form, self.limit)
    }
}

/// What to say of a file that is not read as CSV.
fn refused(file: &Path, error: &HeaderError) -> Trouble {
    let shown = match file == Path::new("-") {
        true => "stdin".to_owned(),
        false => file.display().to_string(),
    };
    let first = format!("{shown}, line 1");
    match error {
        HeaderError::Read(error) => Trouble::file("read", &shown, error),
        HeaderError::Empty => Trouble::new(Exit::Usage, "no line with the names of columns")
            .from(shown)
            .fix("begin the file with one: path,size"),
        HeaderError::Unreadable(problem) => {
            Trouble::new(Exit::Usage, format!("no names of columns: {problem}"))
                .from(first)
                .fix("begin the file with a line of names: path,size")
        }
        HeaderError::Misfit { misfit, names } => misfitting(misfit, names, first),
    }
}

fn misfitting(misfit: &Misfit, names: &[String], first: String) -> Trouble {
    let flag = |column: &dyn ToString| format!("--column {}", quoted(&column.to_string()));
    match misfit {
        Misfit::Missing(column) => {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            Trouble::new(
                Exit::Usage,
                format!("no column `{}` in {first}", column.name()),
            )
            .from(flag(column))
            .fix(format!("name one of {}", listed(&names)))
        }
        Misfit::Ambiguous(name) => {
            Trouble::new(Exit::Usage, format!("more than one column `{name}`"))
                .from(first)
                .fix("give each its own name, or name those to be used: --column FIELD=COLUMN")
        }
        Misfit::Twice(column) => Trouble::new(
            Exit::Usage,
            format!("a second column for field `{}`", column.field()),
        )
        .from(flag(column))
        .fix("give each field one column"),
    }
}

/// The names, or as many of them as one takes in.
fn listed(names: &[&str]) -> String {
    let told = names.iter().take(NAMES_TOLD_MAX);
    let mut told: Vec<_> = told.map(|name| format!("`{name}`")).collect();
    if names.len() > NAMES_TOLD_MAX {
        told.push(format!("{} more", names.len() - NAMES_TOLD_MAX));
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_csv_by_the_end_of_its_name() {
        for (name, format) in [
            ("in/a.csv", Format::Csv),
            ("A.CSV", Format::Csv),
            ("a.ndjson", Format::Ndjson),
            ("csv", Format::Ndjson),
            ("-", Format::Ndjson),
        ] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }

    fn lines(input: &mut Input) -> Vec<String> {
        let mut lines = Vec::new();
        let row = |row: &Row| {
            let payload = row.payload.as_ref().unwrap();
            lines.push(String::from_utf8(payload.bytes.to_vec()).unwrap());
        };
        input.each(row).unwrap();
        lines
    }

    #[test]
    fn what_is_read_again_is_the_same_file_whatever_has_its_name_by_then() {
        let path = std::env::temp_dir().join(format!("homing-again-{}", std::process::id()));
        std::fs::write(&path, "1\n2\n").unwrap();
        let mut input = Input::open(&path, &Many::none()).unwrap();

        let first = lines(&mut input);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "3\n").unwrap();
        let again = lines(&mut input.again(&path, &Many::none()).unwrap());

        std::fs::remove_file(&path).unwrap();
        assert_eq!((&first, again.len()), (&again, 2));
    }

    #[test]
    fn an_array_in_a_file_of_json_is_refused_unless_its_form_is_said() {
        let path = std::env::temp_dir().join(format!("homing-array-{}.json", std::process::id()));
        let said = Many {
            format: Some(Format::Ndjson),
            ..Many::none()
        };
        for (text, refused) in [(" \n[1]\n", true), ("{}\n[1]\n", false), ("", false)] {
            std::fs::write(&path, text).unwrap();

            let opened = Input::open(&path, &Many::none());
            assert_eq!(opened.is_err(), refused, "{text:?}");
            let rows = lines(&mut Input::open(&path, &said).unwrap()).len();
            assert_eq!(rows, text.trim().lines().count(), "{text:?}");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
