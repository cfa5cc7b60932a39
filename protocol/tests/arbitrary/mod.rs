//! Any task, report and record of a batch or kind of ours, and any message of anybody's.

use bytes::Bytes;
use homing_protocol::limit::BUNDLE_MAX;
use homing_protocol::{
    AttemptId, AttemptNumber, BatchEvent, BatchId, BatchRecord, BatchRow, ContentType, Death,
    Digest, Envelope, Header, HeaderValue, KindRecord, Payload, Properties, Reason, Received,
    Report, Requester, Run, Status, TaskId, TaskKind, Timestamp,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use uuid::Uuid;

/// When everything in the tests is read.
pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_795_236_030_000);

/// Every header of ours, and some that are not.
const NAMES: [&str; 21] = [
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
    "homing-future",
    "traceparent",
    "tracestate",
    "x-death",
    "foreign",
];

fn uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_ms)
}

fn kind() -> impl Strategy<Value = TaskKind> {
    "[a-z0-9._-]{1,20}".prop_map(|name| name.parse().unwrap())
}

fn payload() -> impl Strategy<Value = Payload> {
    let json = r#"\{"a": [0-9]{1,9}\}"#.prop_map(|text: String| (text.into(), ContentType::Json));
    let msgpack = vec(any::<u64>(), 0..20).prop_map(|numbers| {
        let bytes = ContentType::MessagePack
            .encode("numbers", &numbers)
            .unwrap();
        (Bytes::from(bytes), ContentType::MessagePack)
    });
    prop_oneof![json, msgpack].prop_map(|(bytes, content_type)| Payload {
        bytes,
        content_type,
    })
}

fn requester() -> impl Strategy<Value = Requester> {
    (option::of("\\PC{0,40}"), option::of("[a-z.]{1,40}")).prop_map(|(correlation_id, reply_to)| {
        Requester {
            correlation_id,
            reply_to,
        }
    })
}

fn carried() -> impl Strategy<Value = Vec<Header>> {
    let name = select(vec![
        "traceparent",
        "tracestate",
        "homing-future",
        "homing-crashes",
    ]);
    vec((name.prop_map(str::to_owned), plain_value()), 0..4)
}

fn counters() -> impl Strategy<Value = (AttemptNumber, Run)> {
    (1_u32.., 1_u32..)
        .prop_map(|(attempt, run)| (AttemptNumber::new(attempt).unwrap(), Run::new(run).unwrap()))
}

/// The most a row can be: an integer header is signed.
fn row() -> impl Strategy<Value = u64> {
    0..=i64::MAX.unsigned_abs()
}

/// Any task of ours.
pub(crate) fn envelope() -> impl Strategy<Value = Envelope> {
    let times = (time(), option::of(time()), option::of(time()));
    let batch = option::of((uuid(), row()).prop_map(|(batch, row)| BatchRow {
        batch: batch.into(),
        row,
    }));
    let about = (
        option::of("\\PC{0,40}"),
        requester(),
        any::<u8>(),
        carried(),
    );
    (uuid(), kind(), payload(), counters(), times, batch, about).prop_map(
        |(id, kind, payload, counters, times, batch, about)| {
            let mut envelope = Envelope::new(id.into(), kind, payload, times.0);
            (envelope.attempt, envelope.run) = counters;
            (envelope.expires_at, envelope.due_at) = (times.1, times.2);
            envelope.batch = batch;
            (
                envelope.reply,
                envelope.requester,
                envelope.priority,
                envelope.carried,
            ) = about;
            envelope
        },
    )
}

/// Tasks that may share a message.
pub(crate) fn together() -> impl Strategy<Value = Vec<Envelope>> {
    let own = (uuid(), payload(), counters(), row());
    (envelope(), vec(own, 1..8)).prop_map(|(mut first, others)| {
        first.requester.correlation_id = None;
        let task = |(id, payload, counters, row): (Uuid, Payload, _, u64)| {
            let mut task = first.clone();
            task.id = id.into();
            task.digest = Digest::of(&payload.bytes);
            task.payload = payload;
            (task.attempt, task.run) = counters;
            if let Some(place) = &mut task.batch {
                place.row = row;
            }
            task
        };
        others.into_iter().map(task).collect()
    })
}

