//! What did not succeed, seen, run again and thrown away.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use homing_broker::Window;
use homing_faults::{CRASH_VARIABLE, Point, is_enabled};
use homing_protocol::{
    BatchId, BatchRow, ContentType, DeadLetter, Destination, Envelope, Message, Payload,
    Properties, QueueName, Reason, Received, Report, Run, Status, Task, TaskId, Timestamp,
    encode_reports, encode_tasks,
};
use homing_store::{Filter, Store};
use homing_tests::kind::{Echo, Fail};
use homing_tests::{HOMING, Process, Said, World, eventually, scale};
use serde_json::Value;

/// Fails for good until the file `fixed` is there.
const FIXABLE: &str = "test.fix=test -e fixed || exit 65; cat";

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn coded(said: Said, code: i32) -> Said {
    assert_eq!(said.code, code, "{said:?}");
    said
}

fn envelope(n: u64) -> Envelope {
    let payload = Payload::encode("a payload", &Echo { n }, ContentType::Json, 1_000);
    let id = uuid::Uuid::now_v7().into();
    Envelope::new(id, Echo::KIND.parse().unwrap(), payload.unwrap(), now())
}

/// What a worker would say of the first attempt at this task.
fn report(envelope: &Envelope, status: Status) -> Report {
    let mut report = Report::new(envelope, status, "tasks", now());
    report.attempt = 1;
    report.attempts_max = 1;
    report.attempt_id = Some(uuid::Uuid::now_v7().into());
    match status {
        Status::Succeeded => report.output = Some("1".into()),
        _ => report.error = Some("no luck".to_owned()),
    }
    report
}

fn outcomes(reports: &[Report]) -> Message {
    let id = uuid::Uuid::now_v7().to_string();
    encode_reports(reports, Destination::Results { key: 0 }, id, now()).unwrap()
}

async fn publish(world: &World, messages: impl IntoIterator<Item = Message>) {
    let publisher = world.broker().publisher(Window::DEFAULT).await.unwrap();
    for message in messages {
        publisher.publish(message).await.unwrap().await.unwrap();
    }
}

/// A world with a collector that has stored these outcomes.
async fn stored(reports: &[Report]) -> (World, Process, Store) {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let bundles: Vec<_> = reports.chunks(1_000).map(outcomes).collect();
    publish(&world, bundles).await;
    let store = world.store().await;
    has(&store, reports.len()).await;
    (world, collector, store)
}

async fn has(store: &Store, tasks: usize) {
    eventually(&format!("{tasks} tasks are stored"), async || {
        let stats = store.stats(None).await.unwrap();
        let total: u64 = stats.iter().map(|kind| kind.counts.total()).sum();
        (total >= tasks as u64).then_some(())
    })
    .await;
}

async fn newest(store: &Store, id: TaskId) -> (u32, Status) {
    let record = store.record(id).await.unwrap().unwrap();
    (record.report.run.get(), record.report.status)
}

async fn becomes(store: &Store, id: TaskId, run: u32, status: Status) {
    let what = format!("task {id} is {status} in run {run}");
    eventually(&what, async || {
        let record = store.record(id).await.unwrap()?;
        ((record.report.run.get(), record.report.status) == (run, status)).then_some(())
    })
    .await;
}

fn ids(lines: &[Value]) -> Vec<String> {
    let id = |line: &Value| line["id"].as_str().unwrap().to_owned();
    lines.iter().map(id).collect()
}

