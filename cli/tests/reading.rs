//! The verbs that read the store, run against a real one, piped.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use bytes::Bytes;
use homing_protocol::{
    AttemptId, BatchEvent, BatchId, BatchRecord, BatchRow, ContentType, Envelope, Payload, Report,
    Status, TaskId, Timestamp,
};
use homing_store::{Entry, Opened, StoreUrl, Writer};
use uuid::Uuid;

/// A store of its own, and the program to read it.
struct World {
    folder: PathBuf,
    writer: Writer,
}

fn id(number: u128) -> TaskId {
    Uuid::from_u128(0x01a1_fc18_d018_7064_9c80_0000_0000_0000 + number).into()
}

fn batch() -> BatchId {
    Uuid::from_u128(0x01a1_fc18_d018_7064_9c80_317f_a3b1_799d).into()
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

/// An attempt at the task `number`, a row of the batch.
fn report(number: u128, status: Status, text: &str) -> Report {
    let payload = Payload {
        bytes: Bytes::from_static(b"{\"n\":\n1}"),
        content_type: ContentType::Json,
    };
    let kind = "demo.echo".parse().expect("a valid kind");
    let mut envelope = Envelope::new(id(number), kind, payload, now());
    let row = u64::try_from(number).expect("a small number");
    envelope.batch = Some(BatchRow {
        batch: batch(),
        row,
    });
    let mut report = Report::new(&envelope, status, "tasks", now());
    report.attempt = 1;
    report.attempts_max = 5;
    report.attempt_id = Some(AttemptId::from(Uuid::now_v7()));
    report.run_us = 171_000;
    match status {
        Status::Succeeded => report.output = Some(Bytes::copy_from_slice(text.as_bytes())),
        _ => report.error = Some(text.to_owned()),
    }
    report
}

impl World {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _none = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        let opened = Writer::open(&StoreUrl::sqlite(folder.join("homing.db")));
        let Opened::Ready(writer) = opened.expect("a new store") else {
            panic!("the store is new and has another collector")
        };
        Self { folder, writer }
    }

    fn store(&mut self, reports: impl IntoIterator<Item = Report>) -> &mut Self {
        let entries: Vec<_> = reports.into_iter().map(Entry::Report).collect();
        self.writer.write(&entries, now()).expect("it is stored");
        self
    }

    fn seal(&mut self, total: u64) {
        let record = |event| {
            Entry::Batch(BatchRecord {
                batch: batch(),
                label: "night 42".to_owned(),
                event,
                at: now(),
            })
        };
        let entries = [
            record(BatchEvent::Opened),
            record(BatchEvent::Sealed { total, ids: None }),
        ];
        self.writer.write(&entries, now()).expect("it is stored");
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_homing"));
        command
            .args(line.split_whitespace())
            .current_dir(&self.folder)
            .env_clear();
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("it runs")
    }

    fn stdout(&self, line: &str) -> String {
        String::from_utf8(self.run(line).stdout).expect("text")
    }

    fn code(&self, line: &str) -> Option<i32> {
        self.run(line).status.code()
    }
}

#[test]
fn piped_lines_have_all_columns_whole_and_no_header() {
    let mut world = World::new("piped");
    let error = "a\tb\nc \x1b[31m".to_owned() + &"long ".repeat(100);
    world.store([report(1, Status::Exhausted, &error)]);

    let line = world.stdout("list");

    let fields: Vec<_> = line.trim_end_matches('\n').split('\t').collect();
    assert_eq!(
        fields[1..6],
        [
            "exhausted",
            "demo.echo",
            "01a1fc18-d018-7064-9c80-000000000001",
            "1 of 5",
            "171 ms"
        ]
    );
    assert_eq!(fields[6], error.replace('\t', "\\t").replace('\n', "\\n"));
    assert!(fields[0].ends_with('Z') && fields.len() == 7, "{fields:?}");
}

#[test]
fn json_is_one_object_for_each_line() -> Result<(), Box<dyn Error>> {
    let mut world = World::new("json");
    world.store([
        report(1, Status::Succeeded, "{\"a\":\n1}"),
        report(2, Status::Failed, "no"),
    ]);
    world.seal(2);

    for line in [
        "list",
        "tail",
        "stats",
        "wait --batch 01a1fc18-d018-7064-9c80-317fa3b1799d",
    ] {
        let text = world.stdout(&format!("--json {line}"));
        for object in text.lines() {
            assert!(
                serde_json::from_str::<serde_json::Value>(object)?.is_object(),
                "{line}"
            );
        }
    }
    let task: serde_json::Value =
        serde_json::from_str(&world.stdout(&format!("show --json {}", id(2))))?;
    assert_eq!(task["payload"]["n"], 1);
    assert_eq!(task["attempts"][0]["error"], "no");
    assert_eq!(task["batch_label"], "night 42");
    Ok(())
}

