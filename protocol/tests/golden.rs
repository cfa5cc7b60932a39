//! Every form on the wire, pinned both ways in `golden/`, one file for each.
//!
//! What we write is what the files say, byte for byte, and what the files say
//! is read as what we meant; also with fields and headers that a later version
//! may add. A file that changes is a change of the wire: messages in the old
//! form are in somebody's queue. So a form that is written no more stays, to be
//! read.
//!
//! `HOMING_GOLDEN=write cargo test -p homing-protocol --test golden` writes the
//! files anew; look at their diff before they are committed. CI never sets it.

#![expect(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod document;
mod form;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use document::Document;
use form::{Dead, Form, Meaning, NOW, all, minted};
use homing_protocol::{
    BatchRecord, DeadLetter, HeaderValue, KindRecord, Received, decode_reports, decode_tasks,
};

/// Where the files are, written anew first if that is asked for.
fn folder() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        if std::env::var("HOMING_GOLDEN").is_ok_and(|value| value == "write") {
            for form in all() {
                let Some(written) = written(&form) else {
                    continue;
                };
                let text = serde_json::to_string_pretty(&written).unwrap() + "\n";
                std::fs::write(folder.join(form.name).with_extension("json"), text).unwrap();
            }
        }
        folder
    });
    &FOLDER
}

/// What the file of a form says.
fn pinned(form: &Form) -> Document {
    let path = folder().join(form.name).with_extension("json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

/// What we write, `None` for a form that is only read.
fn written(form: &Form) -> Option<Document> {
    let message = form.message.as_ref()?;
    Some(Document::of(form.about, message, &form.deaths))
}

/// What `received` means, to whoever reads such a form.
fn read(received: Received, form: &Form) -> Meaning {
    match form.meaning {
        Meaning::Tasks { .. } => {
            let identity = decode_tasks(&received, None, NOW, minted).unwrap();
            Meaning::Tasks {
                tasks: identity.tasks,
                minted: identity.minted,
            }
        }
        Meaning::Reports(_) => Meaning::Reports(decode_reports(&received).unwrap()),
        Meaning::Batch(_) => Meaning::Batch(BatchRecord::decode(&received).unwrap()),
        Meaning::Kind(_) => {
            assert!(KindRecord::is_in(&received));
            Meaning::Kind(KindRecord::decode(&received).unwrap())
        }
        Meaning::Dead(_) => {
            let dead = DeadLetter::decode(received, str::to_owned, NOW);
            let reports = dead.reports.iter();
            Meaning::Dead(Dead {
                reason: dead.reason,
                queue: dead.queue,
                tasks: reports.map(|report| (report.task, report.status)).collect(),
            })
        }
    }
}

#[test]
fn what_is_written_is_what_the_files_say() {
    for form in all() {
        let pinned = pinned(&form);

        assert_eq!(
            written(&form).unwrap_or_else(|| pinned.clone()),
            pinned,
            "{}",
            form.name
        );
    }
}

#[test]
fn what_the_files_say_is_read_as_it_was_meant() {
    for form in all() {
        let received = pinned(&form).received();

        assert_eq!(read(received, &form), form.meaning, "{}", form.name);
    }
}

#[test]
fn headers_that_a_later_version_adds_change_nothing_and_go_on() {
    let later = ("homing-later".to_owned(), HeaderValue::Int(1));
    let unrelated = ("unrelated".to_owned(), HeaderValue::Bool(true));
    for mut form in all() {
        let mut received = pinned(&form).received();
        received
            .properties
            .headers
            .extend([later.clone(), unrelated.clone()]);

        let meaning = read(received, &form);

        if let Meaning::Tasks { tasks, .. } = &mut form.meaning {
            for task in tasks {
                task.carried.push(later.clone());
            }
        }
        assert_eq!(meaning, form.meaning, "{}", form.name);
    }
}

#[test]
fn fields_that_a_later_version_adds_change_nothing() {
    for form in all() {
        let mut received = pinned(&form).received();
        let body = match &form.meaning {
            Meaning::Batch(_) => json_with_more(&received.body),
            Meaning::Reports(_) if form.name.ends_with("_v2") => table_with_more(&received.body),
            Meaning::Reports(_) => msgpack_with_more(&received.body),
            Meaning::Tasks { tasks, .. } if tasks.len() > 1 => msgpack_with_more(&received.body),
            _ => continue,
        };
        assert_ne!(body, received.body);
        received.body = body.into();

        assert_eq!(read(received, &form), form.meaning, "{}", form.name);
    }
}

#[test]
fn every_file_is_of_a_form() {
    let names: BTreeSet<_> = all()
        .iter()
        .map(|form| format!("{}.json", form.name))
        .collect();
    let files = std::fs::read_dir(folder()).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());

    assert_eq!(files.collect::<BTreeSet<_>>(), names);
}

/// A JSON object with one more field.
fn json_with_more(body: &[u8]) -> Vec<u8> {
    let rest = body.strip_prefix(b"{").unwrap();
    [br#"{"later":[{"a":1}],"#, rest].concat()
}

/// An array of MessagePack maps, each with one more field.
fn msgpack_with_more(body: &[u8]) -> Vec<u8> {
    let (count, mut rest) = body.split_first().unwrap();
    assert!(matches!(count, 0x91..=0x9f), "a short array");
    let mut more = vec![*count];
    while !rest.is_empty() {
        more.extend(map_with_more(value(&mut rest)));
    }
    more
}

/// A table of reports with one more field that they share, and one more column.
fn table_with_more(body: &[u8]) -> Vec<u8> {
    let mut rest = body.strip_prefix(b"\x93").unwrap();
    let mut more = vec![0x93];
    more.extend(map_with_more(value(&mut rest)));
    more.extend(array_with_more(value(&mut rest), b"\xa5later"));
    let (count, mut rows) = rest.split_first().unwrap();
    assert!(matches!(count, 0x91..=0x9f), "a short array");
    more.push(*count);
    while !rows.is_empty() {
        more.extend(array_with_more(value(&mut rows), b"\x91\xc0"));
    }
    more
}

/// A MessagePack map with one more field.
fn map_with_more(map: &[u8]) -> Vec<u8> {
    let (fields, start) = match map[0] {
        head @ 0x80..=0x8f => (u16::from(head & 0x0f), 1),
        0xde => (u16::from_be_bytes([map[1], map[2]]), 3),
        other => panic!("no map of this size: {other:#x}"),
    };
    let head = (fields + 1).to_be_bytes();
    [&b"\xde"[..], &head, b"\xa5later\x91\xc0", &map[start..]].concat()
}

/// A MessagePack array with one more value, in front of the others.
fn array_with_more(array: &[u8], value: &[u8]) -> Vec<u8> {
    let (values, start) = match array[0] {
        head @ 0x90..=0x9f => (u16::from(head & 0x0f), 1),
        0xdc => (u16::from_be_bytes([array[1], array[2]]), 3),
        other => panic!("no array of this size: {other:#x}"),
    };
    let head = (values + 1).to_be_bytes();
    [&b"\xdc"[..], &head, value, &array[start..]].concat()
}

/// Takes the first MessagePack value off `rest`.
fn value<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let all = *rest;
    let mut reader = rmp_serde::Deserializer::new(&mut *rest);
    let _skipped: serde::de::IgnoredAny = serde::Deserialize::deserialize(&mut reader).unwrap();
    &all[..all.len() - rest.len()]
}
