//! The messages.

use homing_protocol::{Reason, TaskId};
use homing_tests::{RawProperties, Table};
use uuid::Uuid;

use super::CASE;

/// What becomes of a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Dead(Reason),
    Runs,
    /// It waits in the broker.
    Delayed,
}

/// A message, and what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) id: TaskId,
    pub(super) properties: RawProperties,
    pub(super) body: Vec<u8>,
    pub(super) end: End,
}

const JSON: &str = "application/json";
const PACK: &str = "application/msgpack";

const MALFORMED: End = End::Dead(Reason::Malformed);
const OVERSIZE: End = End::Dead(Reason::Oversize);
const EXPIRED: End = End::Dead(Reason::Expired);

const TEN_YEARS_MS: i64 = 10 * 365 * 24 * 3_600 * 1_000;

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis() as i64
}

/// A good task in all but what `change` does.
pub(super) fn case(
    name: &str,
    end: End,
    change: impl FnOnce(RawProperties, Table) -> (RawProperties, Table),
) -> Case {
    let id = TaskId::from(Uuid::now_v7());
    let properties = RawProperties::task("test.echo").message_id(id.to_string().as_bytes());
    let table = Table::new().text(CASE.as_bytes(), name.as_bytes());
    let (properties, table) = change(properties, table);
    Case {
        name: name.to_owned(),
        id,
        properties: properties.headers(&table),
        body: br#"{"n":7}"#.to_vec(),
        end,
    }
}

pub(super) fn with_header(name: &str, end: End, change: impl FnOnce(Table) -> Table) -> Case {
    case(name, end, |properties, table| (properties, change(table)))
}

pub(super) fn with_property(
    name: &str,
    end: End,
    change: impl FnOnce(RawProperties) -> RawProperties,
) -> Case {
    case(name, end, |properties, table| (change(properties), table))
}

pub(super) fn with_body(name: &str, end: End, content_type: &str, body: Vec<u8>) -> Case {
    let content_type = content_type.as_bytes();
    let case = with_property(name, end, |properties| {
        properties.content_type(content_type)
    });
    Case { body, ..case }
}

/// The headers of ours that are numbers, each with numbers and types it must
/// not have.
fn numbers() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in [
        "homing-attempt",
        "homing-run",
        "homing-submitted-at",
        "homing-expires-at",
        "homing-due-at",
    ] {
        let header = name.as_bytes();
        let text = |table: Table| table.text(header, b"7");
        cases.push(with_header(&format!("{name} as text"), MALFORMED, text));
        let table = |table: Table| table.table(header, &Table::new());
        cases.push(with_header(&format!("{name} as a table"), MALFORMED, table));
        let void = |table: Table| table.field(header, b'V', b"");
        cases.push(with_header(&format!("{name} as void"), MALFORMED, void));
        let float = |table: Table| table.field(header, b'd', &7_f64.to_be_bytes());
        cases.push(with_header(&format!("{name} as a float"), MALFORMED, float));
    }
    for name in ["homing-attempt", "homing-run"] {
        for number in [0, -1, i64::MIN, i64::MAX, 1 << 32] {
            let named = format!("{name} {number}");
            let header = |table: Table| table.number(name.as_bytes(), number);
            cases.push(with_header(&named, MALFORMED, header));
        }
    }
    cases
}

fn times() -> Vec<Case> {
    let (past, future) = (now_ms() - TEN_YEARS_MS, now_ms() + TEN_YEARS_MS);
    let at = |name: &str, ms: i64, end: End| {
        let header = |table: Table| table.number(name.as_bytes(), ms);
        with_header(&format!("{name} {ms}"), end, header)
    };
    vec![
        at("homing-submitted-at", past, End::Runs),
        at("homing-submitted-at", future, End::Runs),
        at("homing-submitted-at", i64::MIN, End::Runs),
        at("homing-submitted-at", i64::MAX, End::Runs),
        at("homing-expires-at", past, EXPIRED),
        at("homing-expires-at", i64::MIN, EXPIRED),
        at("homing-expires-at", future, End::Runs),
        at("homing-expires-at", i64::MAX, End::Runs),
        at("homing-due-at", past, End::Runs),
        at("homing-due-at", i64::MIN, End::Runs),
        at("homing-due-at", future, End::Delayed),
        at("homing-due-at", i64::MAX, End::Delayed),
        with_property("a timestamp without a date", End::Runs, |properties| {
            properties.timestamp(u64::MAX)
        }),
    ]
}

