//! Messages made to break their reader: none is a panic, a loss, or more memory
//! than its size allows.

#![expect(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod message;

use bytes::Bytes;
use homing_protocol::limit::{BUNDLE_MAX, HEADER_BYTES_MAX};
use homing_protocol::{
    BatchId, BatchRecord, BatchRow, ContentType, DeadLetter, Death, DecodeError, Destination,
    Digest, EncodeError, Envelope, HeaderValue, Payload, Properties, QueueName, Reason, Received,
    Report, Run, Status, decode_tasks, encode_reports, encode_tasks,
};
use message::{NOW, foreign, id, int, minted, received, text};

const BATCH: &str = "01a1fc18-d018-7064-9c80-317fa3b1799d";

fn tasks() -> Destination {
    Destination::Queue(QueueName::tasks())
}

fn envelope(number: u128) -> Envelope {
    let payload = Payload {
        bytes: Bytes::from_static(b"{}"),
        content_type: ContentType::Json,
    };
    let id = uuid::Uuid::from_u128(number).into();
    let mut envelope = Envelope::new(id, "demo.echo".parse().unwrap(), payload, NOW);
    envelope.batch = Some(BatchRow {
        batch: BATCH.parse().unwrap(),
        row: 7,
    });
    envelope.run = Run::new(2).unwrap();
    envelope
}

fn single() -> Received {
    received(envelope(1).to_message(tasks(), "m".to_owned()))
}

fn bundle(numbers: impl IntoIterator<Item = u128>) -> Received {
    let envelopes: Vec<_> = numbers.into_iter().map(envelope).collect();
    received(encode_tasks(&envelopes, tasks(), "m".to_owned()).unwrap())
}

fn dead(received: Received) -> DeadLetter {
    DeadLetter::decode(received, str::to_owned, NOW)
}

fn decode(received: &Received) -> Result<Vec<Envelope>, DecodeError> {
    decode_tasks(received, None, NOW, minted).map(|identity| identity.tasks)
}

fn set(received: &mut Received, header: (String, HeaderValue)) {
    received
        .properties
        .headers
        .retain(|(name, _)| *name != header.0);
    received.properties.headers.push(header);
}

#[test]
fn a_payload_that_was_changed_on_the_way_is_refused() {
    let mut alone = single();
    alone.body = Bytes::from_static(b"[]");
    let mut together = bundle([1, 2]);
    let mut body = together.body.to_vec();
    let at = body.windows(2).position(|two| two == b"{}").unwrap();
    body[at..at + 2].copy_from_slice(b"[]");
    together.body = body.into();

    assert!(matches!(decode(&alone), Err(DecodeError::Digest)));
    assert!(matches!(decode(&together), Err(DecodeError::Digest)));
}

#[test]
fn a_spoilt_task_still_counts_in_its_batch_and_run() {
    let mut changed = single();
    changed.body = Bytes::from_static(b"[]");
    let mut header = single();
    set(&mut header, text("homing-due-at", "tomorrow"));
    let mut kind = single();
    kind.properties.kind = Some("No Kind".to_owned());
    let mut content_type = single();
    content_type.properties.content_type = Some("text/plain".to_owned());

    for received in [changed, header, kind, content_type] {
        assert!(decode(&received).is_err());
        let read = dead(received);

        let report = &read.reports[0];
        assert_eq!(report.task, envelope(1).id);
        assert_eq!(report.run, envelope(1).run);
        assert_eq!(report.batch_row(), envelope(1).batch);
        assert_eq!(report.submitted_at, NOW);
        assert_eq!(report.payload.as_ref(), Some(&read.received.body));
    }
}

#[test]
fn a_bundle_with_one_spoilt_task_is_as_many_dead_tasks_as_it_carries() {
    let mut spoilt = bundle([1, 2, 3]);
    let mut body = spoilt.body.to_vec();
    let at = body.windows(2).rposition(|two| two == b"{}").unwrap();
    body[at] = b'[';
    spoilt.body = body.into();
    assert!(decode(&spoilt).is_err());

    let tasks: Vec<_> = dead(spoilt)
        .reports
        .iter()
        .map(|report| report.task)
        .collect();

    assert_eq!(tasks, [1, 2, 3].map(|number| envelope(number).id));
}

#[test]
fn a_bundle_keeps_both_tasks_of_one_id() {
    let twice = bundle([1, 1]);

    assert_eq!(decode(&twice).unwrap().len(), 2);
    assert_eq!(dead(twice).reports.len(), 2);
}

#[test]
fn a_bundle_that_lacks_a_task_is_refused() {
    let mut short = bundle([1, 2]);
    set(&mut short, int("homing-bundle", 3));

    assert!(decode(&short).is_err());
}

#[test]
fn no_bundle_is_written_that_no_reader_takes() {
    let many: Vec<_> = (0..=BUNDLE_MAX as u128).map(envelope).collect();
    let report = Report::new(&envelope(1), Status::Failed, "tasks", NOW);
    let reports = vec![report; BUNDLE_MAX + 1];
    let results = Destination::Results { key: 0 };

    for count in [0, BUNDLE_MAX + 1] {
        let tasks = encode_tasks(&many[..count], tasks(), "m".to_owned());
        let reports = encode_reports(&reports[..count], results.clone(), "m".to_owned(), NOW);

        assert!(matches!(tasks, Err(EncodeError::Invalid { .. })));
        assert!(matches!(reports, Err(EncodeError::Invalid { .. })));
    }
}

