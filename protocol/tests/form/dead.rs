use homing_protocol::{
    ContentType, DeadLetter, Death, Destination, Envelope, Message, Reason, Received, Status,
    encode_tasks,
};

use super::task::{bundle, envelope};
use super::{Dead, Form, MESSAGE, Meaning, tasks};

fn meaning(reason: Reason, status: Status, tasks: &[Envelope]) -> Meaning {
    Meaning::Dead(Dead {
        reason,
        queue: "tasks".to_owned(),
        tasks: tasks.iter().map(|task| (task.id, status)).collect(),
    })
}

/// A message a worker publishes for a delivery it cannot settle.
fn by_worker() -> Form {
    let task = envelope(ContentType::MessagePack);
    let message = task.to_message(tasks(), MESSAGE.to_owned());
    let received = Received {
        properties: message.properties,
        body: message.body,
        exchange: "tasks".to_owned(),
        routing_key: "tasks".to_owned(),
        redelivered: false,
        delivery_count: 0,
        deaths: Vec::new(),
    };
    let reason = Reason::UnknownKind;
    let detail = "no handler for `image.resize`";
    let message_id = "01a1fc18-d500-7000-8000-000000000001".to_owned();
    Form {
        name: "dead_by_worker_v1",
        about: "A worker gives up a task: the message as it was, and why.",
        message: Some(DeadLetter::message(
            &received, reason, detail, "tasks", message_id,
        )),
        deaths: Vec::new(),
        meaning: meaning(reason, Status::Dead, &[task]),
    }
}

/// A message the broker moved: unchanged but for what it says of the death.
fn by_broker(
    name: &'static str,
    about: &'static str,
    why: (&str, Reason, Status),
    (message, tasks): (Message, &[Envelope]),
) -> Form {
    let (death, reason, status) = why;
    Form {
        name,
        about,
        message: Some(Message {
            destination: Destination::Dead,
            ..message
        }),
        deaths: vec![Death {
            reason: death.to_owned(),
            queue: "tasks".to_owned(),
            count: 1,
            time: None,
        }],
        meaning: meaning(reason, status, tasks),
    }
}

pub(super) fn forms() -> Vec<Form> {
    let task = envelope(ContentType::Json);
    let alone = || {
        (
            task.to_message(tasks(), MESSAGE.to_owned()),
            std::slice::from_ref(&task),
        )
    };
    let rows = bundle();
    let together = encode_tasks(&rows, tasks(), MESSAGE.to_owned()).expect("alike");
    vec![
        by_worker(),
        by_broker(
            "dead_by_broker_delivery_limit",
            "RabbitMQ gave up a task that came back again and again.",
            ("delivery_limit", Reason::CrashLoop, Status::Dead),
            alone(),
        ),
        by_broker(
            "dead_by_broker_expired",
            "A task had a time to live in AMQP's sense, and it ended in the queue.",
            ("expired", Reason::Expired, Status::Expired),
            alone(),
        ),
        by_broker(
            "dead_bundle_by_broker",
            "RabbitMQ gave up a message of three tasks: three dead tasks.",
            ("delivery_limit", Reason::CrashLoop, Status::Dead),
            (together, &rows),
        ),
    ]
}
