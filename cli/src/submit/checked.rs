//! Rows before anything is sent: whether each is a payload, and matches the schema
//! of its kind, if that is known.
//!
//! | rows come from | one that is none, or does not match |
//! |---|---|
//! | the command line, `@FILE` | nothing is sent |
//! | a file | nothing is sent: all of it is gone through first |
//! | a file, with `--rejects` | it is rejected, and the others go on |
//! | a pipe, stdin | the same |

use std::io::{self, BufRead};
use std::path::Path;
use std::time::Duration;

use homing_protocol::{KindRecord, Payload};

use super::SubmitArgs;
use super::input::{Format, Input};
use super::rows::{Form, Rejected, Row, Taken};
use crate::bar::bar;
use crate::exit::Exit;
use crate::output::Talk;
use crate::schema::{self, CHECK_TIME_MAX, Check, in_time};
use crate::settings::Settings;
use crate::time::{grouped, local};
use crate::trouble::Trouble;
use crate::which::quoted;

/// How long the store may take: a producer needs none, and does without.
const STORE_TIME_MAX: Duration = Duration::from_secs(2);

/// Rows of a file that are told.
const TOLD_MAX: usize = 10;

const FIX: &str = "correct what does not match, or send it unchecked: --unchecked";

/// Of those that do not match.
const FIX_UNCHECKED: &str = "or send what does not match, too: --unchecked";

/// Of cells, which are text unless it is said.
const FIX_CSV: &str = "what is no text takes --column FIELD=COLUMN:number, :bool or :json";

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
    let Known { check, from } = known;
    let (turns, bytes) = (check.turns(), payload.bytes.clone());
    let look = || in_time(CHECK_TIME_MAX, turns, move || check.misfit(&bytes));
    let misfit = tokio::task::block_in_place(look);
    let misfit = misfit.map_err(|error| Trouble::file("check", "the payload", &error))?;
    let Some(problem) = misfit.ok_or_else(|| endless().from(from.clone()))? else {
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
    Err(Trouble::new(Exit::Usage, what).from(from).fix(fix))
}

/// What to say of a schema that takes too long to check by.
pub(super) fn endless() -> Trouble {
    let secs = CHECK_TIME_MAX.as_secs();
    Trouble::new(
        Exit::Usage,
        format!("a payload could not be checked in {secs} s: its schema has too many ways to go"),
    )
    .fix("simplify the schema, or send it unchecked: --unchecked")
}

/// Opens the rows in `file`, refused if one of a file that is there cannot be sent.
///
/// # Errors
///
/// [`Trouble`]: one cannot, or the file cannot be read or checked.
pub(super) async fn rows(
    args: &SubmitArgs,
    file: &Path,
    settings: &Settings,
) -> Result<Input, Trouble> {
    let mut input = Input::open(file, &args.many)?;
    let mut known = known(args, settings).await?;
    if input.is_file() && args.many.rejects.is_none() {
        let bar = bar("checking  {elapsed}  {msg}", Talk::new(settings));
        bar.set_message(file.display().to_string());
        let unsent;
        (input, known, unsent) = looked_through(input, known)?;
        bar.finish_and_clear();
        if unsent.count > 0 {
            return Err(refused(&unsent, args, file, (known, &input)));
        }
        // Once more as they are sent: the file may have grown since.
        input = input.again(file, &args.many)?;
    }
    Ok(match known {
        Some(known) => input.checked(known.check),
        None => input,
    })
}

fn refused(
    unsent: &Unsent,
    args: &SubmitArgs,
    file: &Path,
    (known, input): (Option<Known>, &Input),
) -> Trouble {
    let trouble = Trouble::new(Exit::Usage, unsent.text(args.kind.as_str(), file));
    let apart = quoted(&format!("{}.rejects", file.display()));
    let rows = format!("correct them; or send the others, and keep these apart: --rejects {apart}");
    let Some(known) = known.filter(|_| unsent.misfits > 0) else {
        return trouble.fix(rows);
    };
    let fix = match (input.format, &input.fields) {
        (Format::Ndjson, _) => format!("{rows}; {FIX_UNCHECKED}"),
        (Format::Csv, None) => format!("{rows}; {FIX_CSV}; {FIX_UNCHECKED}"),
        (Format::Csv, Some(fields)) => {
            let fields = crate::clean::for_terminal(fields);
            format!("each has the columns {fields}, as strings; {FIX_CSV}; {rows}; {FIX_UNCHECKED}")
        }
    };
    trouble.from(known.from).fix(fix)
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

/// The rows of a file that cannot be sent.
#[derive(Default)]
struct Unsent {
    count: u64,
    /// How many of them are JSON, but do not match.
    misfits: u64,
    /// The first of them: line and problem.
    told: Vec<(u64, String)>,
}

/// Goes through all of a file.
fn looked_through(
    mut input: Input,
    known: Option<Known>,
) -> Result<(Input, Option<Known>, Unsent), Trouble> {
    let turns = known.as_ref().map(|known| known.check.turns());
    let from = known.as_ref().map(|known| known.from.clone());
    let look = move || {
        let mut unsent = Unsent::default();
        let check = known.as_ref().map(|known| &known.check);
        input.each(|row| unsent.note(row, check))?;
        Ok((input, known, unsent))
    };
    let looked = || in_time(CHECK_TIME_MAX, turns.unwrap_or_default(), look);
    match tokio::task::block_in_place(looked) {
        Ok(Some(Ok(looked))) => Ok(looked),
        Ok(None) => Err(endless().from(from.unwrap_or_default())),
        Ok(Some(Err(error))) | Err(error) => Err(Trouble::file("read", "the rows", &error)),
    }
}

impl Unsent {
    fn note(&mut self, row: &Row, check: Option<&Check>) {
        let problem = match &row.payload {
            Err(rejected) => rejected.reason.clone(),
            Ok(_) => match check.and_then(|check| misfit(row, check)) {
                Some(problem) => {
                    self.misfits += 1;
                    problem
                }
                None => return,
            },
        };
        self.count += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push((row.line, problem));
        }
    }

    fn text(&self, kind: &str, file: &Path) -> String {
        let rows = match self.count {
            1 => "1 row is no payload".to_owned(),
            count => format!("{} rows are no payloads", grouped(count)),
        };
        let mut what = format!(
            "{rows} of `{kind}`, and nothing is sent of {}",
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
    fn rows_that_are_no_json_and_rows_that_do_not_match_are_told_alike_with_their_lines() {
        let mut text = &b"{\"a\": 1}\n{\"b\": 1}\n{\n"[..];
        let (mut lines, check, mut unsent) = (Lines::default(), check(), Unsent::default());
        let taken = std::iter::from_fn(|| lines.next(&mut text).unwrap());
        for row in taken.filter_map(|taken| taken.row) {
            unsent.note(&row, Some(&check));
        }

        assert_eq!((unsent.count, unsent.misfits), (2, 1));
        assert_eq!(
            unsent.text("a.b", Path::new("rows.ndjson")),
            "2 rows are no payloads of `a.b`, and nothing is sent of rows.ndjson\n\
             \x20 line 2        missing properties 'a'\n\
             \x20 line 3        not valid JSON: EOF while parsing an object at line 1 column 1"
        );
    }

    #[test]
    fn of_very_many_rows_the_first_are_told() {
        let unsent = Unsent {
            count: 1_204,
            misfits: 0,
            told: vec![(2, "x".to_owned())],
        };

        let text = unsent.text("a.b", Path::new("rows.ndjson"));

        assert!(
            text.ends_with("  line 2        x\n  and 1,203 more"),
            "{text}"
        );
    }
}
