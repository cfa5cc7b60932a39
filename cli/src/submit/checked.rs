//! Rows against the schema of their kind, before anything is sent.
//!
//! | rows come from | one that does not match |
//! |---|---|
//! | the command line, `@FILE` | nothing is sent |
//! | a file | nothing is sent: all of it is gone through first |
//! | a pipe, stdin | it is rejected as one that is no JSON, and the others go on |

use std::io::{self, BufRead};
use std::path::Path;
use std::time::Duration;

use homing_protocol::{KindRecord, Payload};

use super::SubmitArgs;
use super::input::{Format, Input};
use super::rows::{Form, Rejected, Row, Taken};
use crate::exit::Exit;
use crate::output::Talk;
use crate::schema::{self, Check, with_room};
use crate::settings::Settings;
use crate::time::{grouped, local};
use crate::trouble::Trouble;

/// How long the store may take: a producer needs none, and does without.
const STORE_TIME_MAX: Duration = Duration::from_secs(2);

/// Rows of a file that are told.
const TOLD_MAX: usize = 3;

const FIX: &str = "correct what does not match, or send it unchecked: --unchecked";

/// Of cells, which are text unless it is said.
const FIX_CSV: &str = "correct what does not match; what is no text takes --column FIELD=COLUMN:number, :bool or :json; or send it unchecked: --unchecked";

/// What is checked by, if anything, and where it is from.
struct Known {
    check: Check,
    from: String,
}

/// Refuses the payload of one task that does not match.
///
/// # Errors
///
/// [`Trouble`]: it does not, or cannot be checked.
pub(super) async fn one(
    args: &SubmitArgs,
    payload: &Payload,
    settings: &Settings,
) -> Result<(), Trouble> {
    let Some(known) = known(args, settings).await? else {
        return Ok(());
    };
    let misfit = with_room(|| known.check.misfit(&payload.bytes));
    let misfit = misfit.map_err(|error| Trouble::file("check", "the payload", &error))?;
    let Some(problem) = misfit else {
        return Ok(());
    };
    let what = format!(
        "the payload does not match `{}`, and is not sent: {problem}",
        args.kind
    );
    let fix = match args.payload {
        Some(_) => FIX.to_owned(),
        None => format!("no PAYLOAD was given: homing submit {} PAYLOAD", args.kind),
    };
    Err(Trouble::new(Exit::Usage, what).from(known.from).fix(fix))
}

/// Opens the rows in `file`, refused if one of a file that is there does not match.
///
/// # Errors
///
/// [`Trouble`]: one does not, or the file cannot be read or checked.
pub(super) async fn rows(
    args: &SubmitArgs,
    file: &Path,
    settings: &Settings,
) -> Result<Input, Trouble> {
    let input = Input::open(file, &args.many)?;
    let Some(known) = known(args, settings).await? else {
        return Ok(input);
    };
    if !input.is_file {
        return Ok(input.checked(known.check));
    }
    let fix = match (input.format, &input.fields) {
        (Format::Ndjson, _) => FIX.to_owned(),
        (Format::Csv, None) => FIX_CSV.to_owned(),
        (Format::Csv, Some(fields)) => {
            let fields = crate::clean::for_terminal(fields);
            format!("each has the columns {fields}, as strings; {FIX_CSV}")
        }
    };
    let looked = tokio::task::block_in_place(|| with_room(|| look_through(input, &known.check))?);
    let misfits = looked.map_err(|error| Trouble::file("read", "the rows", &error))?;
    if misfits.count > 0 {
        let what = misfits.text(args.kind.as_str(), file);
        return Err(Trouble::new(Exit::Usage, what).from(known.from).fix(fix));
    }
    // Once more as they are sent: the file may have grown since.
    Ok(Input::open(file, &args.many)?.checked(known.check))
}

async fn known(args: &SubmitArgs, settings: &Settings) -> Result<Option<Known>, Trouble> {
    let checking = &args.checking;
    if checking.unchecked {
        return Ok(None);
    }
    if let Some(path) = &checking.schema {
        let from = format!("--schema {}", path.display());
        let (_, check) = schema::read(path, &from)?;
        return Ok(Some(Known { check, from }));
    }
    let stored = tokio::time::timeout(STORE_TIME_MAX, stored(args, settings)).await;
    let Some(record) = stored.ok().flatten() else {
        return Ok(None);
    };
    let kind = &record.kind;
    let at = local(record.at);
    let from = format!("its schema (homing schema {kind}), of the worker that started at {at}");
    match Check::new(&record.schema) {
        Ok(check) => Ok(Some(Known { check, from })),
        Err(problem) => {
            // It is the worker's, which takes what it takes.
            Talk::new(settings).say(format!(
                "sent unchecked: nothing can be checked by the schema of `{kind}`: {problem}"
            ));
            Ok(None)
        }
    }
}

