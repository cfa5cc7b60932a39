use std::time::Duration;

use bytes::Bytes;
use homing_protocol::limit::PAYLOAD_BYTES_MAX;
use homing_protocol::{
    AttemptNumber, BatchRow, ContentType, Destination, Envelope, HeaderValue, Message, Payload,
    Properties, QueueName, Requester, Run, TaskId, encode_tasks,
};
use serde::Serialize;

use super::{BATCH, Form, MESSAGE, Meaning, NOW, TASK, id, minted, tasks};

const HELLO: &[u8] = br#"{"operacion": "hola", "entrada": "mundo"}"#;

#[derive(Serialize)]
struct Resize {
    source: &'static str,
    width: u32,
}

/// A task with nothing but what it must have.
pub(super) fn envelope(content_type: ContentType) -> Envelope {
    let source = "cat.png";
    let value = Resize { source, width: 640 };
    let payload = Payload::encode("payload", &value, content_type, PAYLOAD_BYTES_MAX);
    Envelope::new(id(TASK), id("image.resize"), payload.expect("it fits"), NOW)
}

/// The third attempt at a row of a batch that was replayed, with all a task may
/// have, and a header that only a newer version understands.
fn full() -> Envelope {
    let mut task = envelope(ContentType::MessagePack);
    task.attempt = AttemptNumber::new(3).expect("not 0");
    task.run = Run::new(2).expect("not 0");
    task.batch = Some(BatchRow {
        batch: id(BATCH),
        row: 17,
    });
    task.expires_at = Some(NOW.after(Duration::from_hours(1)));
    task.due_at = Some(NOW.after(Duration::from_secs(5)));
    task.reply = Some("reply.01a1fc18-d000-7b1e-a1c4-52f7be0c9d10".to_owned());
    task.priority = 5;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    task.carried = vec![
        ("homing-x".to_owned(), HeaderValue::Int(7)),
        ("traceparent".to_owned(), trace.into()),
    ];
    task
}

/// The second attempt at a task of a foreign client.
fn requested() -> Envelope {
    let mut task = foreign(TaskId::of_text("order 17"));
    task.attempt = AttemptNumber::FIRST.next();
    task.requester = Requester {
        correlation_id: Some("order 17".to_owned()),
        reply_to: Some("answers".to_owned()),
    };
    task
}

/// What a JSON task of a foreign client means.
fn foreign(task: TaskId) -> Envelope {
    let payload = Payload {
        bytes: Bytes::from_static(HELLO),
        content_type: ContentType::Json,
    };
    Envelope::new(task, id("demo.hello"), payload, NOW)
}

/// Three rows of a batch, the second of them at its second attempt.
pub(super) fn bundle() -> Vec<Envelope> {
    let row = |row| {
        let mut task = envelope(ContentType::MessagePack);
        task.id = id(&format!("{}{row}", &TASK[..35]));
        task.batch = Some(BatchRow {
            batch: id(BATCH),
            row,
        });
        task
    };
    let mut rows = [row(1), row(2), row(3)];
    rows[1].attempt = AttemptNumber::FIRST.next();
    rows.into()
}

fn own(name: &'static str, about: &'static str, task: Envelope, to: Destination) -> Form {
    Form {
        name,
        about,
        message: Some(task.to_message(to, MESSAGE.to_owned())),
        deaths: Vec::new(),
        meaning: Meaning::Tasks {
            tasks: vec![task],
            minted: false,
        },
    }
}

/// What any AMQP client may publish: no header of ours.
fn others(name: &'static str, about: &'static str, message_id: Option<&str>) -> Form {
    let message_id = message_id.map(str::to_owned);
    let task = foreign(message_id.as_deref().map_or_else(minted, TaskId::of_text));
    Form {
        name,
        about,
        message: Some(Message {
            destination: tasks(),
            properties: Properties {
                kind: Some("demo.hello".to_owned()),
                message_id: message_id.clone(),
                ..Properties::default()
            },
            body: Bytes::from_static(HELLO),
        }),
        deaths: Vec::new(),
        meaning: Meaning::Tasks {
            tasks: vec![task],
            minted: message_id.is_none(),
        },
    }
}

fn together(
    name: &'static str,
    about: &'static str,
    tasks: Vec<Envelope>,
    message: Option<Message>,
) -> Form {
    Form {
        name,
        about,
        message,
        deaths: Vec::new(),
        meaning: Meaning::Tasks {
            tasks,
            minted: false,
        },
    }
}

pub(super) fn forms() -> Vec<Form> {
    let delayed = Destination::Delayed {
        queue: QueueName::tasks(),
        secs: 5,
    };
    vec![
        own(
            "task_msgpack_v1",
            "A task in MessagePack.",
            envelope(ContentType::MessagePack),
            tasks(),
        ),
        own(
            "task_json_v1",
            "A task in JSON.",
            envelope(ContentType::Json),
            tasks(),
        ),
        own(
            "task_full_v1",
            "The third attempt at a row of a batch, in its second run, after a delay of 5 s, \
             with every header a task may have and one of a newer version.",
            full(),
            delayed,
        ),
        own(
            "task_requested_v1",
            "The second attempt at a task of a foreign client: its correlation id goes on, \
             the task's id is in homing-task.",
            requested(),
            tasks(),
        ),
        together(
            "task_bundle_v1",
            "Three tasks in one message, each with its content type, as earlier versions wrote it.",
            bundle(),
            None,
        ),
        together(
            "task_bundle_plain_v1",
            "Three tasks in one message, which leaves out the content type that all have anyway.",
            bundle(),
            Some(encode_tasks(&bundle(), tasks(), MESSAGE.to_owned()).expect("alike")),
        ),
        others(
            "task_foreign_minimal",
            "The least any AMQP client has to publish; the worker gives it an id.",
            None,
        ),
        others(
            "task_foreign_message_id",
            "A task of any AMQP client that names it by its message id.",
            Some("order 17"),
        ),
    ]
}