#[test]
fn waiting_answers_by_its_exit_code() {
    let mut world = World::new("wait");
    world.store([
        report(1, Status::Succeeded, "\"yes\""),
        report(2, Status::Failed, "no"),
        report(3, Status::Retrying, "not yet"),
    ]);
    let (yes, no, open) = (id(1), id(2), id(3));

    assert_eq!(world.stdout(&format!("wait {yes}")), "\"yes\"\n");
    let cases = [
        (format!("wait {yes}"), 0),
        (format!("wait {no}"), 1),
        (format!("wait {yes} {no}"), 3),
        (format!("wait {open} --timeout 50ms"), 4),
        (format!("wait {open} {yes} --any"), 0),
        (format!("show {}", id(9)), 5),
        (format!("show {open}"), 0),
        ("list --batch nowhere".to_owned(), 5),
    ];
    for (line, code) in cases {
        assert_eq!(world.code(&line), Some(code), "{line}");
    }
}

#[test]
fn a_batch_balances_once_every_task_has_its_outcome() {
    let mut world = World::new("balance");
    let stats = format!("stats --batch {}", batch());
    world.store([
        report(1, Status::Succeeded, "1"),
        report(2, Status::Retrying, "not yet"),
    ]);
    assert_eq!(world.code(&stats), Some(1), "open");
    world.seal(2);
    assert_eq!(world.code(&stats), Some(1), "a task without an outcome");
    assert_eq!(
        world.code(&format!("wait --batch {} --timeout 50ms", batch())),
        Some(4)
    );

    world.store([report(2, Status::Failed, "no")]);

    let text = world.stdout(&stats);
    assert!(text.ends_with("submitted 2 = stored 2, lost 0\n"), "{text}");
    assert_eq!(world.code(&stats), Some(0));
    assert_eq!(world.code(&format!("wait --batch {}", batch())), Some(3));
}

#[test]
fn a_tail_that_goes_on_leaves_nothing_out_and_repeats_nothing() -> Result<(), Box<dyn Error>> {
    let mut world = World::new("tail");
    let succeeded = |number| report(number, Status::Succeeded, "1");
    world.store((1..=700).map(succeeded));
    let mut follower = world
        .command("tail --follow --from 0 --json")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut lines = BufReader::new(follower.stdout.take().ok_or("stdout is piped")?).lines();
    let mut seen: Vec<serde_json::Value> = Vec::new();
    while seen.len() < 650 {
        seen.push(serde_json::from_str(&lines.next().ok_or("it goes on")??)?);
    }
    follower.kill()?;
    follower.wait()?;
    world.store((701..=900).map(succeeded));

    let position = seen[649]["position"].as_str().ok_or("a position")?;
    let rest = world.stdout(&format!("tail --json --from {position}"));

    for line in rest.lines() {
        seen.push(serde_json::from_str(line)?);
    }
    let ids: Vec<_> = seen.iter().filter_map(|line| line["id"].as_str()).collect();
    let expected: Vec<_> = (1..=900).map(|number| id(number).to_string()).collect();
    assert_eq!(ids, expected);
    Ok(())
}

#[test]
fn a_reader_that_goes_ends_it_quietly() -> Result<(), Box<dyn Error>> {
    let mut world = World::new("pipe");
    let large = format!("\"{}\"", "x".repeat(1_000));
    world.store((1..=1_000).map(|number| report(number, Status::Succeeded, &large)));
    let mut child = world
        .command("list -n 1000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;

    drop(child.stdout.take());
    let output = child.wait_with_output()?;

    assert_eq!(String::from_utf8(output.stderr)?, "");
    assert_eq!(output.status.code(), Some(0));
    Ok(())
}

#[test]
fn reading_creates_no_store() -> Result<(), Box<dyn Error>> {
    let world = World::new("none");
    for verb in [
        "list",
        "tail",
        "stats",
        "wait --batch x",
        "show 01a1fc18-d018-7064-9c80-317fa3b1799d",
    ] {
        let output = world.command(verb).arg("--store=sqlite:none.db").output()?;

        assert_eq!(output.status.code(), Some(69), "{verb}");
        assert!(!world.folder.join("none.db").exists(), "{verb}");
    }
    Ok(())
}

#[test]
fn whoever_waits_sees_what_is_stored_meanwhile() -> Result<(), Box<dyn Error>> {
    let mut world = World::new("follow");
    world.store([report(1, Status::Succeeded, "1")]);
    let waiting = world
        .command(&format!("wait {}", id(2)))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;

    world.store([report(2, Status::Succeeded, "\"late\"")]);
    let output = waiting.wait_with_output()?;

    assert_eq!(output.stdout, b"\"late\"\n");
    Ok(())
}
