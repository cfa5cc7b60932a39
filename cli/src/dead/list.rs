//! `homing dead list`.

use homing_protocol::{Reason, TaskId};
use homing_store::DeadRecord;
use serde::Serialize;

use super::WhichDead;
use crate::exit::Exit;
use crate::output::{Line, Output, Talk};
use crate::settings::Settings;
use crate::table::{Cell, Column, Fit};
use crate::time::{full, grouped, short};
use crate::trouble::Trouble;
use crate::which::now;

const EXAMPLES: &str = "\
DEATH counts the deaths of one task: 2 is one that was run again and died again.

Examples:
  homing dead list --reason crash-loop --since 1d
  homing dead list --json | jq -r .number";

/// List dead letters, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ListArgs {
    /// At most N
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: u32,

    /// Those that were discarded as well
    #[arg(long)]
    discarded: bool,

    #[command(flatten)]
    which: WhichDead,
}

/// A dead letter as one line.
#[derive(Debug, Serialize)]
pub(super) struct DeadLine {
    number: u64,
    stored_at: String,
    reason: Reason,
    detail: String,
    queue: String,
    kind: Option<String>,
    task: Option<TaskId>,
    tasks: u64,
    death: u64,
    bytes: u64,
    discarded: bool,
    #[serde(skip)]
    shown_at: String,
}

impl DeadLine {
    pub(super) fn new(record: &DeadRecord) -> Self {
        Self {
            number: record.number,
            stored_at: full(record.stored_at),
            reason: record.reason,
            detail: record.detail.clone(),
            queue: record.queue.clone(),
            kind: record.kind.clone(),
            task: record.task,
            tasks: record.tasks,
            death: record.death,
            bytes: record.bytes,
            discarded: record.discarded,
            shown_at: short(record.stored_at, now()),
        }
    }
}

impl Line for DeadLine {
    const COLUMNS: &'static [Column] = &[
        ("NUMBER", Fit::Right),
        ("STORED", Fit::Left),
        ("REASON", Fit::Left),
        ("DEATH", Fit::Right),
        ("KIND", Fit::Left),
        ("TASK", Fit::Left),
        ("DETAIL", Fit::Free),
    ];

    fn cells(&self) -> Vec<Cell> {
        let detail = match (self.discarded, self.tasks) {
            (true, _) => format!("discarded; {}", self.detail),
            (false, 0 | 1) => self.detail.clone(),
            (false, tasks) => format!("{} tasks; {}", grouped(tasks), self.detail),
        };
        let known = |text: Option<String>| Cell::text(text.unwrap_or_else(|| "-".to_owned()));
        vec![
            Cell::text(self.number.to_string()),
            Cell::either(&self.shown_at, &self.stored_at),
            Cell::text(self.reason.as_str()),
            known((self.death > 0).then(|| self.death.to_string())),
            known(self.kind.clone()),
            known(self.task.map(|id| id.to_string())),
            Cell::text(detail),
        ]
    }
}

pub(super) async fn run(args: ListArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let store = settings.open_store().await?;
    let mut filter = args.which.filter();
    filter.discarded = args.discarded;

    let letters = store.dead_matching(&filter, args.limit).await;
    let letters = letters.map_err(|error| Trouble::store(&error))?;

    let lines: Vec<_> = letters.iter().map(DeadLine::new).collect();
    Output::new(settings).lines(&lines)?;
    let talk = Talk::new(settings);
    if lines.is_empty() {
        talk.say("no dead letters");
    } else if u64::from(args.limit) == lines.len() as u64 {
        let shown = grouped(lines.len() as u64);
        talk.say(format!("the newest {shown}; for more: -n N"));
    }
    Ok(Exit::Done)
}
