//! `homing schema`: what the payloads of a kind are to match, as its worker says.

mod check;
mod watch;

pub(crate) use self::check::{Check, STACK_BYTES};
pub(crate) use self::watch::{CHECK_TIME_MAX, Turns, Watch, in_time};

use std::fs::File;
use std::io::Read;
use std::path::Path;

use homing_protocol::limit::SCHEMA_BYTES_MAX;
use homing_protocol::{KindRecord, Schema, TaskKind};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::clean::{for_terminal, one_line};
use crate::exit::Exit;
use crate::output::{Form, Line, Output, Talk};
use crate::settings::Settings;
use crate::table::{Cell, Column, Fit};
use crate::time::{full, local};
use crate::trouble::Trouble;

const EXAMPLES: &str = "\
A worker says what the payloads of its kinds are to match, as JSON Schema, when
it starts; `homing submit` checks what it is given before it sends it. Nothing
of what the schema refers to outside of itself is fetched.

Examples:
  homing schema
  homing schema image.resize
  homing schema image.resize > resize.json
  homing submit image.resize --rows images.ndjson --schema resize.json";

/// Print the JSON Schema of a kind, or list the kinds with one
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SchemaArgs {
    /// The kind; without one, all that have a schema
    kind: Option<TaskKind>,
}

#[derive(Debug, Serialize)]
struct KindLine {
    kind: String,
    declared_at: String,
    /// As it was declared.
    schema: Option<Box<RawValue>>,
    #[serde(skip)]
    shown_at: String,
    #[serde(skip)]
    title: String,
}

impl KindLine {
    fn new(record: &KindRecord) -> Self {
        let schema = record.schema.as_str();
        let value: Value = serde_json::from_str(schema).unwrap_or_default();
        let said = [&value["title"], &value["description"]];
        let title = said.into_iter().find_map(Value::as_str);
        Self {
            kind: record.kind.to_string(),
            declared_at: full(record.at),
            schema: RawValue::from_string(one_line(schema)).ok(),
            shown_at: local(record.at),
            title: title.unwrap_or_default().to_owned(),
        }
    }
}

impl Line for KindLine {
    const COLUMNS: &'static [Column] = &[
        ("KIND", Fit::Left),
        ("DECLARED", Fit::Left),
        ("TITLE", Fit::Free),
    ];

    fn cells(&self) -> Vec<Cell> {
        vec![
            Cell::text(&self.kind),
            Cell::either(&self.shown_at, &self.declared_at),
            Cell::text(&self.title),
        ]
    }
}

pub(crate) async fn run(args: SchemaArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.open_store().await?;
    let told = |error| Trouble::store(&error);
    let mut output = Output::new(settings);
    let Some(kind) = args.kind else {
        let records = store.kinds().await.map_err(told)?;
        let lines: Vec<_> = records.iter().map(KindLine::new).collect();
        if lines.is_empty() {
            Talk::new(settings).say("no worker has said what its payloads are to match");
        }
        output.lines(&lines)?;
        return Ok(Exit::Done);
    };
    let record = store.kind(&kind).await.map_err(told)?;
    let Some(record) = record else {
        let what = format!("no worker of kind `{kind}` has said what its payloads are to match");
        return Err(Trouble::new(Exit::NotFound, what)
            .fix("`homing schema` lists the kinds; a worker says so when it starts, and a collector stores it"));
    };
    match output.form() {
        Form::Json => output.lines(&[KindLine::new(&record)])?,
        form => output.text(&pretty(&record.schema, form))?,
    }
    Ok(Exit::Done)
}

/// With its lines and indents; whole, and for a terminal without what moves its
/// cursor.
fn pretty(schema: &Schema, form: Form) -> String {
    let value = serde_json::from_str::<Value>(schema.as_str());
    let text = value.and_then(|value| serde_json::to_string_pretty(&value));
    let text = text.unwrap_or_else(|_| schema.as_str().to_owned());
    match form {
        Form::Terminal { .. } => text
            .lines()
            .map(for_terminal)
            .collect::<Vec<_>>()
            .join("\n"),
        Form::Json | Form::Plain => text,
    }
}

/// The schema in a file that a flag names.
///
/// # Errors
///
/// [`Trouble`]: it cannot be read, or nothing can be checked by it.
pub(crate) fn read(path: &Path, flag: &str) -> Result<(Schema, Check), Trouble> {
    let shown = path.display().to_string();
    let mut text = String::new();
    // One byte more than it may have, so that it shows that it has more.
    let taken = File::open(path).and_then(|file| {
        let bytes_max = 2 * SCHEMA_BYTES_MAX as u64;
        file.take(bytes_max).read_to_string(&mut text)
    });
    taken.map_err(|error| Trouble::file("read", &shown, &error))?;
    let schema = text.parse::<Schema>();
    let ready = schema
        .map_err(|error| error.to_string())
        .and_then(|schema| {
            let check = Check::new(&schema)?;
            Ok((schema, check))
        });
    ready.map_err(|problem| {
        Trouble::new(
            Exit::Usage,
            format!("{shown} is no JSON Schema to check by: {problem}"),
        )
        .from(flag)
        .fix("give one JSON object that says all by itself, of at most 64 KiB")
    })
}
