//! What becomes of an entry that the store refuses, when it takes others: a dead
//! letter in the same store, so that it is kept, shown and blocks nothing.

use homing_protocol::{
    BatchRecord, DeadLetter, Destination, KindRecord, Message, Properties, Reason, Received,
    Report, Status, encode_reports,
};
use homing_store::Entry;

/// The queue that reports and records come from.
const QUEUE: &str = "results";

/// The dead letters that may stand for `entry`, the best first: one that says of
/// its task that it is dead, and one that says nothing of any task, for the
/// store may refuse whatever is about that one.
pub(crate) fn letters(entry: &Entry, detail: &str) -> Vec<Entry> {
    let letter = match entry {
        Entry::Report(report) => of_report(report, detail),
        Entry::Batch(record) => of_batch(record, detail),
        Entry::Kind(record) => Some(of_kind(record, detail)),
        Entry::Dead(letter) => Some(letter.clone()),
    };
    let Some(letter) = letter else {
        return Vec::new();
    };
    let alone = DeadLetter {
        reports: Vec::new(),
        ..letter.clone()
    };
    [letter, alone].map(Entry::Dead).into()
}

fn of_report(report: &Report, detail: &str) -> Option<DeadLetter> {
    // The same for the same report, so that it is kept once.
    let attempt = report.attempt_id.map(|id| id.to_string());
    let id = format!(
        "refused {} {} {}",
        report.task,
        report.run,
        attempt.unwrap_or_default()
    );
    let to = Destination::Results { key: 0 };
    let at = report.started_at;
    let message = encode_reports(std::slice::from_ref(report), to, id, at).ok()?;
    let mut dead = report.clone();
    dead.status = Status::Dead;
    dead.reason = Some(Reason::Rejected);
    dead.error = Some(format!("the store refuses its outcome: {detail}"));
    dead.attempt_id = None;
    (dead.output, dead.error_data) = (None, None);
    // Another attempt follows that one: its task is not dead.
    let follows = report.status == Status::Retrying;
    Some(DeadLetter {
        reports: if follows { Vec::new() } else { vec![dead] },
        ..letter(message, detail)
    })
}

fn of_batch(record: &BatchRecord, detail: &str) -> Option<DeadLetter> {
    let id = format!("refused {} {}", record.batch, record.at);
    let message = record.to_message(id).ok()?;
    Some(letter(message, detail))
}

fn of_kind(record: &KindRecord, detail: &str) -> DeadLetter {
    let id = format!("refused {} {}", record.kind, record.at);
    letter(record.to_message(0, id), detail)
}

fn letter(message: Message, detail: &str) -> DeadLetter {
    let properties: Properties = message.properties;
    DeadLetter {
        reason: Reason::Rejected,
        detail: format!("the store refuses it: {detail}"),
        queue: QUEUE.to_owned(),
        reports: Vec::new(),
        received: Received {
            properties,
            body: message.body,
            exchange: QUEUE.to_owned(),
            routing_key: String::new(),
            redelivered: false,
            delivery_count: 0,
            deaths: Vec::new(),
        },
    }
}

/// What an entry is about, for the log.
pub(crate) fn subject(entry: &Entry) -> String {
    match entry {
        Entry::Report(report) => format!("a report of task {}", report.task),
        Entry::Batch(record) => format!("a record of batch {}", record.batch),
        Entry::Kind(record) => format!("the schema of kind {}", record.kind),
        Entry::Dead(letter) => format!("a dead letter from {}", letter.queue),
    }
}

#[cfg(test)]
mod tests {
    use homing_protocol::{Digest, Run, TaskId};
    use uuid::Uuid;

    use super::*;

    fn reports(status: Status) -> Vec<Status> {
        let (task, kind) = (TaskId::from(Uuid::nil()), "demo.echo".to_owned());
        let report = Report::bare(task, Run::FIRST, kind, status, Digest::of(b""));
        let letters = letters(&Entry::Report(report), "no");
        let Some(Entry::Dead(letter)) = letters.into_iter().next() else {
            panic!("it is a dead letter");
        };
        letter.reports.iter().map(|report| report.status).collect()
    }

    #[test]
    fn a_task_whose_outcome_is_refused_is_dead_and_one_that_goes_on_is_not() {
        assert_eq!(reports(Status::Failed), [Status::Dead]);
        assert_eq!(reports(Status::Retrying), []);
    }
}