/// Any report a worker could write.
pub(crate) fn report() -> impl Strategy<Value = Report> {
    let bytes = || option::of(vec(any::<u8>(), 0..40).prop_map(Bytes::from));
    let numbers = (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>());
    let texts = (
        option::of("\\PC{0,40}"),
        option::of("\\PC{0,40}"),
        "\\PC{0,20}",
    );
    let said = (
        select(&Status::ALL[..]),
        option::of(select(&Reason::ALL[..])),
    );
    let more = (option::of(uuid()), option::of(time()), time());
    (envelope(), numbers, texts, said, more, bytes(), bytes()).prop_map(
        |(task, numbers, texts, (status, reason), more, output, error_data)| {
            let mut report = Report::new(&task, status, "tasks", more.2);
            (report.attempt, report.attempts_max) = (numbers.0, numbers.1);
            (report.waited_ms, report.run_us) = (numbers.2, numbers.3);
            (report.error, report.correlation_id, report.worker) = texts;
            report.reason = reason;
            report.attempt_id = more.0.map(AttemptId::from);
            report.retry_at = more.1;
            (report.output, report.error_data) = (output, error_data);
            report
        },
    )
}

/// Reports that share a message, and often some of what they say.
pub(crate) fn reports() -> impl Strategy<Value = Vec<Report>> {
    let others = vec((report(), any::<u32>()), 0..8);
    (report(), others).prop_map(|(first, others)| {
        let others = others.into_iter();
        let alike = others.map(|(report, same)| like(&first, report, same));
        let mut reports: Vec<_> = alike.collect();
        reports.push(first);
        reports
    })
}

/// `report`, with what the bits of `same` stand for as in `first`.
fn like(first: &Report, mut report: Report, same: u32) -> Report {
    let first = first.clone();
    let is = |bit: u32| same & 1 << bit > 0;
    if is(0) {
        (report.kind, report.queue, report.worker) = (first.kind, first.queue, first.worker);
    }
    if is(1) {
        (report.run, report.status) = (first.run, first.status);
    }
    if is(2) {
        (report.attempt, report.attempts_max) = (first.attempt, first.attempts_max);
    }
    if is(3) {
        (report.batch, report.row) = (first.batch, first.row);
    }
    if is(4) {
        (report.submitted_at, report.started_at) = (first.submitted_at, first.started_at);
    }
    if is(5) {
        report.content_type = first.content_type;
    }
    if is(6) {
        (report.output, report.error, report.payload) = (None, None, None);
    }
    report
}

/// Any batch record.
pub(crate) fn batch_record() -> impl Strategy<Value = BatchRecord> {
    let event = prop_oneof![
        Just(BatchEvent::Opened),
        (row(), option::of(uuid())).prop_map(|(total, ids)| BatchEvent::Sealed {
            total,
            ids: ids.map(|ids| ids.into_bytes().into()),
        }),
    ];
    (uuid(), "\\PC{0,40}", event, time()).prop_map(|(batch, label, event, at)| BatchRecord {
        batch: BatchId::from(batch),
        label,
        event,
        at,
    })
}

/// Any record of a kind.
pub(crate) fn kind_record() -> impl Strategy<Value = KindRecord> {
    let schema = prop_oneof![
        Just("true".to_owned()),
        "[a-z ]{0,40}".prop_map(|title| format!("{{\"title\": \"{title}\"}}")),
    ];
    (kind(), schema, time()).prop_map(|(kind, schema, at)| KindRecord {
        kind,
        schema: schema.parse().unwrap(),
        at,
    })
}

fn plain_value() -> impl Strategy<Value = HeaderValue> {
    prop_oneof![
        Just(HeaderValue::Void),
        any::<bool>().prop_map(HeaderValue::Bool),
        any::<i64>().prop_map(HeaderValue::Int),
        (-1e9..1e9).prop_map(HeaderValue::Float),
        "\\PC{0,40}".prop_map(HeaderValue::Text),
        vec(any::<u8>(), 0..20).prop_map(HeaderValue::Bytes),
        any::<u64>().prop_map(HeaderValue::Time),
    ]
}

