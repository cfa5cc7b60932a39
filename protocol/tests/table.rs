//! Several reports in one message: what is written, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

use homing_protocol::limit::{BUNDLE_MAX, DEPTH_MAX, NAME_BYTES_MAX, NODES_MAX};
use homing_protocol::{
    ContentType, DecodeError, Destination, Digest, HeaderValue, Received, Report, Run, Status,
    Timestamp, decode_reports, encode_reports, to_json,
};
use serde::ser::{Serialize, Serializer};

const MAPS: &str = "application/vnd.homing.outcomes+msgpack";
const TABLE: &str = "application/vnd.homing.outcome-table+msgpack";

fn report(number: u128) -> Report {
    let task = uuid::Uuid::from_u128(number).into();
    let kind = "demo.echo".to_owned();
    Report::bare(task, Run::FIRST, kind, Status::Succeeded, Digest::of(b""))
}

fn written(reports: &[Report]) -> Received {
    let (to, now) = (Destination::Results { key: 0 }, Timestamp::from_ms(0));
    let message = encode_reports(reports, to, "m".to_owned(), now).unwrap();
    Received {
        properties: message.properties,
        body: message.body,
        exchange: "results".to_owned(),
        routing_key: "0".to_owned(),
        redelivered: false,
        delivery_count: 0,
        deaths: Vec::new(),
    }
}

/// A message of that content type and version with `body`.
fn carrying(body: Vec<u8>, content_type: &str, version: i64) -> Received {
    let mut received = written(&[report(1)]);
    let properties = &mut received.properties;
    properties.content_type = Some(content_type.to_owned());
    properties.headers = vec![("homing-version".to_owned(), HeaderValue::Int(version))];
    received.body = body.into();
    received
}

