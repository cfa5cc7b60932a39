//! `homing dead show`: all that is kept of one dead letter.

use std::io::{self, Write};

use homing_protocol::{ContentType, TaskId, to_json};
use homing_store::{DeadLetterRecord, RepairRecord, Store};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::list::DeadLine;
use super::not_found;
use crate::clean::{for_column, for_terminal, one_line};
use crate::exit::Exit;
use crate::output::{Form, Output};
use crate::settings::Settings;
use crate::time::{full, grouped, local};
use crate::trouble::Trouble;

const EXAMPLES: &str = "\
Examples:
  homing dead show 17
  homing dead show 17 --raw > body
  homing dead show 17 --json | jq .payload";

/// Bytes of a body that is no payload that are shown.
const SHOWN_BYTES_MAX: usize = 64;

/// Show one dead letter: reason, origin, tasks, content
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ShowArgs {
    /// Its number
    number: u64,

    /// Its body alone, byte for byte
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// A dead letter as one JSON object.
#[derive(Serialize)]
struct LetterJson {
    #[serde(flatten)]
    line: DeadLine,
    exchange: String,
    routing_key: String,
    deaths: Value,
    properties: Value,
    headers: Value,
    payload: Option<Box<RawValue>>,
    /// Hexadecimal.
    body: String,
    task_runs: Vec<TaskJson>,
    discarded_by: Option<RepairJson>,
}

/// A task in it.
#[derive(Serialize)]
struct TaskJson {
    id: TaskId,
    run: u32,
    newest_run: Option<u32>,
    status: Option<homing_protocol::Status>,
}

/// Who did something about it.
#[derive(Serialize)]
pub(crate) struct RepairJson {
    at: String,
    who: String,
    asked: String,
    why: String,
}

impl RepairJson {
    pub(crate) fn new(repair: &RepairRecord) -> Self {
        Self {
            at: full(repair.at),
            who: repair.note.who.clone(),
            asked: repair.note.asked.clone(),
            why: repair.note.why.clone(),
        }
    }
}

pub(super) async fn run(args: ShowArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.open_store().await?;
    let letter = store.dead_letter(args.number).await;
    let letter = letter
        .map_err(|error| Trouble::store(&error))?
        .ok_or_else(|| not_found(args.number))?;
    if args.raw {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&letter.body).and_then(|()| stdout.flush());
        written.map_err(|error| Trouble::stdout(&error))?;
        return Ok(Exit::Done);
    }
    let tasks = tasks(&letter, &store).await?;
    let output = Output::new(settings);
    if output.form() == Form::Json {
        output.json(&as_json(&letter, tasks))?;
        return Ok(Exit::Done);
    }
    let people = output.form() != Form::Plain;
    for (name, value) in fields(&letter, &tasks, people) {
        let line = match people {
            true => for_terminal(&format!("{name:<11} {value}")),
            false => format!("{name}\t{}", for_column(&value)),
        };
        output.text(&line)?;
    }
    Ok(Exit::Done)
}

async fn tasks(letter: &DeadLetterRecord, store: &Store) -> Result<Vec<TaskJson>, Trouble> {
    let mut tasks = Vec::with_capacity(letter.tasks.len());
    for (id, run) in &letter.tasks {
        let newest = store.record(*id).await;
        let newest = newest.map_err(|error| Trouble::store(&error))?;
        tasks.push(TaskJson {
            id: *id,
            run: run.get(),
            newest_run: newest.as_ref().map(|newest| newest.report.run.get()),
            status: newest.map(|newest| newest.report.status),
        });
    }
    Ok(tasks)
}

