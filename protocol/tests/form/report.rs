use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{ContentType, Destination, Reason, Report, Status, encode_reports};

use super::task::{bundle, envelope};
use super::{ATTEMPT, Form, MESSAGE, Meaning, NOW, id};

/// A report on the first attempt at a task.
fn attempted(status: Status, content_type: ContentType) -> Report {
    let started_at = NOW.after(Duration::from_millis(12));
    let mut report = Report::new(&envelope(content_type), status, "tasks", started_at);
    (report.attempt, report.attempts_max) = (1, 5);
    report.attempt_id = Some(id(ATTEMPT));
    report.run_us = 1_500;
    report.worker = "host-a/4711".to_owned();
    report
}

fn succeeded(content_type: ContentType) -> Report {
    let mut report = attempted(Status::Succeeded, content_type);
    let output = content_type.encode("output", "cat-640.png").expect("text");
    report.output = Some(output.into());
    report
}

fn unsuccessful(status: Status, error: &str) -> Report {
    let mut report = attempted(status, ContentType::MessagePack);
    report.error = Some(error.to_owned());
    report
}

fn failed() -> Report {
    let mut report = unsuccessful(Status::Failed, "the image has no pixels");
    let error = ContentType::MessagePack
        .encode("error", "NoPixels")
        .expect("text");
    report.error_data = Some(Bytes::from(error));
    report
}

fn exhausted() -> Report {
    let mut report = unsuccessful(Status::Exhausted, "cannot read cat.png: timed out");
    report.attempt = 5;
    report
}

fn retrying() -> Report {
    let mut report = unsuccessful(Status::Retrying, "cannot read cat.png: timed out");
    report.retry_at = Some(NOW.after(Duration::from_secs(5)));
    report
}

fn parked(reason: Reason, error: &str) -> Report {
    let envelope = envelope(ContentType::MessagePack);
    let mut report = Report::new(&envelope, reason.status(), "tasks", NOW);
    report.reason = Some(reason);
    report.error = Some(error.to_owned());
    report
}

fn both() -> Vec<Report> {
    let rows = bundle();
    let report = |row: usize, status| {
        let mut report = Report::new(&rows[row], status, "tasks", NOW);
        (report.attempt, report.attempts_max) = (rows[row].attempt.get(), 5);
        report.attempt_id = Some(id(ATTEMPT));
        report.worker = "host-a/4711".to_owned();
        report
    };
    let (mut first, mut second) = (report(0, Status::Succeeded), report(1, Status::Failed));
    first.output = succeeded(ContentType::MessagePack).output;
    second.error = Some("the image has no pixels".to_owned());
    vec![first, second]
}

fn form(name: &'static str, about: &'static str, reports: Vec<Report>) -> Form {
    let to = Destination::Results { key: 42 };
    Form {
        name,
        about,
        message: Some(encode_reports(&reports, to, MESSAGE.to_owned(), NOW).expect("it fits")),
        deaths: Vec::new(),
        meaning: Meaning::Reports(reports),
    }
}

pub(super) fn forms() -> Vec<Form> {
    let msgpack = ContentType::MessagePack;
    vec![
        form(
            "outcome_succeeded_msgpack_v1",
            "A task succeeded; its output is in MessagePack, as its payload was.",
            vec![succeeded(msgpack)],
        ),
        form(
            "outcome_succeeded_json_v1",
            "A task succeeded; its output is in JSON, as its payload was.",
            vec![succeeded(ContentType::Json)],
        ),
        form(
            "outcome_failed_v1",
            "A task failed for good, with an error of its own type; its payload comes back.",
            vec![failed()],
        ),
        form(
            "outcome_exhausted_v1",
            "The last attempt allowed failed too.",
            vec![exhausted()],
        ),
        form(
            "attempt_retrying_v1",
            "An attempt failed, another follows: the record of an attempt, no outcome.",
            vec![retrying()],
        ),
        form(
            "outcome_expired_v1",
            "A task was not started in time.",
            vec![parked(
                Reason::Expired,
                "expired: its deadline passed 3 s ago",
            )],
        ),
        form(
            "outcome_dead_v1",
            "No worker could settle a task.",
            vec![parked(Reason::UnknownKind, "unknown-kind: no handler")],
        ),
        Form {
            message: None,
            ..form(
                "outcome_bundle_v1",
                "Two outcomes in one message, each with all it says, as earlier versions wrote it.",
                both(),
            )
        },
        form(
            "outcome_bundle_v2",
            "Two outcomes in one message: what both say, the names of the rest, and a row for each.",
            both(),
        ),
    ]
}
