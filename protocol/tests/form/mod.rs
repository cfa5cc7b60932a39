//! Every form a message has on the wire, with what it means.

mod dead;
mod report;
mod task;

use homing_protocol::{
    BatchEvent, BatchRecord, Death, Destination, Envelope, KindRecord, Message, QueueName, Reason,
    Report, Status, TaskId, Timestamp,
};

/// When everything was submitted, run and read.
pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_795_236_030_123);

const TASK: &str = "01a1fc18-d018-7064-9c80-317fa3b1799d";
const BATCH: &str = "01a1fc18-cfff-7e3f-8d5a-6f1f0c2b7a44";
const ATTEMPT: &str = "01a1fc18-d402-7b1e-a1c4-52f7be0c9d10";
const MESSAGE: &str = "01a1fc18-d018-7064-9c80-317fa3b179ff";

/// A form: its name, what it is, the message, and what a reader makes of it.
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// `None` for a form that is read and no longer written.
    pub(crate) message: Option<Message>,
    pub(crate) deaths: Vec<Death>,
    pub(crate) meaning: Meaning,
}

/// What a reader makes of a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Meaning {
    Tasks { tasks: Vec<Envelope>, minted: bool },
    Reports(Vec<Report>),
    Batch(BatchRecord),
    Kind(KindRecord),
    Dead(Dead),
}

/// What a reader makes of a dead letter.
#[derive(Debug, PartialEq)]
pub(crate) struct Dead {
    pub(crate) reason: Reason,
    pub(crate) queue: String,
    pub(crate) tasks: Vec<(TaskId, Status)>,
}

/// Every form.
pub(crate) fn all() -> Vec<Form> {
    let mut forms = task::forms();
    forms.extend(report::forms());
    forms.extend(batch_forms());
    forms.push(kind_form());
    forms.extend(dead::forms());
    forms
}

/// The id a message without one takes.
pub(crate) fn minted() -> TaskId {
    id("01a1fc18-d018-7064-9c80-00000000000f")
}

fn id<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().expect("a valid id or name")
}

fn batch_forms() -> Vec<Form> {
    let form = |name, about, event| {
        let record = BatchRecord {
            batch: id(BATCH),
            label: "november".to_owned(),
            event,
            at: NOW,
        };
        Form {
            name,
            about,
            message: Some(record.to_message(MESSAGE.to_owned()).expect("it fits")),
            deaths: Vec::new(),
            meaning: Meaning::Batch(record),
        }
    };
    let sealed = |ids| BatchEvent::Sealed { total: 3, ids };
    let ids = [TASK, ATTEMPT, MESSAGE].map(id);
    vec![
        form(
            "batch_opened_v1",
            "A batch is about to be published.",
            BatchEvent::Opened,
        ),
        form(
            "batch_sealed_v1",
            "All tasks of a batch are confirmed.",
            sealed(Some(ids.into_iter().collect())),
        ),
        form(
            "batch_sealed_without_ids",
            "The same, from a producer that does not say which they are.",
            sealed(None),
        ),
    ]
}

fn kind_form() -> Form {
    let schema =
        r#"{"type":"object","required":["source"],"properties":{"source":{"type":"string"}}}"#;
    let record = KindRecord {
        kind: id("image.resize"),
        schema: id(schema),
        at: NOW,
    };
    Form {
        name: "kind_schema_v1",
        about: "A worker that runs the kind says what its payloads are to match.",
        message: Some(record.to_message(0, MESSAGE.to_owned())),
        deaths: Vec::new(),
        meaning: Meaning::Kind(record),
    }
}

fn tasks() -> Destination {
    Destination::Queue(QueueName::tasks())
}