fn as_json(letter: &DeadLetterRecord, task_runs: Vec<TaskJson>) -> LetterJson {
    let json = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    let payload = payload(letter).and_then(|text| RawValue::from_string(one_line(&text)).ok());
    LetterJson {
        line: DeadLine::new(&letter.record),
        exchange: letter.exchange.clone(),
        routing_key: letter.routing_key.clone(),
        deaths: json(&letter.deaths),
        properties: json(&letter.properties),
        headers: json(&letter.headers),
        payload,
        body: hex(&letter.body),
        task_runs,
        discarded_by: letter.discarded.as_ref().map(RepairJson::new),
    }
}

/// The body as JSON, if it is what its content type says.
fn payload(letter: &DeadLetterRecord) -> Option<String> {
    let properties: Value = serde_json::from_str(&letter.properties).ok()?;
    let said = properties["content_type"].as_str();
    // A bundle's has a name of its own.
    let content_type = match said {
        Some(said) if said.ends_with("+msgpack") => ContentType::MessagePack,
        said => ContentType::parse(said).ok()?,
    };
    to_json(&letter.body, content_type)
}

type Field = (&'static str, String);

fn fields(letter: &DeadLetterRecord, tasks: &[TaskJson], people: bool) -> Vec<Field> {
    let at = if people { local } else { full };
    let record = &letter.record;
    let mut fields: Vec<Field> = vec![
        ("dead letter", record.number.to_string()),
        ("stored", at(record.stored_at)),
        ("reason", record.reason.to_string()),
        ("detail", record.detail.clone()),
        ("kind", record.kind.clone().unwrap_or_default()),
        ("queue", record.queue.clone()),
        ("exchange", letter.exchange.clone()),
        ("routing key", letter.routing_key.clone()),
    ];
    fields.extend(said("death", &letter.deaths));
    fields.extend(said("property", &letter.properties));
    fields.extend(said("header", &letter.headers));
    if record.death > 1 {
        let death = record.death;
        fields.push(("death", format!("number {death} of this task")));
    }
    for task in tasks {
        let TaskJson { id, run, .. } = task;
        let now = match (task.newest_run, task.status) {
            (Some(newest), Some(status)) if newest == *run => format!("{status}"),
            (Some(newest), Some(status)) => format!("now run {newest}, {status}"),
            _ => "not stored".to_owned(),
        };
        fields.push(("task", format!("{id}  run {run}  {now}")));
    }
    match &letter.discarded {
        Some(repair) => fields.push(("discarded", repair_text(repair, at))),
        None => {
            fields.push(content(letter));
            fields.push(("again", format!("homing replay {}", record.number)));
        }
    }
    fields.retain(|(_, value)| !value.is_empty());
    fields
}

/// A repair in words.
pub(crate) fn repair_text(
    repair: &RepairRecord,
    at: fn(homing_protocol::Timestamp) -> String,
) -> String {
    let note = &repair.note;
    let why = match note.why.is_empty() {
        true => String::new(),
        false => format!("  ({})", note.why),
    };
    format!("{} by {}: {}{why}", at(repair.at), note.who, note.asked)
}

fn content(letter: &DeadLetterRecord) -> Field {
    if let Some(payload) = payload(letter) {
        return ("payload", one_line(&payload));
    }
    let (body, bytes) = (&letter.body, grouped(letter.body.len() as u64));
    let shown = &body[..body.len().min(SHOWN_BYTES_MAX)];
    let more = if shown.len() < body.len() { " ..." } else { "" };
    (
        "body",
        format!("{bytes} bytes, no payload: {}{more}", hex(shown)),
    )
}

/// One field for each entry of a JSON array or object that says something.
fn said(name: &'static str, json: &str) -> Vec<Field> {
    match serde_json::from_str(json) {
        Ok(Value::Object(fields)) => fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (name, format!("{key} {}", bare(&value))))
            .collect(),
        Ok(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::Array(pair) if pair.len() == 2 => {
                    let key = pair[0].as_str().unwrap_or_default();
                    (name, format!("{key} {}", bare(&pair[1])))
                }
                other => (name, other.to_string()),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// A text without its quotes, anything else as JSON.
fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