/// Every legal tag but those that end a link.
fn tags() -> Vec<Case> {
    let list = |items: &[u8]| [&(items.len() as u32).to_be_bytes()[..], items].concat();
    let values: [(u8, Vec<u8>); 17] = [
        (b't', vec![1]),
        (b'b', vec![0x80]),
        (b'B', vec![0xff]),
        (b's', vec![0x80, 0]),
        (b'u', vec![0xff; 2]),
        (b'I', vec![0x80, 0, 0, 0]),
        (b'i', vec![0xff; 4]),
        (b'l', vec![0x80; 8]),
        (b'f', f32::NAN.to_be_bytes().to_vec()),
        (b'd', f64::INFINITY.to_be_bytes().to_vec()),
        (b'D', vec![255, 0xff, 0xff, 0xff, 0xff]),
        (b'S', list(b"text")),
        (b'A', list(b"VVt\x01x\0\0\0\x02\xff\xfe")),
        (b'T', vec![0xff; 8]),
        (b'F', list(b"")),
        (b'V', Vec::new()),
        (b'x', list(b"\xff\xfe")),
    ];
    let odd = |(tag, value): (u8, Vec<u8>)| {
        let name = format!("a header with tag {}", tag as char);
        with_header(&name, End::Runs, |table| table.field(b"odd", tag, &value))
    };
    let mut cases: Vec<_> = values.into_iter().map(odd).collect();
    for name in [
        "x-death",
        "x-delivery-count",
        "homing-crashes",
        "traceparent",
    ] {
        let header = name.as_bytes();
        let text = |table: Table| table.text(header, b"\xe2\x80\xae");
        cases.push(with_header(&format!("{name} as text"), End::Runs, text));
        let number = |table: Table| table.number(header, i64::MAX);
        cases.push(with_header(
            &format!("{name} as a number"),
            End::Runs,
            number,
        ));
        let list = |table: Table| table.field(header, b'A', &list(b"S\0\0\0\x01xt\x01"));
        cases.push(with_header(&format!("{name} as a list"), End::Runs, list));
        let table = |table: Table| table.table(header, &Table::new().number(b"count", -1));
        cases.push(with_header(&format!("{name} as a table"), End::Runs, table));
    }
    for name in ["CC", "BCC"] {
        let header = name.as_bytes();
        let number = |table: Table| table.number(header, 7);
        cases.push(with_header(
            &format!("{name} as a number"),
            End::Runs,
            number,
        ));
        let nowhere = |table: Table| table.field(header, b'A', &list(b"S\0\0\0\x01x"));
        cases.push(with_header(
            &format!("{name} to nowhere"),
            End::Runs,
            nowhere,
        ));
    }
    cases
}

fn identity(namespace: &str) -> Vec<Case> {
    let row = |number: i64| {
        let batch = Uuid::now_v7().to_string();
        with_header(&format!("row {number}"), End::Runs, |table| {
            let batch = table.text(b"homing-batch", batch.as_bytes());
            batch.number(b"homing-row", number)
        })
    };
    let mut cases: Vec<_> = [0, -1, i64::MIN, i64::MAX].into_iter().map(row).collect();
    cases.extend([
        with_header("a task id that is none", MALFORMED, |table| {
            table.text(b"homing-task", b"seven")
        }),
        with_header("a digest of something else", MALFORMED, |table| {
            table.field(
                b"homing-digest",
                b'x',
                &[&[0, 0, 0, 32][..], &[7; 32]].concat(),
            )
        }),
        with_header("a digest as text", MALFORMED, |table| {
            table.text(b"homing-digest", b"7")
        }),
        with_property("a kind of control characters", MALFORMED, |properties| {
            properties.kind(b"\x1b[2J\n")
        }),
        with_property("an empty kind", MALFORMED, |properties| {
            properties.kind(b"")
        }),
        with_property("a kind nobody has", End::Dead(Reason::UnknownKind), |p| {
            p.kind(&[b'k'; 100])
        }),
        with_property("a content type nobody reads", MALFORMED, |properties| {
            properties.content_type(b"text/\xe2\x80\xaehtml")
        }),
        with_property("the highest priority", End::Runs, |p| p.priority(255)),
    ]);
    // Nothing may ever be written into a queue of ours.
    for queue in ["tasks", "tasks.suspect", "results", "dead", "quarantine"] {
        let own = format!("{namespace}.{queue}");
        cases.push(with_property(
            &format!("a reply to {queue}"),
            End::Runs,
            |p| p.reply_to(own.as_bytes()),
        ));
        cases.push(with_header(
            &format!("an inbox {queue}"),
            End::Runs,
            |table| table.text(b"homing-reply", own.as_bytes()),
        ));
    }
    cases
}