#[tokio::test]
async fn a_batch_that_failed_is_fixed_run_again_and_succeeds() {
    const ROWS: usize = 20;
    let world = World::start().await;
    let _collector = world.collector("collector").await;
    let _worker = world.start_program("worker", HOMING, &["worker", "--run", FIXABLE]);
    let rows = "{\"n\":1}\n".repeat(ROWS);
    let submit = ["submit", "test.fix", "--rows", "-", "--json", "--wait"];
    let failed = coded(world.homing_with(&submit, &rows).await, 1).json();
    let batch = failed[0]["batch"].as_str().unwrap();
    let replay = |extra| [&["replay", "--batch", batch, "--json"][..], extra].concat();
    let store = world.store().await;
    let before = store.end().await.unwrap();

    let dry = coded(world.homing(&replay(&["--dry-run"])).await, 0).json();
    let after_dry = store.end().await.unwrap();
    std::fs::write(world.dir.join("fixed"), "").unwrap();
    let why = ["--why", "the disk was full"];
    let done = coded(world.homing(&replay(&why)).await, 0).json();
    let waited = coded(world.homing(&["wait", "--batch", batch, "--json"]).await, 0);
    let again = coded(world.homing(&replay(&[])).await, 0);

    assert_eq!((dry.len(), before), (ROWS, after_dry));
    assert_eq!(ids(&dry), ids(&done));
    assert_eq!(
        (&done[0]["run"], &done[0]["was"]),
        (&2.into(), &"failed".into())
    );
    let counts = &waited.json()[0];
    assert_eq!(
        (&counts["succeeded"], &counts["total"]),
        (&20.into(), &20.into())
    );
    assert_eq!(again.stdout, "");
    let shown = coded(world.homing(&["show", "--json", &ids(&done)[0]]).await, 0).json();
    assert_eq!(shown[0]["earlier_runs"][0]["status"], "failed");
    let replay = &shown[0]["replays"][0];
    assert_eq!(replay["why"], "the disk was full");
    assert_eq!(replay["asked"], format!("replay --batch {batch}"));
    assert!(
        replay["confirmed_at"].is_string() && replay["who"].is_string(),
        "{replay}"
    );
    let audit = world.homing(&["audit", "--batch", batch]).await;
    coded(audit, 0);
}

/// A message of anybody's, as a worker declares it dead.
fn dead(properties: Properties, body: &'static [u8], reason: Reason) -> Message {
    let received = Received {
        properties,
        body: body.into(),
        exchange: String::new(),
        routing_key: String::new(),
        redelivered: false,
        delivery_count: 0,
        deaths: Vec::new(),
    };
    let id = uuid::Uuid::now_v7().to_string();
    DeadLetter::message(&received, reason, "made by a test", "tasks", id)
}

fn properties(kind: &str, message_id: Option<&str>) -> Properties {
    Properties {
        kind: Some(kind.to_owned()),
        message_id: message_id.map(str::to_owned),
        content_type: Some("application/json".to_owned()),
        ..Properties::default()
    }
}

/// A world with a collector that has stored these dead letters, numbered in
/// their order.
async fn with_dead(letters: Vec<Message>) -> (World, Process, Store) {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let store = world.store().await;
    let many = letters.len();
    publish(&world, letters).await;
    eventually("the dead letters are stored", async || {
        (store.dead(100).await.unwrap().len() == many).then_some(())
    })
    .await;
    (world, collector, store)
}

