//! `homing show`: all that is stored of one task.

use std::time::Duration;

use homing_protocol::{Report, Status, Timestamp, to_json};
use homing_store::{BatchRef, Store, TaskRecord};
use serde::Serialize;

use crate::clean::{for_terminal, one_line};
use crate::dead::{RepairJson, repair_text};
use crate::exit::Exit;
use crate::named::TaskName;
use crate::output::{Form, Output};
use crate::record_line::{RecordLine, Said};
use crate::settings::Settings;
use crate::time::{full, local, span};
use crate::trouble::Trouble;

const EXAMPLES: &str = "\
Exit status: 0 it is stored, whatever its status; 5 nothing is stored of it.

Examples:
  homing show 01a1fc18-d03d-73e9-8668-5257bdd640fb
  homing show 01a1fc18-d03d-7
  homing show --json 01a1fc18-d03d-73e9-8668-5257bdd640fb | jq .attempts";

/// Show one task: status, attempts, output
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShowArgs {
    /// The task's id, or the first 8 or more digits of it
    id: TaskName,
}

/// A task as one JSON object.
#[derive(Serialize)]
struct TaskJson {
    #[serde(flatten)]
    newest: RecordLine,
    batch_label: Option<String>,
    attempts: Vec<PastJson>,
    earlier_runs: Vec<RecordLine>,
    conflicts: Vec<PastJson>,
    replays: Vec<ReplayJson>,
}

/// A run that somebody began by hand.
#[derive(Serialize)]
struct ReplayJson {
    run: u32,
    kind: String,
    queue: String,
    dead_letter: Option<u64>,
    confirmed_at: Option<String>,
    #[serde(flatten)]
    repair: RepairJson,
}

#[derive(Serialize)]
struct PastJson {
    stored_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    late: Option<bool>,
    #[serde(flatten)]
    said: Said,
}

pub(crate) async fn run(args: ShowArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.open_store().await?;
    let id = args.id.find(&store).await?;
    let found = store.task(id).await;
    let Some(task) = found.map_err(|error| Trouble::store(&error))? else {
        return Err(
            Trouble::new(Exit::NotFound, format!("nothing is stored of task {id}"))
                .from("it is on its way, or was never submitted, or goes to another store")
                .fix(format!(
                    "homing wait {id}; homing queues shows what is on its way"
                )),
        );
    };
    let label = batch_label(&store, &task.record.report).await?;

    let output = Output::new(settings);
    if output.form() == Form::Json {
        output.json(&as_json(&task, label))?;
        return Ok(Exit::Done);
    }
    let people = output.form() != Form::Plain;
    for (name, value) in fields(&task, label.as_deref(), people) {
        let line = if people {
            for_terminal(&format!("{name:<11} {value}"))
        } else {
            format!("{name}\t{}", crate::clean::for_column(&value))
        };
        output.text(&line)?;
    }
    Ok(Exit::Done)
}

async fn batch_label(store: &Store, report: &Report) -> Result<Option<String>, Trouble> {
    let Some(id) = report.batch else {
        return Ok(None);
    };
    let batch = store.batch(&BatchRef::Id(id)).await;
    let batch = batch.map_err(|error| Trouble::store(&error))?;
    Ok(batch
        .map(|batch| batch.label)
        .filter(|label| !label.is_empty()))
}

fn as_json(task: &TaskRecord, batch_label: Option<String>) -> TaskJson {
    TaskJson {
        newest: RecordLine::stored(&task.record),
        batch_label,
        attempts: task
            .attempts
            .iter()
            .map(|attempt| PastJson {
                stored_at: full(attempt.stored_at),
                late: Some(attempt.late),
                said: Said::new(&attempt.report),
            })
            .collect(),
        earlier_runs: task.earlier.iter().map(RecordLine::stored).collect(),
        conflicts: task
            .conflicts
            .iter()
            .map(|conflict| PastJson {
                stored_at: full(conflict.stored_at),
                late: None,
                said: Said::new(&conflict.report),
            })
            .collect(),
        replays: task
            .replays
            .iter()
            .map(|replay| ReplayJson {
                run: replay.run.get(),
                kind: replay.kind.clone(),
                queue: replay.queue.clone(),
                dead_letter: replay.dead,
                confirmed_at: replay.confirmed_at.map(full),
                repair: RepairJson::new(&replay.repair),
            })
            .collect(),
    }
}

