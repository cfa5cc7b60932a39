//! One task, and its outcome if somebody waits for it.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use homing_producer::{Producer, Reply, WaitError, new_task_id};
use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::{Digest, Envelope, Payload, Status, TaskId};
use homing_store::{Record, Store};
use serde::Serialize;

use super::{SubmitArgs, broker_trouble, checked, near, submit_trouble};
use crate::exit::{Exit, of_several};
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
    let waiting = with_hint(waiting, kind.as_str(), talk);
    wait::limited(waiting, args.waiting.timeout, &id.to_string(), talk).await
}

/// Waits, and after a while says where to look.
async fn with_hint<T>(waiting: impl Future<Output = T>, kind: &str, talk: Talk) -> T {
    let mut waiting = pin!(waiting);
    tokio::select! {
        ended = &mut waiting => return ended,
        () = tokio::time::sleep(HINT_AFTER) => {}
    }
    talk.say(format!(
        "no outcome yet: it runs, or waits for a worker that knows `{kind}`; `homing queues` counts workers"
    ));
    waiting.await
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
        && let Some(hint) = near::hint(kind, store).await
    {
        talk.say(hint);
    }
    let stored = async {
        match &store {
            // A store that cannot be read says nothing; the worker still may.
            Some(store) => match store.closed(id).await {
                Ok(record) => record,
                Err(_) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    };
    let pushed = tokio::select! {
        biased;
        pushed = reply.report() => pushed,
        record = stored => {
            return answered(&record, output, talk);
        }
    };
    match pushed {
        Ok(report) => {
            wait::answer(&RecordLine::pushed(&report), report.status, output, talk)?;
            Ok(exit(report.status))
        }
        Err(WaitError::TimedOut { .. } | WaitError::Disconnected) => {
            talk.say("the link for replies broke; asking the store");
            let store = settings.open_store().await?;
            wait::of_tasks(&store, vec![id], false, output, talk).await
        }
        Err(error) => Err(Trouble::bug(&error)),
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
        match given.filter(|given| Path::new(given).is_file()) {
            Some(file) => {
                let file = quoted(file);
                trouble.fix(format!(
                    "the file's content as one payload: @{file}; a task for each line or row: --rows {file}"
                ))
            }
            None => trouble,
        }
    })
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