/// What the store says of the kind, as far as it can be read.
async fn stored(args: &SubmitArgs, settings: &Settings) -> Option<KindRecord> {
    let store = settings.open_store().await.ok()?;
    store.kind(&args.kind).await.ok()?
}

/// What does not match in a file.
#[derive(Default)]
struct Misfits {
    count: u64,
    /// The first of them: line and problem.
    told: Vec<(u64, String)>,
}

fn look_through(input: Input, check: &Check) -> io::Result<Misfits> {
    let mut misfits = Misfits::default();
    input.each(|row| {
        // Others are rejected as ever.
        let Some(problem) = misfit(row, check) else {
            return;
        };
        misfits.count += 1;
        if misfits.told.len() < TOLD_MAX {
            misfits.told.push((row.line, problem));
        }
    })?;
    Ok(misfits)
}

impl Misfits {
    fn text(&self, kind: &str, file: &Path) -> String {
        let rows = match self.count {
            1 => "1 row does".to_owned(),
            count => format!("{} rows do", grouped(count)),
        };
        let mut what = format!(
            "{rows} not match `{kind}`, and nothing is sent of {}",
            file.display()
        );
        for (line, problem) in &self.told {
            what.push_str(&format!("\n  line {line:<8} {problem}"));
        }
        let more = self.count - self.told.len() as u64;
        if more > 0 {
            what.push_str(&format!("\n  and {} more", grouped(more)));
        }
        what
    }
}

/// How a row, if it is JSON, does not match.
fn misfit(row: &Row, check: &Check) -> Option<String> {
    check.misfit(&row.payload.as_ref().ok()?.bytes)
}

/// Rows as they are read, of which those that do not match are rejected.
pub(super) struct Checked {
    pub(super) form: Box<dyn Form + Send>,
    pub(super) check: Check,
}

impl Form for Checked {
    fn next(&mut self, reader: &mut dyn BufRead) -> io::Result<Option<Taken>> {
        let mut taken = self.form.next(reader)?;
        let row = taken.as_mut().and_then(|taken| taken.row.as_mut());
        if let Some(row) = row
            && let Some(problem) = misfit(row, &self.check)
            && let Ok(payload) = &row.payload
        {
            row.payload = Err(Rejected {
                reason: format!("it does not match the schema: {problem}"),
                bytes: payload.bytes.to_vec(),
            });
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submit::ndjson::Lines;

    fn check() -> Check {
        let schema = r#"{"required": ["a"]}"#;
        Check::new(&schema.parse().unwrap()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_row_that_does_not_match_is_rejected_and_the_others_are_as_they_were() {
        let mut text = &b"{\"a\": 1}\n{\"b\": 1}\n{\n"[..];
        let mut rows = Checked {
            form: Box::new(Lines::default()),
            check: check(),
        };

        let taken = std::iter::from_fn(|| rows.next(&mut text).unwrap());
        let rows: Vec<_> = taken.filter_map(|taken| taken.row).collect();

        assert_eq!(&rows[0].payload.as_ref().unwrap().bytes[..], b"{\"a\": 1}");
        let rejected = rows[1].payload.as_ref().unwrap_err();
        assert_eq!(
            rejected.reason,
            "it does not match the schema: missing properties 'a'"
        );
        assert_eq!(rejected.bytes, b"{\"b\": 1}");
        let no_json = &rows[2].payload.as_ref().unwrap_err().reason;
        assert!(no_json.starts_with("not valid JSON"), "{no_json}");
    }

    #[test]
    fn of_the_rows_of_a_file_the_first_are_told_with_their_lines() {
        let misfits = Misfits {
            count: 1_204,
            told: vec![(2, "x".to_owned()), (17, "y".to_owned())],
        };

        assert_eq!(
            misfits.text("a.b", Path::new("rows.ndjson")),
            "1,204 rows do not match `a.b`, and nothing is sent of rows.ndjson\n\
             \x20 line 2        x\n\
             \x20 line 17       y\n\
             \x20 and 1,202 more"
        );
    }
}
