//! One task, and its outcome if somebody waits for it.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use homing_producer::{Producer, Reply, WaitError, new_task_id};
use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::{Digest, Envelope, Payload, Report, Status, TaskId};
use homing_store::{Record, Store};
use serde::Serialize;
use serde::de::IgnoredAny;

use super::{SubmitArgs, broker_trouble, checked, submit_trouble};
use crate::bar::bar;
use crate::exit::{Exit, of_several};
use crate::near;
use crate::output::{Form, Output, Talk};
use crate::record_line::RecordLine;
use crate::settings::{ONE_SHOT_WINDOW, Settings};
use crate::trouble::Trouble;
use crate::wait;
use crate::which::{now, quoted};

/// How long a reply may take. Whoever waits longer asks the store.
const REPLY_TIME_MAX: Duration = Duration::from_hours(24 * 365);

/// Whoever waits this long is told where to look.
const HINT_AFTER: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Submitted {
    id: TaskId,
}

pub(super) async fn run(args: SubmitArgs, settings: &Settings) -> Result<Exit, Trouble> {
    let envelope = envelope(&args)?;
    checked::one(&args, &envelope.payload, settings).await?;
    let queue = &args.each.queue;
    let link = settings.link(std::slice::from_ref(queue))?;
    let producer = Producer::open_with(link.broker.clone(), ONE_SHOT_WINDOW).await;
    let producer = producer.map_err(broker_trouble(&link))?;
    let mut output = Output::new(settings);
    let id = envelope.id;
    let again = again(&args, id);
    if !args.waiting.wait {
        let sent = producer.send(&envelope, queue).await;
        sent.map_err(submit_trouble(&link, &again))?;
        say_id(id, &output)?;
        return Ok(Exit::Done);
    }

    let talk = Talk::new(settings);
    let kind = envelope.kind.clone();
    let named = args.each.is_named().then_some(envelope.digest);
    let reply = producer.send_awaited(envelope, queue, REPLY_TIME_MAX).await;
    let reply = reply.map_err(submit_trouble(&link, &again))?;
    let waiting = outcome(reply, (kind.as_str(), named), settings, &mut output, talk);
    wait::limited(waiting, args.waiting.timeout, &id.to_string(), talk).await
}

/// Waits, which a terminal shows, and after a while says where to look.
async fn shown<T>(waiting: impl Future<Output = T>, kind: &str, talk: Talk) -> T {
    let mut waiting = pin!(waiting);
    let bar = bar("waiting  {elapsed}  {msg}", talk);
    bar.set_message(format!("for the outcome of `{kind}`"));
    let hint = async {
        tokio::time::sleep(HINT_AFTER).await;
        bar.suspend(|| {
            talk.say(format!(
                "no outcome yet: it runs, or waits for a worker that knows `{kind}`; `homing queues` counts workers"
            ));
        });
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = &mut waiting => ended,
        never = hint => never,
    };
    bar.finish_and_clear();
    ended
}

/// How to submit the task again, so that it stays one.
fn again(args: &SubmitArgs, id: TaskId) -> String {
    match (&args.each.key, &args.each.id) {
        (None, None) => {
            format!("the same command submits it again as the same task with --id {id}")
        }
        _ => "the same command submits it again as the same task".to_owned(),
    }
}

fn say_id(id: TaskId, output: &Output) -> Result<(), Trouble> {
    match output.form() {
        Form::Json => output.json(&Submitted { id }),
        Form::Plain | Form::Terminal { .. } => output.text(&id.to_string()),
    }
}

/// Waits for the outcome to be pushed, or to be stored: a worker that dies right
/// after its outcome is safe pushes nothing. A task that is `named` with this digest
/// may be there with another: then that one's outcome counts.
async fn outcome(
    reply: Reply,
    (kind, named): (&str, Option<Digest>),
    settings: &Settings,
    output: &mut Output,
    talk: Talk,
) -> Result<Exit, Trouble> {
    let id = reply.id();
    let store = settings.open_store().await.ok();
    if let (Some(store), Some(digest)) = (&store, named)
        && let Some(first) = other(id, digest, store).await
    {
        talk.say(format!(
            "another payload was submitted under this key or id before; its outcome stays: homing show {id}"
        ));
        if first.report.status.is_closed() {
            return answered(&first, output, talk);
        }
    }
    if let Some(store) = &store
        && let Some(hint) = near::kind_hint(kind, store).await
    {
        talk.say(hint);
    }
    match shown(first(reply, store.as_ref()), kind, talk).await {
        First::Stored(record) => answered(&record, output, talk),
        First::Pushed(report) => {
            wait::answer(&RecordLine::pushed(&report), report.status, output, talk)?;
            Ok(exit(report.status))
        }
        First::Broken(WaitError::TimedOut { .. } | WaitError::Disconnected) => {
            talk.say("the link for replies broke; asking the store");
            let store = settings.open_store().await?;
            wait::of_tasks(&store, vec![id], false, output, talk).await
        }
        First::Broken(error) => Err(Trouble::bug(&error)),
    }
}

