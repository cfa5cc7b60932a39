//! Messages of anybody's, made of any bytes.

use bytes::Bytes;
use homing_protocol::limit::{
    BUNDLE_MAX, HEADER_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX, SCHEMA_BYTES_MAX,
};
use homing_protocol::{
    BatchRecord, DeadLetter, Death, Destination, Digest, Envelope, HeaderValue, Identity,
    KindRecord, Message, Properties, QueueName, Reason, Received, TaskId, Timestamp,
    decode_reports, decode_tasks, encode_reports, encode_tasks,
};

const NOW: Timestamp = Timestamp::from_ms(1_795_236_030_000);

/// Every header of ours, and some that are not.
const NAMES: [&str; 22] = [
    "homing-version",
    "homing-task",
    "homing-attempt",
    "homing-run",
    "homing-batch",
    "homing-row",
    "homing-digest",
    "homing-submitted-at",
    "homing-expires-at",
    "homing-due-at",
    "homing-reply",
    "homing-bundle",
    "homing-reason",
    "homing-detail",
    "homing-queue",
    "homing-message",
    "homing-crashes",
    "homing-future",
    "traceparent",
    "tracestate",
    "x-death",
    "foreign",
];

const TEXTS: [&str; 9] = [
    "01a1fc18-d018-7064-9c80-317fa3b1799d",
    "demo.echo",
    "application/json",
    "application/msgpack",
    "application/vnd.homing.tasks+msgpack",
    "application/vnd.homing.outcomes+msgpack",
    "crash-loop",
    "",
    "application/vnd.homing.outcome-table+msgpack",
];

/// Reads a message from bytes: each decides something, what is left is the body.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn some(&mut self, length: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        some
    }

    fn number(&mut self) -> u64 {
        let bytes = self.some(8);
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    fn text(&mut self) -> String {
        let length = usize::from(self.byte());
        match TEXTS.get(length.wrapping_sub(0xf0)) {
            Some(text) => (*text).to_owned(),
            None => String::from_utf8_lossy(self.some(length)).into_owned(),
        }
    }

    fn value(&mut self, depth: u8) -> HeaderValue {
        match self.byte() % 12 {
            0 => HeaderValue::Void,
            1 => HeaderValue::Bool(self.byte() > 0),
            2 => HeaderValue::Int(i64::from(self.byte())),
            3 => HeaderValue::Int(self.number() as i64),
            4 => HeaderValue::Float(f64::from(self.byte())),
            5 => HeaderValue::Time(self.number()),
            6 => HeaderValue::Bytes(self.some(16).to_vec()),
            7 => HeaderValue::Text("v".repeat(3_000)),
            8 if depth < 4 => HeaderValue::List(vec![self.value(depth + 1)]),
            9 if depth < 4 => HeaderValue::Table(vec![(self.text(), self.value(depth + 1))]),
            _ => HeaderValue::Text(self.text()),
        }
    }

    fn name(&mut self) -> String {
        let byte = self.byte();
        match NAMES.get(usize::from(byte)) {
            Some(name) => (*name).to_owned(),
            None => self.text(),
        }
    }

    fn properties(&mut self) -> Properties {
        let has = u16::from(self.byte()) << 8 | u16::from(self.byte());
        let mut text = |bit: u16| (has & 1 << bit > 0).then(|| self.text());
        let (message_id, correlation_id, kind) = (text(0), text(1), text(2));
        let (content_type, reply_to, app_id) = (text(3), text(4), text(5));
        let timestamp = (has & 1 << 6 > 0).then(|| self.number());
        let priority = (has & 1 << 7 > 0).then(|| self.byte());
        let count = has >> 8 & 0xf;
        // A broker delivers a table: each name once.
        let mut headers: Vec<(String, HeaderValue)> = Vec::new();
        for _ in 0..count {
            let (name, value) = (self.name(), self.value(0));
            if headers.iter().all(|(other, _)| *other != name) {
                headers.push((name, value));
            }
        }
        Properties {
            message_id,
            correlation_id,
            kind,
            content_type,
            timestamp,
            priority,
            reply_to,
            app_id,
            headers,
        }
    }

    fn received(mut self) -> Received {
        let properties = self.properties();
        let arrival = self.byte();
        let death = |reader: &mut Self| Death {
            reason: reader.text(),
            queue: reader.text(),
            count: u32::from(reader.byte()),
            time: None,
        };
        let deaths = (0..arrival & 3).map(|_| death(&mut self)).collect();
        Received {
            properties,
            body: Bytes::copy_from_slice(self.0),
            exchange: "tasks".to_owned(),
            routing_key: "tasks".to_owned(),
            redelivered: arrival & 4 > 0,
            delivery_count: u32::from(arrival >> 3),
            deaths,
        }
    }
}

fn plain(message: Message) -> Received {
    Received {
        properties: message.properties,
        body: message.body,
        exchange: "tasks".to_owned(),
        routing_key: "tasks".to_owned(),
        redelivered: false,
        delivery_count: 0,
        deaths: Vec::new(),
    }
}

fn minted() -> TaskId {
    uuid::Uuid::max().into()
}

fn to() -> Destination {
    Destination::Queue(QueueName::tasks())
}

fn read(received: &Received) -> Option<Identity> {
    let kind = "demo.default".parse().expect("a kind");
    decode_tasks(received, Some(&kind), NOW, minted).ok()
}

