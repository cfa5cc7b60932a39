//! What the person is told of a batch: while it is submitted, and at its end.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use homing_protocol::QueueName;
use serde::Serialize;

use super::journal::Head;
use super::rejects::Rejects;
use super::{Many, SubmitArgs};
use crate::output::{Form, Output, Talk};
use crate::settings::Settings;
use crate::time::{grouped, span};
use crate::trouble::Trouble;
use crate::which::quoted;

/// What became of the rows of one run.
pub(super) struct Counts {
    /// Rows that this run submitted.
    pub(super) confirmed: u64,
    /// Rows that were confirmed or stored before.
    pub(super) left_out: u64,
    /// Rows of which it is not known.
    pub(super) unconfirmed: u64,
    pub(super) rejected: u64,
    /// Tasks of the batch, by their ids.
    pub(super) total: u64,
    pub(super) took: Duration,
}

impl Counts {
    /// Of a run that submitted nothing to a batch of `total` tasks.
    pub(super) const fn none(total: u64) -> Self {
        Self {
            confirmed: 0,
            left_out: 0,
            unconfirmed: 0,
            rejected: 0,
            total,
            took: Duration::ZERO,
        }
    }
}

/// The same for programs.
#[derive(Serialize)]
struct BatchJson<'a> {
    batch: String,
    label: &'a str,
    kind: &'a str,
    sealed: bool,
    submitted: u64,
    left_out: u64,
    unconfirmed: u64,
    rejected: u64,
    total: u64,
}

/// Says how a batch ended.
pub(super) struct Report<'a> {
    args: &'a SubmitArgs,
    file: &'a Path,
    head: Head,
    talk: Talk,
    output: Output,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        args: &'a SubmitArgs,
        file: &'a Path,
        head: Head,
        settings: &Settings,
    ) -> Self {
        Self {
            args,
            file,
            head,
            talk: Talk::new(settings),
            output: Output::new(settings),
        }
    }

    /// All rows are confirmed, rejected or left out, and the batch is sealed.
    pub(super) fn done(&self, counts: &Counts, rejects: &Rejects) -> Result<(), Trouble> {
        let Head { batch, kind, label } = &self.head;
        let (submitted, took) = (counted(counts.confirmed, "task"), span(counts.took));
        let rate = grouped((counts.confirmed as f64 / counts.took.as_secs_f64().max(0.001)) as u64);
        self.talk.say(format!(
            "submitted {submitted} of kind {kind} as batch {label} in {took}, {rate}/s; all confirmed"
        ));
        self.say_left_out(counts);
        self.say_rejected(rejects);
        if !self.args.waiting.wait {
            self.talk
                .say(format!("next      homing wait --batch {batch}"));
        }
        if counts.rejected > 0 {
            let again = self.again();
            self.talk
                .say(format!("          after correcting the rows: {again}"));
        }
        self.answer(counts, true)
    }

    /// It was ended by Ctrl-C or SIGTERM.
    pub(super) fn interrupted(&self, counts: &Counts) -> Result<(), Trouble> {
        self.say_open("stopped", counts);
        self.answer(counts, false)
    }

    /// It was ended by an error, which is told after this.
    pub(super) fn failed(&self, counts: &Counts) {
        self.say_open("ended by an error", counts);
    }

    fn say_open(&self, why: &str, counts: &Counts) {
        let label = &self.head.label;
        let submitted = counted(counts.confirmed, "more row");
        let unconfirmed = counted(counts.unconfirmed, "row");
        self.talk.say(format!(
            "{why}: {submitted} of batch {label} confirmed; {unconfirmed} may be queued or not"
        ));
        self.say_left_out(counts);
        self.talk.say(format!("next      {}", self.again()));
    }

    fn say_left_out(&self, counts: &Counts) {
        if counts.left_out > 0 {
            let left_out = grouped(counts.left_out);
            self.talk
                .say(format!("left out {left_out} that were confirmed before"));
        }
    }

    fn say_rejected(&self, rejects: &Rejects) {
        let count = rejects.count();
        if count == 0 {
            return;
        }
        let (rows, path) = (counted(count, "row"), rejects.path().display());
        self.talk
            .say(format!("rejected  {rows}; see {path} for line and reason"));
        for (line, reason) in rejects.told() {
            let reason = crate::clean::for_terminal(reason);
            self.talk.say(format!("  line {line:<8} {reason}"));
        }
        let more = count - rejects.told().len() as u64;
        if more > 0 {
            self.talk.say(format!("  and {} more", grouped(more)));
        }
    }

    /// The command that goes on with this batch.
    fn again(&self) -> String {
        let Head { batch, kind, .. } = &self.head;
        let mut words = format!("homing submit {kind} --rows {}", shown(self.file));
        let Many {
            format,
            columns,
            limit,
            rate,
            journal,
            rejects,
            ..
        } = &self.args.many;
        if let Some(format) = format.as_ref().and_then(ValueEnum::to_possible_value) {
            words.push_str(&format!(" --format {}", format.get_name()));
        }
        for column in columns {
            words.push_str(&format!(" --column {}", quoted(&column.to_string())));
        }
        if let Some(limit) = limit {
            words.push_str(&format!(" --limit {limit}"));
        }
        if let Some(rate) = rate {
            words.push_str(&format!(" --rate {rate}"));
        }
        for (flag, path) in [("journal", journal), ("rejects", rejects)] {
            if let Some(path) = path {
                words.push_str(&format!(" --{flag} {}", shown(path)));
            }
        }
        let checking = &self.args.checking;
        if checking.unchecked {
            words.push_str(" --unchecked");
        }
        if let Some(path) = &checking.schema {
            words.push_str(&format!(" --schema {}", shown(path)));
        }
        let each = &self.args.each;
        for (flag, time) in [("delay", each.delay), ("expires", each.expires)] {
            if let Some(time) = time {
                words.push_str(&format!(" --{flag} {}ms", time.as_millis()));
            }
        }
        if each.priority > 0 {
            words.push_str(&format!(" --priority {}", each.priority));
        }
        if each.queue != QueueName::tasks() {
            words.push_str(&format!(" --queue {}", each.queue));
        }
        format!("{words} --resume {batch}")
    }

    fn answer(&self, counts: &Counts, sealed: bool) -> Result<(), Trouble> {
        let Head { batch, kind, label } = &self.head;
        if self.output.form() == Form::Json {
            return self.output.json(&BatchJson {
                batch: batch.to_string(),
                label,
                kind: kind.as_str(),
                sealed,
                submitted: counts.confirmed,
                left_out: counts.left_out,
                unconfirmed: counts.unconfirmed,
                rejected: counts.rejected,
                total: counts.total,
            });
        }
        // With --wait the batch's counts are the answer, and name it too.
        if sealed && self.args.waiting.wait {
            return Ok(());
        }
        self.output.text(&batch.to_string())
    }
}

/// `1 row`, `71,204 rows`.
fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}

fn shown(path: &Path) -> String {
    quoted(&path.display().to_string())
}