#[tokio::test]
async fn a_poison_dead_letter_is_run_again_as_another_kind() {
    let letters = vec![
        dead(
            properties("Not A Kind", Some("a")),
            br#"{"n":1}"#,
            Reason::Malformed,
        ),
        // Nothing tells it from another: no producer of ours sent it.
        Message {
            destination: Destination::Dead,
            properties: properties("test.ecko", None),
            body: br#"{"n":2}"#[..].into(),
        },
    ];
    let (world, _collector, store) = with_dead(letters).await;
    let world = &world;
    let _worker = world.worker("worker", &[]).await;
    let listed = coded(world.homing(&["dead", "list", "--json"]).await, 0).json();
    let [nameless, named] = [0, 1].map(|at: usize| listed[at]["number"].to_string());
    let replay = |number| async move {
        let arguments = ["replay", number, "--json", "--as-kind", "test.echo"];
        world.homing(&arguments).await
    };

    let refused = world.homing(&["replay", &named]).await;
    let runs = [
        (coded(replay(&named).await, 0).json().remove(0), 2),
        (coded(replay(&nameless).await, 0).json().remove(0), 1),
    ];

    let refused = coded(refused, 1);
    assert!(refused.stderr.contains("--as-kind"), "{refused:?}");
    for (line, run) in &runs {
        assert_eq!(line["run"], *run);
        let id = line["id"].as_str().unwrap().parse().unwrap();
        becomes(&store, id, *run, Status::Succeeded).await;
    }
    // The letter that nothing told from another is a task from now on.
    let shown = world.homing(&["dead", "show", "--json", &nameless]).await;
    assert_eq!(
        coded(shown, 0).json()[0]["task_runs"][0]["id"],
        runs[1].0["id"]
    );
    let again = coded(replay(&nameless).await, 1);
    assert!(again.stderr.contains("it succeeded"), "{again:?}");
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_origin_and_its_bytes() {
    const BROKEN: &[u8] = b"\xff\x00 {";
    let letters = vec![
        dead(
            properties("test.echo", Some("a")),
            BROKEN,
            Reason::Malformed,
        ),
        dead(
            properties("test.echo", Some("b")),
            br#"{"n":2}"#,
            Reason::CrashLoop,
        ),
    ];
    let (world, _collector, _store) = with_dead(letters).await;
    let raw = world.dir.join("raw");
    let say = format!(
        "{} dead show 1 --raw > raw",
        homing_tests::program_path(HOMING).display()
    );

    let broken = coded(world.homing(&["dead", "show", "1", "--json"]).await, 0).json();
    let whole = coded(world.homing(&["dead", "show", "2", "--json"]).await, 0).json();
    let text = coded(world.homing(&["dead", "show", "2"]).await, 0).stdout;
    let status = std::process::Command::new("sh")
        .args(["-c", &say])
        .env("HOMING_STORE", world.store_url().to_string())
        .current_dir(&world.dir)
        .status();
    let refused = coded(world.homing(&["replay", "1"]).await, 1).stderr;
    let missing = world.homing(&["dead", "show", "3"]).await;
    let by_reason = ["dead", "list", "--json", "--reason", "crash-loop"];
    let listed = coded(world.homing(&by_reason).await, 0).json();

    assert_eq!(
        (&broken[0]["payload"], &broken[0]["body"]),
        (&Value::Null, &"ff00207b".into())
    );
    assert_eq!(whole[0]["payload"]["n"], 2);
    assert_eq!(whole[0]["reason"], "crash-loop");
    assert_eq!(whole[0]["exchange"], format!("{}.dead", world.namespace));
    assert!(text.contains("payload\t{\"n\":2}\n"), "{text}");
    assert!(status.unwrap().success());
    assert_eq!(std::fs::read(raw).unwrap(), BROKEN);
    assert!(refused.contains("dead again"), "{refused}");
    coded(missing, 5);
    assert_eq!((listed.len(), &listed[0]["number"]), (1, &2.into()));
}

#[tokio::test]
async fn a_discarded_dead_letter_is_recorded_and_cannot_be_run_again() {
    let letters = vec![
        dead(
            properties("test.echo", Some("a")),
            br#"{"n":1}"#,
            Reason::CrashLoop,
        ),
        dead(
            properties("test.echo", Some("b")),
            br#"{"n":2}"#,
            Reason::Malformed,
        ),
    ];
    let (world, _collector, _store) = with_dead(letters).await;

    let unasked = world.homing(&["dead", "discard", "1"]).await;
    let by_reason = ["dead", "discard", "--reason", "crash-loop", "--dry-run"];
    let dry = coded(world.homing(&by_reason).await, 0);
    let before = coded(world.homing(&["dead", "list", "--json"]).await, 0).json();
    let discard = ["dead", "discard", "1", "--yes", "--why", "a test"];
    let done = coded(world.homing(&discard).await, 0);
    let twice = world.homing(&discard).await;
    let none = world.homing(&["dead", "discard", "7", "--yes"]).await;
    let after = coded(world.homing(&["dead", "list", "--json"]).await, 0).json();
    let shown = coded(world.homing(&["dead", "show", "1", "--json"]).await, 0).json();
    let replayed = world.homing(&["replay", "1"]).await;

    assert!(coded(unasked, 2).stderr.contains("--yes"));
    assert_eq!(dry.stdout.lines().count(), 1);
    assert_eq!((before.len(), after.len()), (2, 1));
    assert_eq!(done.stdout, "1\n");
    coded(twice, 1);
    coded(none, 5);
    let by = &shown[0]["discarded_by"];
    assert_eq!(
        (&by["why"], &by["asked"]),
        (&"a test".into(), &"dead discard 1".into())
    );
    assert_eq!(
        (&shown[0]["body"], &shown[0]["payload"]),
        (&"".into(), &Value::Null)
    );
    assert!(coded(replayed, 1).stderr.contains("discarded"));
}

#[tokio::test]
async fn what_is_on_its_way_or_succeeded_or_unknown_is_left_out() {
    let (failed, good, retrying) = (envelope(1), envelope(2), envelope(3));
    let reports = [
        report(&failed, Status::Failed),
        report(&good, Status::Succeeded),
        report(&retrying, Status::Retrying),
    ];
    let (world, _collector, store) = stored(&reports).await;
    let [failed, good, retrying] = [&failed, &good, &retrying].map(|task| task.id.to_string());
    let nobody = uuid::Uuid::now_v7().to_string();

    let said = [
        (world.homing(&["replay"]).await, 2),
        (world.homing(&["replay", &failed, "--problems"]).await, 2),
        (world.homing(&["replay", &nobody]).await, 5),
        (world.homing(&["replay", &good]).await, 1),
        (world.homing(&["replay", &good, "--force"]).await, 1),
        (world.homing(&["replay", &retrying]).await, 1),
        (
            world
                .homing_with(&["replay", "-"], &format!("{failed}\n{good}\n"))
                .await,
            3,
        ),
        (world.homing(&["replay", &failed]).await, 1),
        (world.homing(&["replay", &failed, "--force"]).await, 0),
        (world.homing(&["replay", "--problems"]).await, 0),
    ];

    let said = said.map(|(said, code)| coded(said, code));
    assert!(said[4].stderr.contains("not kept"), "{:?}", said[4]);
    assert!(said[7].stderr.contains("on its way"), "{:?}", said[7]);
    assert_eq!(said[9].stdout, "");
    assert_eq!(
        newest(&store, failed.parse().unwrap()).await,
        (3, Status::Pending)
    );
    assert_eq!(world.ready("tasks").await, 2);
}

/// The queue that is stored with a task came from outside. Only one of ours
/// that is there is believed.
#[tokio::test]
async fn a_replay_goes_to_no_queue_that_a_message_names() {
    let queue: QueueName = "tasks.big".parse().unwrap();
    let world = World::start_with(&World::broker_url(), vec![queue]).await;
    let _collector = world.collector("collector").await;
    let names = [
        "tasks.big",
        "tasks.gone",
        "results",
        "dead",
        "tasks.suspect",
        "amq.direct",
    ];
    let in_queue = |(n, name): (u64, &str)| {
        let mut report = report(&envelope(n), Status::Failed);
        report.queue = name.to_owned();
        report
    };
    let reports: Vec<_> = (0..).zip(names).map(in_queue).collect();
    publish(&world, [outcomes(&reports)]).await;
    has(&world.store().await, names.len()).await;

    let missing = world
        .homing(&["replay", "--problems", "--queue", "tasks.gone"])
        .await;
    let untouched = world.homing(&["list", "--problems", "--json"]).await;
    coded(world.homing(&["replay", "--problems"]).await, 0);

    let missing = coded(missing, 78);
    assert!(
        missing.stderr.contains("no queue `tasks.gone`"),
        "{missing:?}"
    );
    assert_eq!(coded(untouched, 0).json().len(), names.len());
    assert_eq!(world.ready("tasks.big").await, 1);
    assert_eq!(world.ready("tasks").await, names.len() as u64 - 1);
    assert_eq!(
        (world.ready("results").await, world.ready("dead").await),
        (0, 0)
    );
}

#[tokio::test]
async fn reports_of_older_runs_that_come_late_change_nothing_in_the_new_one() {
    let mut task = envelope(1);
    let batch: BatchId = uuid::Uuid::now_v7().into();
    task.batch = Some(BatchRow { batch, row: 1 });
    let (world, _collector, store) = stored(&[report(&task, Status::Dead)]).await;
    let id = task.id.to_string();
    coded(world.homing(&["replay", &id]).await, 0);
    let of_run = |run: u32, status| {
        let mut task = task.clone();
        task.run = Run::new(run).unwrap();
        outcomes(&[report(&task, status)])
    };

    publish(&world, [of_run(1, Status::Succeeded)]).await;
    let first = eventually("the late outcome is stored", async || {
        let task = store.task(task.id).await.unwrap()?;
        let first = task.earlier.first()?.report.status;
        (first == Status::Succeeded).then_some(task.record.report.status)
    })
    .await;
    publish(
        &world,
        [of_run(2, Status::Failed), of_run(2, Status::Succeeded)],
    )
    .await;
    becomes(&store, task.id, 2, Status::Failed).await;
    coded(world.homing(&["replay", &id]).await, 0);
    publish(
        &world,
        [of_run(2, Status::Succeeded), of_run(3, Status::Succeeded)],
    )
    .await;
    becomes(&store, task.id, 3, Status::Succeeded).await;

    assert_eq!(first, Status::Pending);
    let name = homing_store::BatchRef::Id(batch);
    let counts = store.batch(&name).await.unwrap().unwrap().counts;
    assert_eq!((counts.total(), counts.get(Status::Succeeded)), (1, 1));
    let found = store.task(task.id).await.unwrap().unwrap();
    let runs: Vec<_> = found.earlier.iter().map(|run| run.report.status).collect();
    assert_eq!(runs, [Status::Failed, Status::Succeeded]);
}

#[tokio::test]
async fn two_replays_at_once_run_each_task_again_once() {
    const TASKS: usize = 300;
    let reports: Vec<_> = (0..TASKS as u64)
        .map(|n| report(&envelope(n), Status::Failed))
        .collect();
    let (world, _collector, store) = stored(&reports).await;
    let replay = ["replay", "--problems", "--json", "--rate", "1000"];

    let (first, second) = tokio::join!(world.homing(&replay), world.homing(&replay));

    let replayed: Vec<_> = [first, second]
        .into_iter()
        .flat_map(|said| ids(&coded(said, 0).json()))
        .collect();
    let distinct: BTreeSet<_> = replayed.iter().collect();
    assert_eq!((replayed.len(), distinct.len()), (TASKS, TASKS));
    assert_eq!(world.ready("tasks").await, TASKS as u64);
    for report in &reports {
        assert_eq!(newest(&store, report.task).await, (2, Status::Pending));
    }
}

#[tokio::test]
async fn a_replay_needs_no_collector_and_its_outcomes_wait_for_one() {
    let task = envelope(17);
    let (world, mut collector, store) = stored(&[report(&task, Status::Failed)]).await;
    let _worker = world.worker("worker", &[]).await;
    let id = task.id.to_string();

    collector.kill().await;
    let replayed = world.homing(&["replay", &id]).await;
    let open = newest(&store, task.id).await;
    let waiting = world.homing(&["wait", &id, "--timeout", "300ms"]).await;
    let _collector = world.collector("again").await;
    let waited = world.homing(&["wait", &id]).await;

    coded(replayed, 0);
    assert_eq!(open, (2, Status::Pending));
    coded(waiting, 4);
    assert_eq!(coded(waited, 0).stdout, "17\n");
}

/// A replay dies at every step; the same command goes on. Each task succeeds in
/// run 2, at worst executed twice.
#[tokio::test]
async fn a_replay_that_is_killed_at_any_step_goes_on_with_the_same_runs() {
    const TASKS: usize = 40;
    assert!(is_enabled(), "run the tests by `make test`");
    let points = [
        Point::ReplayBegun,
        Point::ProducerPublished,
        Point::LinkWritten,
        Point::LinkConfirmed,
        Point::ReplayPublished,
        Point::ReplayRecorded,
    ];
    let reports: Vec<_> = (0..(TASKS * points.len()) as u64)
        .map(|n| report(&envelope(n), Status::Failed))
        .collect();
    let (world, _collector, store) = stored(&reports).await;
    let _worker = world.worker("worker", &[]).await;

    for (point, reports) in points.iter().zip(reports.chunks(TASKS)) {
        let ids: Vec<_> = reports
            .iter()
            .map(|report| report.task.to_string())
            .collect();
        let replay: Vec<_> = std::iter::once("replay")
            .chain(ids.iter().map(String::as_str))
            .collect();
        let crash = [(CRASH_VARIABLE, point.name())];
        let mut dying = world.start_program_with(point.name(), HOMING, &replay, &crash);
        assert_eq!(dying.ended().await, -1, "{point}: {}", dying.stderr());

        let again = world.homing(&replay).await;

        assert!([0, 1, 3].contains(&again.code), "{point}: {again:?}");
        for report in reports {
            becomes(&store, report.task, 2, Status::Succeeded).await;
        }
    }

    let all = store.list(&Filter::all(), 10_000).await.unwrap();
    assert_eq!(all.len(), reports.len());
}

/// Nothing but the letter is stored of the task it becomes, until that has run.
#[tokio::test]
async fn a_letter_without_an_id_is_one_task_wherever_its_replay_is_killed() {
    assert!(is_enabled(), "run the tests by `make test`");
    for point in [
        Point::ReplayBegun,
        Point::LinkWritten,
        Point::ReplayPublished,
        Point::ReplayRecorded,
    ] {
        let nameless = Message {
            destination: Destination::Dead,
            properties: properties("test.echo", None),
            body: br#"{"n":1}"#[..].into(),
        };
        let (world, _collector, store) = with_dead(vec![nameless]).await;
        let crash = [(CRASH_VARIABLE, point.name())];
        let replay = ["replay", "1"];
        let mut dying = world.start_program_with(point.name(), HOMING, &replay, &crash);
        assert_eq!(dying.ended().await, -1, "{point}: {}", dying.stderr());
        let _worker = world.worker("worker", &[]).await;

        let again = world.homing(&replay).await;

        assert!([0, 1].contains(&again.code), "{point}: {again:?}");
        has(&store, 1).await;
        let all = store.list(&Filter::all(), 10).await.unwrap();
        becomes(&store, all[0].report.task, 1, Status::Succeeded).await;
        let letter = store.dead_letter(1).await.unwrap().unwrap();
        assert_eq!(letter.record.task, Some(all[0].report.task), "{point}");
        assert_eq!(
            store.list(&Filter::all(), 10).await.unwrap().len(),
            1,
            "{point}"
        );
    }
}

#[tokio::test]
async fn a_task_that_dies_again_is_run_again_with_its_history() {
    let mut task = envelope(1);
    task.kind = "test.echo".parse().unwrap();
    let (world, _collector, store) = stored(&[report(&task, Status::Exhausted)]).await;
    let _worker = world.worker("worker", &[]).await;
    let id = task.id.to_string();

    // As a kind that the payload does not fit.
    for run in [2, 3] {
        let other = ["replay", &id, "--as-kind", Fail::KIND];
        coded(world.homing(&other).await, 0);
        becomes(&store, task.id, run, Status::Dead).await;
    }
    let listed = coded(world.homing(&["dead", "list", "--json"]).await, 0).json();
    let replay = ["replay", &id, "--as-kind", Echo::KIND];
    coded(world.homing(&replay).await, 0);
    becomes(&store, task.id, 4, Status::Succeeded).await;

    let deaths: Vec<_> = listed.iter().map(|line| &line["death"]).collect();
    assert_eq!(deaths, [2, 1]);
    let shown = coded(world.homing(&["show", "--json", &id]).await, 0).json();
    let runs = shown[0]["earlier_runs"].as_array().unwrap();
    let statuses: Vec<_> = runs.iter().map(|run| &run["status"]).collect();
    assert_eq!(statuses, ["dead", "dead", "exhausted"]);
    let stats = store.stats(None).await.unwrap();
    let total: u64 = stats.iter().map(|kind| kind.counts.total()).sum();
    assert_eq!(total, 1, "{stats:?}");
}

#[tokio::test]
async fn many_tasks_are_run_again_at_the_rate_that_is_chosen() {
    const RATE: usize = 500;
    let tasks = 2 * RATE * scale();
    let reports: Vec<_> = (0..tasks as u64)
        .map(|n| report(&envelope(n), Status::Failed))
        .collect();
    let (world, _collector, store) = stored(&reports).await;
    let rate = RATE.to_string();
    let replay = ["replay", "--problems", "--rate", &rate];

    let began = Instant::now();
    let slow = coded(world.homing(&replay).await, 0);
    let took = began.elapsed();

    assert_eq!(slow.stdout.lines().count(), tasks);
    let least = Duration::from_secs(tasks as u64 / RATE as u64);
    assert!(took >= least.mul_f64(0.95), "{took:?}");
    assert_eq!(world.ready("tasks").await, tasks as u64);
    assert!(
        store
            .list(&Filter::all().problems(), 1)
            .await
            .unwrap()
            .is_empty()
    );
    eprintln!("{}", slow.stderr);
}

#[tokio::test]
async fn an_outcome_of_a_task_that_nobody_submitted_is_kept_and_can_be_run_again() {
    let task = envelope(17);
    let (world, _collector, store) = stored(&[report(&task, Status::Failed)]).await;
    let _worker = world.worker("worker", &[]).await;
    let id = task.id.to_string();

    let listed = coded(world.homing(&["list", "--json"]).await, 0).json();
    coded(world.homing(&["replay", &id]).await, 0);

    assert_eq!(ids(&listed), [id]);
    becomes(&store, task.id, 2, Status::Succeeded).await;
}

#[tokio::test]
async fn a_report_under_the_id_of_another_task_is_shown_with_it_and_never_run_again() {
    let task = envelope(1);
    let mut other = envelope(2);
    other.id = task.id;
    let (world, _collector, store) = stored(&[report(&task, Status::Failed)]).await;
    let id = task.id.to_string();
    publish(&world, [outcomes(&[report(&other, Status::Dead)])]).await;
    eventually("the conflict is stored", async || {
        let task = store.task(task.id).await.unwrap()?;
        (task.conflicts.len() == 1).then_some(())
    })
    .await;

    let shown = coded(world.homing(&["show", "--json", &id]).await, 0).json();
    let text = coded(world.homing(&["show", &id]).await, 0).stdout;
    coded(world.homing(&["replay", &id]).await, 0);
    let _worker = world.worker("worker", &[]).await;
    becomes(&store, task.id, 2, Status::Succeeded).await;

    assert_eq!(shown[0]["conflicts"][0]["payload"]["n"], 2);
    assert_eq!(
        (&shown[0]["payload"]["n"], &shown[0]["status"]),
        (&1.into(), &"failed".into())
    );
    assert!(text.contains("the same id with another payload"), "{text}");
    let record = store.record(task.id).await.unwrap().unwrap();
    assert_eq!(record.output_json().as_deref(), Some("1"));
}

#[tokio::test]
async fn a_dead_bundle_is_as_many_tasks_and_all_of_them_are_run_again() {
    const TASKS: u64 = 3;
    let at = now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|n| {
            let mut task = envelope(n);
            task.submitted_at = at;
            task
        })
        .collect();
    let bundle = encode_tasks(&tasks, Destination::Dead, uuid::Uuid::now_v7().to_string());
    let (world, _collector, store) = with_dead(vec![bundle.unwrap()]).await;
    let _worker = world.worker("worker", &[]).await;

    let listed = coded(world.homing(&["dead", "list", "--json"]).await, 0).json();
    let number = listed[0]["number"].to_string();
    let done = coded(world.homing(&["replay", &number, "--json"]).await, 0).json();

    assert_eq!(listed[0]["tasks"], TASKS);
    let expected: BTreeSet<_> = tasks.iter().map(|task| task.id.to_string()).collect();
    assert_eq!(ids(&done).into_iter().collect::<BTreeSet<_>>(), expected);
    for task in &tasks {
        becomes(&store, task.id, 2, Status::Succeeded).await;
    }
}

/// What it has published it writes down before it ends, so that nothing is
/// published twice by the command that goes on.
#[tokio::test]
async fn a_replay_that_is_told_to_stop_ends_between_two_tasks_and_goes_on_later() {
    const TASKS: usize = 60;
    let reports: Vec<_> = (0..TASKS as u64)
        .map(|n| report(&envelope(n), Status::Failed))
        .collect();
    let (world, _collector, store) = stored(&reports).await;
    let replay = ["replay", "--problems", "--rate", "20"];

    let mut first = world.start_program("first", HOMING, &replay);
    eventually("some tasks are run again", async || {
        (!first.stdout().is_empty()).then_some(())
    })
    .await;
    first.term();
    let code = first.ended().await;
    let begun = world.ready("tasks").await;
    let pending = store.stats(None).await.unwrap()[0]
        .counts
        .get(Status::Pending);
    coded(world.homing(&["replay", "--problems"]).await, 0);

    assert_eq!(code, 3, "{}", first.stderr());
    assert!(begun > 0 && begun < TASKS as u64, "{begun}");
    assert_eq!(pending, begun);
    assert_eq!(world.ready("tasks").await, TASKS as u64);
}