fn check_task(task: &Envelope) {
    assert!(task.payload.bytes.len() <= PAYLOAD_BYTES_MAX);
    assert_eq!(task.digest, Digest::of(&task.payload.bytes));
    assert!(
        task.reply
            .as_ref()
            .is_none_or(|reply| reply.len() <= NAME_BYTES_MAX)
    );
    let message = task.to_message(to(), "m".to_owned());
    assert!(
        !message
            .properties
            .headers
            .iter()
            .any(|(name, _)| name.starts_with("x-"))
    );
    let again = read(&plain(message)).expect("what was read can be published");
    assert_eq!(again.tasks, std::slice::from_ref(task));
    assert!(!again.minted);
}

/// Any message, as a worker reads it.
pub fn tasks(bytes: &[u8]) {
    let received = Reader(bytes).received();
    let Some(identity) = read(&received) else {
        return;
    };
    assert!((1..=BUNDLE_MAX).contains(&identity.tasks.len()));
    assert!(!identity.minted || identity.tasks.len() == 1);
    identity.tasks.iter().for_each(check_task);
    let again = Received {
        redelivered: true,
        delivery_count: 3,
        ..received
    };
    assert_eq!(read(&again), Some(identity));
}

/// The body of a bundle.
pub fn bundle(bytes: &[u8]) {
    let (count, body) = bytes
        .split_first()
        .map_or((0, bytes), |(c, rest)| (*c, rest));
    let id = TEXTS[0];
    let received = Received {
        properties: Properties {
            message_id: Some("m".to_owned()),
            kind: Some("demo.echo".to_owned()),
            content_type: Some("application/vnd.homing.tasks+msgpack".to_owned()),
            headers: vec![
                ("homing-version".to_owned(), HeaderValue::Int(1)),
                ("homing-submitted-at".to_owned(), HeaderValue::Int(1)),
                ("homing-bundle".to_owned(), HeaderValue::Int(count.into())),
                ("homing-batch".to_owned(), HeaderValue::Text(id.to_owned())),
            ],
            ..Properties::default()
        },
        body: Bytes::copy_from_slice(body),
        ..plain(Message {
            destination: to(),
            properties: Properties::default(),
            body: Bytes::new(),
        })
    };
    let dead = DeadLetter::decode(received.clone(), str::to_owned, NOW);
    let Some(identity) = read(&received) else {
        assert!(dead.reports.len() <= BUNDLE_MAX);
        return;
    };
    assert_eq!(identity.tasks.len(), usize::from(count));
    assert_eq!(dead.reports.len(), identity.tasks.len());
    identity.tasks.iter().for_each(check_task);
    let message = encode_tasks(&identity.tasks, to(), "m".to_owned()).expect("it was one");
    assert_eq!(read(&plain(message)), Some(identity));
}

/// The body of a message with reports, as maps and as a table.
pub fn reports(bytes: &[u8]) {
    reports_as(TEXTS[5], bytes);
    reports_as(TEXTS[8], bytes);
}

fn reports_as(content_type: &str, bytes: &[u8]) {
    let mut received = Reader(&[]).received();
    let version = ("homing-version".to_owned(), HeaderValue::Int(2));
    received.properties.headers = vec![version];
    received.properties.content_type = Some(content_type.to_owned());
    received.body = Bytes::copy_from_slice(bytes);
    let Ok(reports) = decode_reports(&received) else {
        return;
    };
    assert!((1..=BUNDLE_MAX).contains(&reports.len()));
    let to = Destination::Results { key: 0 };
    let message = encode_reports(&reports, to, "m".to_owned(), NOW).expect("it was one");
    let again = decode_reports(&plain(message)).expect("it was one");
    assert_eq!(again, reports);
}

/// The body of a batch record.
pub fn batch_record(bytes: &[u8]) {
    let mut received = Reader(&[]).received();
    received.body = Bytes::copy_from_slice(bytes);
    let Ok(record) = BatchRecord::decode(&received) else {
        return;
    };
    let message = record.to_message("m".to_owned()).expect("it was one");
    let again = BatchRecord::decode(&plain(message)).expect("it was one");
    assert_eq!(again, record);
}

/// The schema of a kind, as its worker declares it.
pub fn kind_record(bytes: &[u8]) {
    let mut received = Reader(&[]).received();
    received.properties.kind = Some(TEXTS[1].to_owned());
    received.properties.timestamp = Some(1);
    received.body = Bytes::copy_from_slice(bytes);
    let Ok(record) = KindRecord::decode(&received) else {
        return;
    };
    assert!(record.schema.as_str().len() <= SCHEMA_BYTES_MAX);
    let again = KindRecord::decode(&plain(record.to_message(0, "m".to_owned())));
    assert_eq!(again.expect("it was one"), record);
}

/// Any message, as the collector reads it once no worker could.
pub fn dead_letter(bytes: &[u8]) {
    let received = Reader(bytes).received();
    let decode = |received| DeadLetter::decode(received, str::to_owned, NOW);
    let ids = |dead: &DeadLetter| dead.reports.iter().map(|r| r.task).collect::<Vec<_>>();
    let letter = decode(received.clone());
    assert_eq!(letter.received, received);
    assert!(letter.reports.len() <= BUNDLE_MAX);
    let message = DeadLetter::message(&received, Reason::Malformed, "why", "tasks", "d".to_owned());
    assert!(message.properties.header_bytes() <= HEADER_BYTES_MAX);
    let after = decode(plain(message));
    assert_eq!(after.reason, Reason::Malformed);
    assert_eq!(after.received.body, received.body);
    if !letter.reports.is_empty() {
        assert_eq!(ids(&after), ids(&letter));
    }
}