/// What tells of an outcome first.
enum First {
    Stored(Box<Record>),
    Pushed(Arc<Report>),
    Broken(WaitError),
}

async fn first(reply: Reply, store: Option<&Store>) -> First {
    let id = reply.id();
    let stored = async {
        match store {
            // A store that cannot be read says nothing; the worker still may.
            Some(store) => match store.closed(id).await {
                Ok(record) => record,
                Err(_) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        pushed = reply.report() => match pushed {
            Ok(report) => First::Pushed(report),
            Err(error) => First::Broken(error),
        },
        record = stored => First::Stored(Box::new(record)),
    }
}

/// What is stored of the task of this id, if that has another payload.
async fn other(id: TaskId, digest: Digest, store: &Store) -> Option<Record> {
    // A store that cannot be read is told of by whoever needs it.
    let found = store.record(id).await.ok()??;
    (found.report.digest != digest).then_some(found)
}

fn answered(record: &Record, output: &mut Output, talk: Talk) -> Result<Exit, Trouble> {
    let status = record.report.status;
    wait::answer(&RecordLine::stored(record), status, output, talk)?;
    Ok(exit(status))
}

fn exit(status: Status) -> Exit {
    let succeeded = u64::from(status == Status::Succeeded);
    of_several(succeeded, 1 - succeeded)
}

fn envelope(args: &SubmitArgs) -> Result<Envelope, Trouble> {
    let payload = payload(args.payload.as_deref())?;
    let id = match (&args.each.key, args.each.id) {
        (Some(key), _) => TaskId::of_text(&format!("{} {key}", args.kind)),
        (None, Some(id)) => id,
        (None, None) => new_task_id(),
    };
    let mut envelope = Envelope::new(id, args.kind.clone(), payload, now());
    args.each.apply(&mut envelope);
    Ok(envelope)
}

fn payload(given: Option<&str>) -> Result<Payload, Trouble> {
    let (text, from) = match given {
        None => ("null".to_owned(), "the default, null".to_owned()),
        Some("-") => (read(&mut io::stdin().lock(), "stdin")?, "stdin".to_owned()),
        Some(given) => match given.strip_prefix('@') {
            Some(path) => {
                let file = fs::File::open(path);
                let mut file = file.map_err(|error| Trouble::file("read", path, &error))?;
                (read(&mut file, path)?, path.to_owned())
            }
            None => (given.to_owned(), "the command line".to_owned()),
        },
    };
    Payload::json("the payload", &text, PAYLOAD_BYTES_MAX).map_err(|error| {
        let trouble = Trouble::payload(&error, &from);
        match given.and_then(|given| meant(given, &text)) {
            Some(fix) => trouble.fix(fix),
            None => trouble,
        }
    })
}

/// What was probably meant by a payload that is none, and how to say it.
fn meant(given: &str, text: &str) -> Option<String> {
    let (named, rows) = match given.strip_prefix('@') {
        Some(file) => (true, file),
        None => (given == "-", given),
    };
    let rows = quoted(rows);
    match named {
        true if is_rows(text) => Some(format!("a task for each line or row: --rows {rows}")),
        false if Path::new(given).is_file() => Some(format!(
            "the file's content as one payload: @{rows}; a task for each line or row: --rows {rows}"
        )),
        _ => None,
    }
}

/// Whether each of the first lines is a payload, or is no JSON at all as in CSV.
fn is_rows(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let (Some(first), Some(_second)) = (lines.next(), lines.next()) else {
        return false;
    };
    let is_json = |line: &str| serde_json::from_str::<IgnoredAny>(line).is_ok();
    is_json(first) || !first.trim_start().starts_with(['{', '[', '"'])
}

/// Reads one byte more than a payload may have, so that one that is too large
/// shows as that without being read whole.
fn read(reader: &mut impl Read, name: &str) -> Result<String, Trouble> {
    let mut bytes = Vec::new();
    // Space around JSON is no part of the payload: it may take as much again.
    let bytes_max = 2 * PAYLOAD_BYTES_MAX as u64;
    let taken = reader.take(bytes_max).read_to_end(&mut bytes);
    taken.map_err(|error| Trouble::file("read", name, &error))?;
    String::from_utf8(bytes).map_err(|_| {
        Trouble::new(Exit::Usage, "the payload is not valid: it is not UTF-8")
            .from(name)
            .fix("give JSON")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_were_given_as_one_payload_are_told_from_json_that_is_wrong() {
        let rows = Some("a task for each line or row: --rows a.ndjson".to_owned());
        for (text, fix) in [
            ("{\"n\":1}\n{\"n\":2}\n", rows.clone()),
            ("path,size\na,1\n", rows.clone()),
            ("1\n\n2", rows),
            ("{\n  \"n\": 1,\n}", None),
            ("[1,\n2", None),
            ("{\"n\":", None),
        ] {
            assert_eq!(meant("@a.ndjson", text), fix, "{text}");
        }
        let stdin = meant("-", "1\n2\n");
        assert_eq!(
            stdin.as_deref(),
            Some("a task for each line or row: --rows -")
        );
    }
}