/// Bodies that are short.
const BODIES: [(&str, &str, &[u8]); 13] = [
    ("no body", JSON, b""),
    ("no body of MessagePack", PACK, b""),
    ("half a JSON value", JSON, b"{\"n\":"),
    ("JSON and more", JSON, b"{\"n\":7} {}"),
    ("bytes that are no text", JSON, b"{\"n\":\"\xff\"}"),
    ("a number beyond all numbers", JSON, b"{\"n\":1e999}"),
    ("a number that does not fit", JSON, b"{\"n\":-1}"),
    ("an array of 2^32 values", PACK, b"\xdd\xff\xff\xff\xff"),
    ("a map of 2^32 values", PACK, b"\xdf\xff\xff\xff\xff"),
    ("a text of 4 GiB", PACK, b"\xdb\xff\xff\xff\xff1"),
    ("bytes of 4 GiB", PACK, b"\xc6\xff\xff\xff\xff1"),
    ("a byte that begins nothing", PACK, b"\xc1"),
    ("a lone end", PACK, b"\xff\xff"),
];

fn bodies() -> Vec<Case> {
    let short = |(name, content_type, body): &(&str, &str, &[u8])| {
        with_body(name, MALFORMED, content_type, body.to_vec())
    };
    let mut cases: Vec<_> = BODIES.iter().map(short).collect();
    let mut many = vec![0xdd];
    many.extend(1_000_001_u32.to_be_bytes());
    many.resize(many.len() + 1_000_001, 0xc0);
    let balanced = [[b'['; 65], [b']'; 65]].concat();
    let list = [b"[0", &b",0".repeat(500_000)[..], b"]"].concat();
    let space = vec![b' '; (1 << 20) + 1];
    let deep = b"[".repeat(1_000_000);
    cases.extend([
        with_body("JSON a million deep", MALFORMED, JSON, deep),
        with_body("JSON 65 deep", MALFORMED, JSON, balanced),
        with_body("more values than are read", MALFORMED, PACK, many),
        with_body("JSON of many values", MALFORMED, JSON, list),
        with_body("too many bytes", OVERSIZE, JSON, space),
    ]);
    cases
}

fn chains_and_bundles() -> Vec<Case> {
    let mut cases = Vec::new();
    for links in [20_000, 250_000] {
        let name = format!("MessagePack {links} deep");
        let body = [&b"\x81\xa3Not".repeat(links)[..], b"\xc0"].concat();
        let end = if body.len() > 1 << 20 {
            OVERSIZE
        } else {
            MALFORMED
        };
        cases.push(with_body(&name, end, PACK, body));
    }
    let bundle = |name: &str, content_type: &str, body: &[u8]| {
        let case = with_header(name, MALFORMED, |table| {
            table
                .number(b"homing-version", 1)
                .number(b"homing-bundle", 1 << 40)
        });
        let properties = case.properties.content_type(content_type.as_bytes());
        Case {
            properties,
            body: body.to_vec(),
            ..case
        }
    };
    cases.push(bundle("a bundle of 2^40", PACK, b"\xdd\xff\xff\xff\xff"));
    cases.push(bundle("a bundle of lies", PACK, b"\x93\x01\x02"));
    cases
}

/// All that is published to the queue of tasks.
pub(super) fn on_tasks(namespace: &str) -> Vec<Case> {
    let mut cases = numbers();
    cases.extend(times());
    cases.extend(tags());
    cases.extend(identity(namespace));
    cases.extend(bodies());
    cases.extend(chains_and_bundles());
    let mut giant = Table::new();
    for n in 0..900 {
        giant = giant.text(format!("h{n}").as_bytes(), &[b'v'; 120]);
    }
    cases.push(with_header("headers of 110 kB", End::Runs, |table| {
        table.table(b"giant", &giant)
    }));
    cases
}