/// Any value of MessagePack that a table may hold.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(untagged)]
enum Value {
    Nil,
    Number(u64),
    Text(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    List(Vec<Self>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A map as it is written, also with a key twice.
#[derive(Clone, Debug)]
struct Map(Vec<(&'static str, Value)>);

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// A table made by hand.
#[derive(Clone, Debug)]
struct Table {
    shared: Map,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// The least that says what [`report`] says.
    fn of(numbers: std::ops::Range<u128>) -> Self {
        let digest = Digest::of(b"").as_bytes().to_vec();
        let row = |number: u128| {
            let task = number.to_be_bytes().to_vec();
            let ids = [task, digest.clone()].map(Value::Bytes);
            let numbers = [0; 3].map(Value::Number);
            ids.into_iter().chain(numbers).collect()
        };
        Self {
            shared: Map(vec![
                ("run", Value::Number(1)),
                ("kind", "demo.echo".into()),
                ("status", "succeeded".into()),
                ("attempt", Value::Number(0)),
                ("attempts_max", Value::Number(0)),
                ("queue", "".into()),
                ("submitted_at", Value::Number(0)),
                ("worker", "".into()),
                ("content_type", "application/msgpack".into()),
            ]),
            columns: vec!["task", "digest", "started_at", "waited_ms", "run_us"],
            rows: numbers.map(row).collect(),
        }
    }

    fn share(mut self, name: &'static str, value: Value) -> Self {
        self.shared.0.retain(|(other, _)| *other != name);
        self.shared.0.push((name, value));
        self
    }

    fn column(mut self, name: &'static str, value: &Value) -> Self {
        self.columns.push(name);
        for row in &mut self.rows {
            row.push(value.clone());
        }
        self
    }

    fn body(&self) -> Vec<u8> {
        rmp_serde::to_vec(&(&self.shared, &self.columns, &self.rows)).unwrap()
    }

    fn read(&self) -> Result<Vec<Report>, DecodeError> {
        decode_reports(&carrying(self.body(), TABLE, 2))
    }
}

/// What is said to be wrong with `body`.
fn problem(body: Vec<u8>) -> String {
    match decode_reports(&carrying(body, TABLE, 2)) {
        Err(DecodeError::Body { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_report_is_a_map_of_version_1_and_several_are_a_table_of_version_2() {
    let about = |received: &Received| {
        let properties = &received.properties;
        let version = properties.header("homing-version").cloned();
        (properties.content_type.clone().unwrap(), version)
    };

    let alone = about(&written(&[report(1)]));
    let together = about(&written(&[report(1), report(2)]));

    assert_eq!(alone, (MAPS.to_owned(), Some(HeaderValue::Int(1))));
    assert_eq!(together, (TABLE.to_owned(), Some(HeaderValue::Int(2))));
}

#[test]
fn what_all_reports_say_is_written_once_and_what_none_says_not_at_all() {
    let mut reports = [report(1), report(2), report(3)];
    reports[1].status = Status::Failed;
    reports[2].error = Some("too late".to_owned());

    let body = written(&reports).body;

    let json = to_json(&body, ContentType::MessagePack).unwrap();
    let parts: serde_json::Value = serde_json::from_str(&json).unwrap();
    let names: Vec<_> = parts[0].as_object().unwrap().keys().collect();
    let columns = "task status digest started_at waited_ms run_us error";
    let columns: Vec<_> = columns.split(' ').collect();
    let shared = "attempt attempts_max content_type kind queue run submitted_at worker";
    assert_eq!(names, shared.split(' ').collect::<Vec<_>>());
    assert_eq!(parts[1], serde_json::json!(columns));
    assert_eq!(parts[2][2][6], "too late");
    assert_eq!(parts[2][0][6], serde_json::Value::Null);
}

#[test]
fn a_text_too_long_to_be_shared_is_written_in_every_row() {
    let mut reports = vec![report(1), report(2)];
    for report in &mut reports {
        report.worker = "w".repeat(NAME_BYTES_MAX + 1);
        report.kind = "k".repeat(NAME_BYTES_MAX);
    }

    let received = written(&reports);

    assert_eq!(decode_reports(&received).unwrap(), reports);
    assert!(received.body.len() < 3 * NAME_BYTES_MAX + 500);
}

#[test]
fn the_content_type_says_the_form_and_the_version_who_understands_it() {
    let maps = ContentType::MessagePack
        .encode("reports", &[report(1), report(2)])
        .unwrap();
    let table = Table::of(1..3).body();

    for version in [1, 2] {
        for (body, content_type) in [(&maps, MAPS), (&table, TABLE)] {
            let read = decode_reports(&carrying(body.clone(), content_type, version));

            assert_eq!(read.unwrap(), [report(1), report(2)], "{content_type}");
        }
    }
    assert!(decode_reports(&carrying(maps, TABLE, 2)).is_err());
    assert!(decode_reports(&carrying(table, MAPS, 2)).is_err());
}

#[test]
fn a_table_of_version_3_is_refused_as_newer() {
    let newer = carrying(Table::of(1..3).body(), TABLE, 3);

    assert!(matches!(
        decode_reports(&newer),
        Err(DecodeError::Version {
            got: 3,
            supported: 2
        })
    ));
}

#[test]
fn fields_that_a_later_version_adds_are_ignored_whatever_they_say() {
    let long = Value::Text("v".repeat(100_000));
    let values = [
        Value::Nil,
        Value::Number(7),
        Value::Bytes(vec![0xff; 3]),
        Value::List(vec![Value::Nil, Value::List(vec!["x".into()])]),
        long,
    ];
    for value in values {
        let table = Table::of(1..3).share("later", value.clone());
        let table = table.column("more", &value).column("more", &value);

        assert_eq!(table.read().unwrap(), [report(1), report(2)], "{value:?}");
    }
}

#[test]
fn a_table_may_share_nothing_and_have_one_row() {
    let mut table = Table::of(1..2);
    for (name, value) in std::mem::replace(&mut table.shared, Map(Vec::new())).0 {
        table = table.column(name, &value);
    }
    table = table.column("output", &Value::Nil);

    assert_eq!(table.read().unwrap(), [report(1)]);
}

#[test]
fn a_required_field_that_is_in_neither_part_is_refused() {
    let whole = Table::of(1..3);
    for (at, (name, _)) in whole.shared.0.iter().enumerate() {
        let mut table = whole.clone();
        table.shared.0.remove(at);

        assert_eq!(problem(table.body()), format!("missing field `{name}`"));
    }
    for (at, name) in whole.columns.iter().enumerate() {
        let mut table = whole.clone();
        table.columns.remove(at);
        for row in &mut table.rows {
            row.remove(at);
        }

        assert_eq!(problem(table.body()), format!("missing field `{name}`"));
    }
}

#[test]
fn a_required_field_that_is_nil_is_refused() {
    let whole = Table::of(1..3);
    for &(name, _) in &whole.shared.0 {
        assert!(whole.clone().share(name, Value::Nil).read().is_err());
        let mut table = whole.clone();
        table.shared.0.retain(|(other, _)| *other != name);

        assert!(table.column(name, &Value::Nil).read().is_err(), "{name}");
    }
    for (at, name) in whole.columns.iter().enumerate() {
        let mut table = whole.clone();
        table.rows[1][at] = Value::Nil;

        assert!(table.read().is_err(), "{name}");
    }
}

#[test]
fn a_field_that_is_there_twice_is_refused() {
    let mut shared = Table::of(1..3);
    shared.shared.0.push(("kind", "demo.other".into()));
    let both = Table::of(1..3).column("kind", &"demo.other".into());
    let columns = Table::of(1..3).column("run_us", &Value::Number(1));

    assert_eq!(problem(shared.body()), "`kind` is there twice");
    assert_eq!(problem(both.body()), "`kind` is there twice");
    assert_eq!(problem(columns.body()), "`run_us` is there twice");
}

#[test]
fn a_row_of_another_length_than_the_columns_is_refused() {
    let (mut short, mut long, mut empty) = (Table::of(1..3), Table::of(1..3), Table::of(1..3));
    short.rows[1].pop();
    long.rows[0].push(Value::Nil);
    empty.rows[0].clear();

    for (table, length) in [(short, 4), (long, 6), (empty, 0)] {
        let expected = format!("invalid length {length}, expected a row of 5 values");
        assert_eq!(problem(table.body()), expected);
    }
}

#[test]
fn as_many_rows_as_a_message_may_carry_are_read_and_no_more_and_none_are_not() {
    let most = BUNDLE_MAX as u128;
    let wrong = |count| format!("{count} items, but 1 to {BUNDLE_MAX} are allowed");

    assert_eq!(Table::of(0..most).read().unwrap().len(), BUNDLE_MAX);
    assert_eq!(problem(Table::of(0..most + 1).body()), wrong(1_025));
    assert_eq!(problem(Table::of(0..0).body()), wrong(0));
}

#[test]
fn what_is_no_array_of_three_is_refused() {
    let table = Table::of(1..3);
    let (shared, columns, rows) = (&table.shared, &table.columns, &table.rows);
    for body in [
        rmp_serde::to_vec(&(shared, columns)),
        rmp_serde::to_vec(&(shared, columns, rows, rows)),
        rmp_serde::to_vec(&(columns, shared, rows)),
        rmp_serde::to_vec(&(shared, rows, columns)),
        rmp_serde::to_vec(&(shared, columns, columns)),
        rmp_serde::to_vec(shared),
        rmp_serde::to_vec(&[0; 0]),
        rmp_serde::to_vec(&serde_bytes::ByteBuf::from([0; 3])),
    ] {
        assert!(!problem(body.unwrap()).is_empty());
    }
}

#[test]
fn a_head_that_says_more_than_the_body_holds_is_refused() {
    let mut parts = Table::of(0..0).body();
    assert_eq!(parts.pop(), Some(0x90));
    let rows = [0xdd, 0xff, 0xff, 0xff, 0xff];

    assert!(problem([&parts[..], &rows].concat()).contains("ends too early"));
    assert!(problem(vec![0x93, 0xdf, 0xff, 0xff, 0xff, 0xff]).contains("ends too early"));
    assert!(problem(vec![0x93, 0x80, 0xdd, 0xff, 0xff, 0xff, 0xff]).contains("ends too early"));
}

#[test]
fn bytes_after_a_table_are_refused_and_so_are_too_deep_and_too_many_values() {
    let after = [Table::of(1..3).body(), vec![0xc0]].concat();
    let deep = (0..DEPTH_MAX).fold(Value::Nil, |value, _| Value::List(vec![value]));
    let many = Value::List(vec![Value::Nil; NODES_MAX / 2]);

    assert!(problem(after).contains("after the value"));
    let deep = Table::of(1..3).share("later", deep);
    assert!(problem(deep.body()).contains("deeper"));
    let many = Table::of(1..3).column("later", &many);
    assert!(problem(many.body()).contains("values"));
}

/// Each row copies what is shared: what a body could say once and mean a
/// thousand times is small, or refused.
#[test]
fn a_small_body_is_no_large_number_of_bytes() {
    let rows = || Table::of(0..BUNDLE_MAX as u128);
    let longest = "v".repeat(NAME_BYTES_MAX);
    for name in ["kind", "queue", "worker"] {
        let most = rows().share(name, longest.as_str().into());
        let more = rows().share(name, format!("{longest}v").as_str().into());
        let far_more = rows().share(name, Value::Text("v".repeat(8 << 20)));

        assert!(most.read().is_ok(), "{name}");
        let refused = format!("`{name}` is shared and has more than 255 bytes");
        assert_eq!(problem(more.body()), refused);
        assert_eq!(problem(far_more.body()), refused);
    }
    for name in ["output", "payload", "error_data", "error", "correlation_id"] {
        for value in [Value::Bytes(vec![0; 1 << 20]), "why".into(), Value::Nil] {
            let refused = format!("`{name}` cannot be shared");
            assert_eq!(problem(rows().share(name, value).body()), refused);
        }
    }
}
