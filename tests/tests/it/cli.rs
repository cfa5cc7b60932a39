//! The command line, end to end.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::{Duration, SystemTime};

use homing_broker::{Source, Window};
use homing_protocol::{
    BatchEvent, BatchId, BatchRecord, Destination, QueueName, Report, Status, Timestamp,
    decode_tasks, encode_reports,
};
use homing_store::BatchRef;
use homing_tests::kind::{Echo, Flaky, Refuse};
use homing_tests::{HOMING, Pipeline, Process, Said, World, eventually};
use serde_json::Value;

async fn pipeline() -> Pipeline {
    Pipeline::start(&["--concurrency", "4"]).await
}

/// What was said, but for the code, if that is as expected.
fn coded(said: Said, code: i32) -> Said {
    assert_eq!(said.code, code, "{said:?}");
    said
}

fn texts(lines: &[Value], field: &str) -> Vec<String> {
    let text = |line: &Value| line[field].as_str().unwrap_or("?").to_owned();
    lines.iter().map(text).collect()
}

#[tokio::test]
async fn submit_takes_json_from_the_line_a_file_or_stdin_and_waits_for_the_output() {
    let pipeline = pipeline().await;
    let world = &pipeline.world;
    std::fs::write(world.dir.join("one.json"), r#"{"n":2}"#).unwrap();

    let inline = world
        .homing(&["submit", "test.echo", r#"{"n":1}"#, "--wait"])
        .await;
    let file = world
        .homing(&["submit", "test.echo", "@one.json", "--wait"])
        .await;
    let stdin = world
        .homing_with(&["submit", "test.echo", "-", "--wait"], r#"{"n":3}"#)
        .await;

    let outputs = [inline, file, stdin].map(|said| coded(said, 0).stdout);
    assert_eq!(outputs, ["1\n", "2\n", "3\n"]);
}

#[tokio::test]
async fn submit_answers_the_id_and_waiting_for_a_task_that_fails_is_exit_code_1() {
    let pipeline = pipeline().await;
    let world = &pipeline.world;

    let submitted = world.homing(&["submit", "test.echo", r#"{"n":1}"#]).await;
    let failed = world
        .homing(&["submit", "test.refuse", r#"{"amount":3}"#, "--wait"])
        .await;

    let id = coded(submitted, 0).stdout.trim().parse().unwrap();
    assert_eq!(pipeline.closed(id).await.report.status, Status::Succeeded);
    let failed = coded(failed, 1);
    assert_eq!(failed.stdout, "");
    assert!(
        failed.stderr.contains("3 is too little, it takes 100"),
        "{failed:?}"
    );
}

#[tokio::test]
async fn rejected_rows_are_kept_and_a_corrected_file_goes_on_where_it_stopped() {
    let pipeline = pipeline().await;
    let world = &pipeline.world;
    let rows = world.dir.join("rows.ndjson");
    let submit = ["submit", "test.echo", "--rows", "rows.ndjson", "--json"];
    let submit = [&submit[..], &["--rejects", "rows.ndjson.rejects"]].concat();

    std::fs::write(&rows, "{\"n\":1}\n{\"n\":\n{\"n\":3}\n").unwrap();
    let first = coded(world.homing(&submit).await, 3).json().remove(0);
    let rejects = std::fs::read_to_string(world.dir.join("rows.ndjson.rejects")).unwrap();
    std::fs::write(&rows, "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n").unwrap();
    let batch = first["batch"].as_str().unwrap();
    let resumed = [&submit[..], &["--resume", batch]].concat();
    let second = coded(world.homing(&resumed).await, 0).json().remove(0);
    let waited = world.homing(&["wait", "--batch", batch, "--json"]).await;
    let counts = coded(waited, 0).json().remove(0);

    assert_eq!(
        (&first["submitted"], &first["rejected"]),
        (&2.into(), &1.into())
    );
    assert!(
        rejects.starts_with(r#"{"line":2,"reason":"not valid JSON"#),
        "{rejects}"
    );
    assert_eq!(
        (&second["submitted"], &second["left_out"]),
        (&1.into(), &2.into())
    );
    assert_eq!(
        (&counts["total"], &counts["succeeded"]),
        (&3.into(), &3.into())
    );
    assert!(!world.dir.join("rows.ndjson.rejects").exists());
}

#[tokio::test]
async fn of_a_file_with_a_row_that_is_no_json_nothing_is_sent() {
    let world = World::start().await;
    std::fs::write(world.dir.join("rows.ndjson"), "{\"n\":1}\n{\"n\":\n").unwrap();

    let refused = world
        .homing(&["submit", "test.echo", "--rows", "rows.ndjson"])
        .await;

    let refused = coded(refused, 2);
    assert!(refused.stderr.contains("line 2 "), "{refused:?}");
    assert_eq!(world.waiting().await, []);
}

#[tokio::test]
async fn a_label_in_use_is_refused() {
    let pipeline = pipeline().await;
    let world = &pipeline.world;
    let submit = ["submit", "test.echo", "--rows", "-", "--batch", "night"];

    let first = world
        .homing_with(&[&submit[..], &["--wait"]].concat(), r#"{"n":1}"#)
        .await;
    let second = world.homing_with(&submit, r#"{"n":1}"#).await;

    coded(first, 0);
    let second = coded(second, 2);
    assert!(
        second.stderr.contains("batch `night` is there already"),
        "{second:?}"
    );
}

#[tokio::test]
async fn a_task_is_found_by_the_first_digits_of_its_id() {
    let pipeline = pipeline().await;
    let world = &pipeline.world;
    let id = pipeline.submit(Echo { n: 1 }).await;
    pipeline.closed(id).await;
    let digits = &id.to_string()[..8];

    let shown = coded(world.homing(&["show", digits, "--json"]).await, 0);
    let waited = coded(world.homing(&["wait", digits]).await, 0);
    let none = coded(world.homing(&["show", "00000000"]).await, 5);

    assert_eq!(texts(&shown.json(), "id"), [id.to_string()]);
    assert_eq!(waited.stdout, "1\n");
    assert!(none.stderr.contains("begins with 00000000"), "{none:?}");
}

#[tokio::test]
async fn a_batch_that_is_not_there_is_waited_for_with_a_word_and_the_name_of_one_that_is() {
    let pipeline = pipeline().await;
    let world = &pipeline.world;
    let submit = [
        "submit",
        "test.echo",
        "--rows",
        "-",
        "--batch",
        "night-42",
        "--wait",
    ];
    coded(world.homing_with(&submit, "{\"n\":1}\n").await, 0);

    let wait = ["wait", "--timeout", "1ms", "--batch", "nigth-42"];
    let waited = coded(world.homing(&wait).await, 4);
    let audited = coded(world.homing(&["audit", "--batch", "nigth-42"]).await, 5);

    for said in [&waited, &audited] {
        assert!(
            said.stderr
                .contains("nothing is stored of batch `nigth-42`"),
            "{said:?}"
        );
        assert!(said.stderr.contains("night-42"), "{said:?}");
    }
}

#[tokio::test]
async fn wait_tells_by_its_exit_code_what_came_of_the_tasks() {
    let pipeline = pipeline().await;
    let world = &pipeline.world;
    let good = pipeline.submit(Echo { n: 17 }).await.to_string();
    let bad = pipeline.submit(Refuse { amount: 1 }).await.to_string();
    let nobody = uuid::Uuid::now_v7().to_string();

    let said = [
        (world.homing(&["wait", &good]).await, 0),
        (world.homing(&["wait", &bad]).await, 1),
        (world.homing(&["wait", &good, &bad]).await, 3),
        (world.homing(&["wait", &nobody, &good, "--any"]).await, 0),
        (
            world.homing(&["wait", &nobody, "--timeout", "100ms"]).await,
            4,
        ),
        (world.homing(&["show", &nobody]).await, 5),
    ];

    let said = said.map(|(said, code)| coded(said, code));
    assert_eq!(said[0].stdout, "17\n");
    assert!(said[1].stderr.contains("1 is too little"), "{:?}", said[1]);
    assert!(said[4].stderr.contains("the tasks go on"), "{:?}", said[4]);
}

#[tokio::test]
async fn list_show_and_stats_say_what_is_stored_as_json() {
    let pipeline = pipeline().await;
    let world = &pipeline.world;
    let good = pipeline
        .record(Echo { n: 17 })
        .await
        .report
        .task
        .to_string();
    let bad = pipeline
        .record(Refuse { amount: 1 })
        .await
        .report
        .task
        .to_string();
    let flaky = pipeline
        .record(Flaky { failures: 1 })
        .await
        .report
        .task
        .to_string();

    let all = coded(world.homing(&["list", "--json"]).await, 0).json();
    let problems = coded(world.homing(&["list", "--json", "--problems"]).await, 0).json();
    let shown = coded(world.homing(&["show", "--json", &flaky]).await, 0).json();
    let stats = coded(world.homing(&["stats", "--json"]).await, 0).json();

    assert_eq!(texts(&all, "id"), [flaky, bad.clone(), good]);
    assert_eq!(texts(&problems, "id"), [bad]);
    assert_eq!(problems[0]["error"], "1 is too little, it takes 100");
    assert_eq!(problems[0]["payload"]["amount"], 1);
    assert_eq!(shown[0]["output"], 2);
    assert_eq!(shown[0]["attempts"][0]["error"], "attempt 1 fails");
    let echo = stats
        .iter()
        .find(|line| line["kind"] == "test.echo")
        .unwrap();
    assert_eq!((&echo["tasks"], &echo["succeeded"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn queues_shows_what_waits_and_who_consumes() {
    let world = World::start().await;
    let producer = world.producer().await;
    for n in 0..3 {
        producer.submit(Echo { n }).await.unwrap();
    }
    let _collector = world.collector("collector").await;

    let said = coded(world.homing(&["queues", "--json"]).await, 0).json();

    let line = |name: &str| {
        let full = format!("{}.{name}", world.namespace);
        said.iter().find(|line| line["queue"] == full).unwrap()
    };
    assert_eq!(
        (&line("tasks")["ready"], &line("tasks")["consumers"]),
        (&3.into(), &0.into())
    );
    assert_eq!(line("results")["consumers"], 1);
    assert_eq!(line("delay.*")["ready"], 0);
}

#[tokio::test]
async fn topology_is_applied_and_checked() {
    let world = World::start().await;
    let elsewhere = format!("{}-new", world.namespace);
    let at = |verb| ["topology", verb, "--namespace", elsewhere.as_str()];

    let missing = world.homing(&at("check")).await;
    let applied = world.homing(&at("apply")).await;
    let checked = world.homing(&at("check")).await;
    let created = World::start_named(&world.url, elsewhere.clone(), Vec::new()).await;

    coded(missing, 1);
    coded(applied, 0);
    coded(checked, 0);
    drop(created);
}

/// Reads positions from a tail's answer until now; a torn last line is none.
fn positions(tail: &Process) -> Vec<u64> {
    let stdout = tail.stdout();
    let lines = stdout
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    lines
        .map(|text| line(text)["position"].as_str().unwrap().parse().unwrap())
        .collect()
}

/// A tail is killed again and again while outcomes are stored, and goes on
/// after the last position it printed.
#[tokio::test]
async fn a_tail_goes_on_by_position_with_nothing_twice_and_nothing_left_out() {
    const TASKS: u64 = 2_000;
    let pipeline = Pipeline::start(&["--concurrency", "8"]).await;
    let producer = pipeline.producer.clone();
    let submitting = tokio::spawn(async move {
        let tasks = (0..TASKS).map(|n| Echo { n });
        producer.submit_all(tasks).await.unwrap()
    });

    let (mut seen, mut tails) = (Vec::new(), 0);
    while seen.len() < TASKS as usize {
        let from = seen.last().copied().unwrap_or(0_u64).to_string();
        let arguments = ["tail", "--follow", "--json", "--from", &from];
        let mut tail = pipeline
            .world
            .start_program(&format!("tail-{tails}"), HOMING, &arguments);
        eventually("the tail prints", async || {
            let enough = positions(&tail).len() >= TASKS as usize / 8;
            let all = seen.len() + positions(&tail).len() >= TASKS as usize;
            (enough || all).then_some(())
        })
        .await;
        tail.kill().await;
        seen.extend(positions(&tail));
        tails += 1;
    }

    submitting.await.unwrap();
    let distinct: BTreeSet<_> = seen.iter().copied().collect();
    assert_eq!(
        (seen.len(), distinct.len()),
        (TASKS as usize, TASKS as usize)
    );
    assert!(tails > 1);
}

#[tokio::test]
async fn services_end_at_once_and_name_what_is_missing_where_nothing_was_created() {
    let world = World::start().await;
    let worker = [
        "worker",
        "--run",
        "demo.words=wc -w",
        "--namespace",
        "fresh",
    ];

    let worker = coded(world.homing(&worker).await, 78);
    let collector = coded(
        world.homing(&["collector", "--namespace", "fresh"]).await,
        78,
    );

    for said in [worker, collector] {
        assert!(said.stderr.contains("queue `fresh."), "{said:?}");
        assert!(said.stderr.contains("homing topology apply"), "{said:?}");
    }
}

/// A worker that dies right after its outcome is safe pushes nothing.
#[tokio::test]
async fn whoever_waits_has_an_outcome_that_is_stored_although_its_reply_is_lost() {
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let store = world.store().await;
    let submit = ["submit", "test.echo", r#"{"n":7}"#, "--wait"];
    let mut waiting = world.start_program("waiting", HOMING, &submit);
    let broker = world.broker();
    let source = Source::Tasks(QueueName::tasks());
    let mut consumer = broker.consumer(source, NonZeroU16::MIN).await.unwrap();
    let publisher = broker.publisher(Window::DEFAULT).await.unwrap();

    let delivery = consumer.recv().await.unwrap();
    let now = SystemTime::now().into();
    let tasks = decode_tasks(&delivery.received, None, now, || unreachable!()).unwrap();
    let mut report = Report::new(&tasks.tasks[0], Status::Succeeded, "tasks", now);
    report.output = Some("7".into());
    let (to, id) = (Destination::Results { key: 0 }, "m".to_owned());
    let outcome = encode_reports(&[report], to, id, now).unwrap();
    let replaced = publisher.replace(vec![delivery.token], vec![outcome]).await;
    replaced.unwrap().ack();
    let code = waiting.ended().await;

    assert_eq!((code, waiting.stdout().as_str()), (0, "7\n"));
    let record = store.record(tasks.tasks[0].id).await.unwrap().unwrap();
    assert_eq!(record.report.status, Status::Succeeded);
}

/// Of two records of a batch the later one counts, and whoever wrote the other
/// one may have a clock that is ahead.
#[tokio::test]
async fn a_batch_that_is_resumed_has_the_new_total_though_its_first_seal_is_of_tomorrow() {
    let pipeline = pipeline().await;
    let world = &pipeline.world;
    let rows = |count: u64| {
        (1..=count)
            .map(|n| format!("{{\"n\":{n}}}\n"))
            .collect::<String>()
    };
    let (file, submit) = (
        world.dir.join("rows"),
        ["submit", "test.echo", "--rows", "rows"],
    );
    std::fs::write(&file, rows(3)).unwrap();
    let first = world
        .homing(&[&submit[..], &["--json", "--wait"]].concat())
        .await;
    let batch = coded(first, 0).json()[0]["batch"]
        .as_str()
        .unwrap()
        .to_owned();
    let id: BatchId = batch.parse().unwrap();
    let tomorrow = Timestamp::from(SystemTime::now()).after(Duration::from_hours(24));
    let seal = BatchRecord {
        batch: id,
        label: String::new(),
        event: BatchEvent::Sealed {
            total: 3,
            ids: None,
        },
        at: tomorrow,
    };
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    let seal = seal.to_message("m".to_owned()).unwrap();
    publisher.publish(seal).await.unwrap().await.unwrap();
    eventually("it is stored", async || {
        let batch = pipeline.store.batch(&BatchRef::Id(id)).await.unwrap()?;
        (batch.sealed_at == Some(tomorrow)).then_some(())
    })
    .await;

    std::fs::write(&file, rows(4)).unwrap();
    let resumed = [&submit[..], &["--resume", &batch, "--wait", "--json"]].concat();
    let resumed = coded(world.homing(&resumed).await, 0);

    let counts = resumed.json().pop().unwrap();
    assert_eq!(
        (&counts["total"], &counts["succeeded"]),
        (&4.into(), &4.into())
    );
}

#[tokio::test]
async fn bench_measures_four_loads_draws_them_and_leaves_no_store() {
    let world = World::start().await;

    let measured = world
        .homing(&[
            "bench",
            "--json",
            "--tasks",
            "500",
            "--lone",
            "3",
            "--svg",
            "bench.svg",
        ])
        .await;

    let measured = coded(measured, 0);
    let lines = measured.json();
    assert_eq!(texts(&lines, "load"), ["single", "bundled", "half", "lone"]);
    let tasks: Vec<_> = lines.iter().map(|line| line["tasks"].as_u64()).collect();
    assert_eq!(
        (tasks[0], tasks[1], tasks[3]),
        (Some(500), Some(2_500), Some(3))
    );
    for line in &lines {
        assert!(line["stored_per_sec"].as_f64() > Some(0.0), "{line}");
    }
    let half = &lines[2]["stored"];
    assert!(half["p99_ms"].as_f64() >= half["p50_ms"].as_f64(), "{half}");
    let drawn = std::fs::read_to_string(world.dir.join("bench.svg")).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>"));
    assert!(!world.sqlite().exists());
    let left = std::fs::read_dir(&world.dir).unwrap();
    let left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(left.filter(|name| name.contains("bench-")).count(), 0);
}

#[tokio::test]
async fn a_key_with_another_payload_is_told_and_its_first_outcome_stays() {
    let pipeline = pipeline().await;
    let world = &pipeline.world;
    let keyed = async |payload: &str| {
        let submit = ["submit", "test.echo", payload, "--key", "once", "--wait"];
        coded(world.homing(&submit).await, 0)
    };

    let first = keyed(r#"{"n":1}"#).await;
    let stored = async || {
        let list = ["list", "--json"];
        (!world.homing(&list).await.stdout.is_empty()).then_some(())
    };
    eventually("it is stored", stored).await;
    let again = keyed(r#"{"n":1}"#).await;
    let other = keyed(r#"{"n":2}"#).await;

    let outputs = [&first, &again, &other].map(|said| said.stdout.as_str());
    assert_eq!(outputs, ["1\n"; 3]);
    let told = [&first, &again, &other].map(|said| said.stderr.contains("another payload"));
    assert_eq!(told, [false, false, true], "{other:?}");
}

#[tokio::test]
async fn a_journal_stays_until_every_outcome_is_in_the_store_or_where_it_was_named() {
    let pipeline = pipeline().await;
    let world = &pipeline.world;
    let rows = world.dir.join("rows.ndjson");
    std::fs::write(&rows, "{\"n\":1}\n{\"n\":2}\n").unwrap();
    let journals = || {
        let entries = std::fs::read_dir(&world.dir).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".journal")).collect()
    };
    let submit = async |more: &[&str]| {
        let submit = ["submit", "test.echo", "--rows", "rows.ndjson", "--json"];
        let said = world.homing(&[&submit[..], more].concat()).await;
        let said = coded(said, 0).json().remove(0);
        said["batch"].as_str().unwrap().to_owned()
    };

    submit(&["--wait"]).await;
    let none: Vec<String> = journals();
    submit(&["--wait", "--journal", "mine.journal"]).await;
    let named: Vec<String> = journals();
    std::fs::remove_file(world.dir.join("mine.journal")).unwrap();
    let batch = submit(&[]).await;
    let kept: Vec<String> = journals();
    submit(&["--resume", &batch, "--wait"]).await;
    let resumed: Vec<String> = journals();

    assert_eq!(none, Vec::<String>::new());
    assert_eq!(named, ["mine.journal"]);
    assert_eq!(kept, [format!("rows.ndjson.{batch}.journal")]);
    assert_eq!(resumed, Vec::<String>::new());
    // What it noted is in the store: nothing is submitted twice without it.
    let again = [
        "submit",
        "test.echo",
        "--rows",
        "rows.ndjson",
        "--json",
        "--resume",
        &batch,
    ];
    let again = coded(world.homing(&again).await, 0).json().remove(0);
    assert_eq!(
        (&again["submitted"], &again["left_out"]),
        (&0.into(), &2.into())
    );
    // Nor as another kind, of which nothing but the store can tell.
    std::fs::remove_file(world.dir.join(format!("rows.ndjson.{batch}.journal"))).unwrap();
    let other = [
        "submit",
        "test.sleep",
        "--rows",
        "rows.ndjson",
        "--resume",
        &batch,
    ];
    let other = coded(world.homing(&other).await, 2);
    let told = format!("batch {batch} is of kind test.echo");
    assert!(other.stderr.contains(&told), "{other:?}");
}