/// A value of any type, often one that some header of ours may have.
fn value() -> impl Strategy<Value = HeaderValue> {
    let fitting = prop_oneof![
        uuid().prop_map(|id| HeaderValue::Text(id.to_string())),
        (-2_i64..5).prop_map(HeaderValue::Int),
        select(&Reason::ALL[..]).prop_map(|reason| reason.as_str().into()),
        Just(HeaderValue::Text("v".repeat(3_000))),
        Just(HeaderValue::Text(String::new())),
    ];
    let nested = prop_oneof![
        vec(plain_value(), 0..3).prop_map(HeaderValue::List),
        vec(("[a-z]{1,5}", plain_value()), 0..3).prop_map(HeaderValue::Table),
    ];
    prop_oneof![4 => fitting, 2 => plain_value(), 1 => nested]
}

/// Headers of any names; each once, since a broker delivers a table.
fn headers() -> impl Strategy<Value = Vec<Header>> {
    let names = select(&NAMES[..]).prop_map(str::to_owned);
    btree_map(names, value(), 0..8).prop_map(|headers| headers.into_iter().collect())
}

fn name() -> impl Strategy<Value = Option<String>> {
    let text = prop_oneof![
        uuid().prop_map(|id: Uuid| TaskId::from(id).to_string()),
        "[a-z.]{0,20}",
        "\\PC{0,20}",
    ];
    option::of(text)
}

fn content_type() -> impl Strategy<Value = Option<String>> {
    let known = select(vec![
        "application/json",
        "application/msgpack",
        "application/vnd.homing.tasks+msgpack",
        "application/vnd.homing.outcomes+msgpack",
        "application/vnd.homing.outcome-table+msgpack",
        "text/plain",
        "",
    ]);
    option::of(known.prop_map(str::to_owned))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..60),
        Just(br#"{"batch":1}"#.to_vec()),
        Just(vec![0xdc, 0xff, 0xff]),
        Just([vec![0xdc, 0xff, 0xff], vec![0xc0; 0xffff]].concat()),
        Just(vec![0x80; BUNDLE_MAX]),
        "\\PC{0,40}".prop_map(String::into_bytes),
    ]
}

fn deaths() -> impl Strategy<Value = Vec<Death>> {
    let death = (
        "[a-z_]{0,20}",
        "(tasks|delay)?\\PC{0,20}",
        any::<u32>(),
        option::of(any::<u64>()),
    );
    vec(death, 0..3).prop_map(|deaths| {
        let deaths = deaths.into_iter();
        deaths
            .map(|(reason, queue, count, time)| Death {
                reason,
                queue,
                count,
                time,
            })
            .collect()
    })
}

/// Any message, of anybody's.
pub(crate) fn any_received() -> impl Strategy<Value = Received> {
    let names = (name(), name(), name(), name(), name());
    let about = (
        content_type(),
        option::of(any::<u64>()),
        option::of(any::<u8>()),
    );
    let arrival = (any::<bool>(), any::<u32>(), deaths());
    (names, about, headers(), body(), arrival).prop_map(
        |(names, about, headers, body, (redelivered, delivery_count, deaths))| Received {
            properties: Properties {
                message_id: names.0,
                correlation_id: names.1,
                kind: names.2,
                reply_to: names.3,
                app_id: names.4,
                content_type: about.0,
                timestamp: about.1,
                priority: about.2,
                headers,
            },
            body: body.into(),
            exchange: "tasks".to_owned(),
            routing_key: "tasks".to_owned(),
            redelivered,
            delivery_count,
            deaths,
        },
    )
}

/// What happens to bytes on their way.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    at: Index,
    bytes: Vec<u8>,
    removed: usize,
}

impl Mutation {
    /// `body`, spoilt.
    pub(crate) fn apply(&self, body: &[u8]) -> Vec<u8> {
        let at = self.at.index(body.len() + 1);
        let rest = (at + self.removed).min(body.len());
        [&body[..at], &self.bytes, &body[rest..]].concat()
    }
}

/// Bytes put in the place of others.
pub(crate) fn mutated() -> impl Strategy<Value = Mutation> {
    (any::<Index>(), vec(any::<u8>(), 0..6), 0_usize..6).prop_map(|(at, bytes, removed)| Mutation {
        at,
        bytes,
        removed,
    })
}