#[test]
fn tasks_that_differ_in_what_a_bundle_says_once_do_not_share_one() {
    let mut kind = envelope(2);
    kind.kind = "demo.other".parse().unwrap();
    let mut deadline = envelope(2);
    deadline.expires_at = Some(NOW);
    let mut requester = envelope(2);
    requester.requester.correlation_id = Some("order 17".to_owned());

    for other in [kind, deadline, requester] {
        let encoded = encode_tasks(&[envelope(1), other], tasks(), "m".to_owned());

        assert!(matches!(encoded, Err(EncodeError::Invalid { .. })));
    }
}

#[test]
fn a_dead_letter_fits_its_headers_and_keeps_ours() {
    let mut received = single();
    for number in 0..100 {
        let value = "v".repeat(number * 40);
        set(
            &mut received,
            text(&format!("homing-future-{number}"), &value),
        );
        set(&mut received, text(&format!("foreign-{number}"), &value));
    }
    let detail = "ä".repeat(10_000);

    let message = DeadLetter::message(
        &received,
        Reason::Malformed,
        &detail,
        "tasks",
        "d".to_owned(),
    );

    let properties = &message.properties;
    assert!(properties.header_bytes() <= HEADER_BYTES_MAX);
    assert!(
        properties
            .text("homing-detail")
            .unwrap()
            .ends_with("are left out")
    );
    assert!(properties.header("homing-future-1").is_some());
    assert!(properties.header("foreign-99").is_none());
    let read = dead(message::received(message));
    assert_eq!(read.reports[0].batch_row(), envelope(1).batch);
}

#[test]
fn a_dead_letter_fits_its_headers_even_if_ours_are_huge() {
    for name in [
        "homing-batch",
        "homing-reply",
        "homing-task",
        "homing-message",
    ] {
        let mut received = single();
        set(&mut received, text(name, &"v".repeat(100_000)));

        let message = DeadLetter::message(&received, Reason::Malformed, "", "q", "d".to_owned());

        assert!(
            message.properties.header_bytes() <= HEADER_BYTES_MAX,
            "{name}"
        );
    }
}

#[test]
fn headers_that_every_task_of_a_bundle_would_copy_are_bounded() {
    for name in ["homing-future", "homing-reply", "tracestate"] {
        let mut huge = bundle([1, 2]);
        set(&mut huge, text(name, &"v".repeat(HEADER_BYTES_MAX)));

        let refused = decode(&huge);

        assert!(
            matches!(refused, Err(DecodeError::TooLarge { .. })),
            "{name}"
        );
        assert_eq!(dead(huge).reports.len(), 2, "{name}");
    }
}

#[test]
fn a_foreign_header_of_any_size_is_no_concern_of_ours() {
    let huge = foreign(Properties {
        headers: vec![text("foreign", &"v".repeat(100_000))],
        ..Properties::default()
    });

    assert!(decode(&huge).is_ok());
}

#[test]
fn the_brokers_word_on_a_death_counts_more_than_a_header() {
    let mut forged = single();
    set(&mut forged, text("homing-reason", "rejected"));
    forged.deaths = vec![Death {
        reason: "expired".to_owned(),
        queue: "tasks".to_owned(),
        count: 1,
        time: None,
    }];

    let read = dead(forged);

    assert_eq!(
        (read.reason, read.queue.as_str()),
        (Reason::Expired, "tasks")
    );
    assert_eq!(read.reports[0].status, Status::Expired);
}

#[test]
fn a_kind_that_is_none_is_reported_as_a_question_mark() {
    for kind in [None, Some(String::new()), Some("No Kind".to_owned())] {
        let mut received = single();
        received.properties.kind = kind;

        assert_eq!(dead(received).reports[0].kind, "?");
    }
}

#[test]
fn a_batch_with_more_tasks_than_can_be_stored_is_refused() {
    let body = |total| format!(r#"{{"batch":"{BATCH}","event":"sealed","total":{total},"at":0}}"#);
    let decode = |total| {
        let mut received = foreign(Properties::default());
        received.body = body(total).into();
        BatchRecord::decode(&received)
    };

    assert!(decode(i64::MAX.unsigned_abs()).is_ok());
    assert!(decode(u64::MAX).is_err());
}

#[test]
fn a_label_that_no_reader_takes_is_not_written() {
    let record = BatchRecord {
        batch: BatchId::from(id(BATCH).as_uuid()),
        label: "x".repeat(2 << 20),
        event: homing_protocol::BatchEvent::Opened,
        at: NOW,
    };

    assert!(matches!(
        record.to_message("m".to_owned()),
        Err(EncodeError::TooLarge { .. })
    ));
}

#[test]
fn a_digest_is_of_the_bytes_as_they_travel() {
    assert_eq!(decode(&single()).unwrap()[0].digest, Digest::of(b"{}"));
}