type Field = (&'static str, String);

fn fields(task: &TaskRecord, label: Option<&str>, people: bool) -> Vec<Field> {
    let at = if people { local } else { full };
    let report = &task.record.report;
    let mut fields: Vec<Field> = vec![
        ("task", report.task.to_string()),
        ("status", report.status.to_string()),
        ("kind", report.kind.clone()),
        ("queue", report.queue.clone()),
    ];
    if report.run.get() > 1 {
        fields.push(("run", report.run.to_string()));
    }
    if let (Some(batch), row) = (report.batch, report.row.unwrap_or(0)) {
        let label = label.map_or_else(String::new, |label| format!(" {label}"));
        fields.push(("batch", format!("{batch}{label}, row {row}")));
    }
    if let Some(id) = &report.correlation_id {
        fields.push(("correlation", id.clone()));
    }
    fields.push(("submitted", at(report.submitted_at)));
    let (stored, position) = (at(task.record.stored_at), task.record.position);
    fields.push(("stored", format!("{stored}  position {position}")));
    fields.extend(contents(report));
    if task.record.removed {
        fields.push((
            "content",
            "removed by age (homing collector --keep)".to_owned(),
        ));
    }
    fields.extend(history(task, at));
    if report.status.is_problem() && !task.record.removed {
        fields.push(("again", format!("homing replay {}", report.task)));
    }
    fields
}

/// Payload, output, and why there is none.
fn contents(report: &Report) -> Vec<Field> {
    let json = |bytes: &Option<bytes::Bytes>| {
        let text = to_json(bytes.as_ref()?, report.content_type);
        Some(text.map_or_else(
            || "bytes that are not valid".to_owned(),
            |text| one_line(&text),
        ))
    };
    let parts = [
        ("payload", json(&report.payload)),
        ("output", json(&report.output)),
        ("reason", report.reason.map(|reason| reason.to_string())),
        ("error", report.error.clone()),
        ("retry", report.retry_at.map(full)),
    ];
    let parts = parts.into_iter();
    parts
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

fn history(task: &TaskRecord, at: fn(Timestamp) -> String) -> Vec<Field> {
    let mut fields = Vec::new();
    for attempt in &task.attempts {
        let late = if attempt.late {
            "  (came too late)"
        } else {
            ""
        };
        fields.push(("attempt", attempt_text(&attempt.report, at) + late));
    }
    // What succeeded is not among the attempts that are kept.
    if task.record.report.status == Status::Succeeded {
        fields.push(("attempt", attempt_text(&task.record.report, at)));
    }
    for earlier in &task.earlier {
        let (run, status) = (earlier.report.run, earlier.report.status);
        let stored = at(earlier.stored_at);
        fields.push(("earlier run", format!("{run}  {status}  stored {stored}")));
    }
    for replay in &task.replays {
        let (run, queue) = (replay.run, &replay.queue);
        let repair = repair_text(&replay.repair, at);
        let perhaps = if run > task.record.report.run {
            "  (perhaps not queued: the same command goes on with it)"
        } else {
            ""
        };
        fields.push((
            "replay",
            format!("run {run}  to {queue}  {repair}{perhaps}"),
        ));
    }
    for conflict in &task.conflicts {
        let (status, stored) = (conflict.report.status, at(conflict.stored_at));
        fields.push((
            "conflict",
            format!("{status}  stored {stored}: the same id with another payload"),
        ));
    }
    fields
}

fn attempt_text(report: &Report, at: fn(Timestamp) -> String) -> String {
    let (number, began) = (report.attempt, at(report.started_at));
    let waited = span(Duration::from_millis(report.waited_ms));
    let ran = span(Duration::from_micros(report.run_us));
    let (status, worker) = (report.status, &report.worker);
    let error = report.error.as_deref().unwrap_or_default();
    format!("{number}  {began}  {status}  waited {waited}  ran {ran}  worker {worker}  {error}")
        .trim_end()
        .to_owned()
}
