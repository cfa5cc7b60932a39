use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homing_broker::{PublishError, Window};
use homing_producer::{Producer, SubmitError};
use homing_protocol::{BatchId, Digest, Status, TaskId, TaskKind};
use homing_tests::kind::{Echo, Refuse};
use homing_tests::{Books, Follower, HOMING, Node, Pipeline, World, eventually, within};
use tokio::task::block_in_place;

const TASKS: usize = 200;

const PREFETCH: usize = 8;

/// Far more than a one-shot verb waits for a broker, and less than a batch does.
pub(super) const VERB_TIME_MAX: Duration = Duration::from_secs(25);

/// A broker short of memory takes no messages but goes on delivering.
#[tokio::test(flavor = "multi_thread")]
async fn during_an_alarm_producers_are_told_and_workers_run_no_more_than_they_hold() {
    let node = Node::start();
    let world = World::start_at(node.url()).await;
    let window = Window {
        deadline: Some(Duration::from_secs(2)),
        ..Window::DEFAULT
    };
    let producer = Producer::open_with(world.broker(), window).await.unwrap();
    let mut ids = std::collections::HashSet::new();
    for n in 0..TASKS as u64 {
        ids.insert(producer.submit(Echo { n }).await.unwrap().id());
    }
    let flags = ["--concurrency", "4", "--prefetch", &PREFETCH.to_string()];

    block_in_place(|| node.alarm());
    let worker = world.worker("worker", &flags).await;
    let runs = async || (world.journal().runs().len() >= PREFETCH / 2).then_some(());
    eventually("the worker runs what it holds", runs).await;
    let told = producer.submit(Echo { n: 0 }).await.unwrap_err();
    let ran = world.journal().runs().len();
    block_in_place(|| node.calm());

    let SubmitError::Publish { id, source } = told else {
        panic!("another error: {told:?}");
    };
    assert!(
        matches!(source, PublishError::Unconfirmed { .. }),
        "{source:?}"
    );
    assert!(
        ran <= PREFETCH,
        "{ran} ran while nothing could be published"
    );
    let collector = world.collector("collector").await;
    let mut follower = Follower::new(world.store().await);
    follower.all(TASKS).await;
    drop(producer);
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
    // Of the one that was not confirmed it is not known; if it is there, it is
    // that one task.
    follower.catch_up().await;
    let books = follower.books(&ids).await;
    let unconfirmed = books.foreign;
    let expected = Books {
        foreign: unconfirmed,
        ..Books::balanced(Status::Succeeded, TASKS)
    };
    assert_eq!(books, expected);
    assert!(unconfirmed <= 1, "task {id} and others");
}

/// What a verb says that the broker lets wait.
async fn unconfirmed(world: &World, words: &[&str]) -> String {
    let said = within(VERB_TIME_MAX, "the end of a verb", world.homing(words)).await;
    assert_eq!((said.code, said.stdout.as_str()), (69, ""), "{said:?}");
    let expected = "the broker took the connection, but did not confirm within 5 s";
    assert!(said.stderr.contains(expected), "{said:?}");
    assert!(said.stderr.contains("rabbitmqctl status"), "{said:?}");
    said.stderr
}

/// What a verb answers that does what it is to do.
async fn done(world: &World, words: &[&str]) -> String {
    let said = world.homing(words).await;
    assert_eq!(said.code, 0, "{said:?}");
    said.stdout.trim().to_owned()
}

/// Each does what its error says afterwards, before any worker runs: none of them
/// may make two of one.
#[tokio::test(flavor = "multi_thread")]
async fn one_shot_verbs_end_by_themselves_during_an_alarm_and_say_how_to_go_on() {
    let node = Node::start();
    let pipeline = Pipeline::start_in(World::start_at(node.url()).await, &[]).await;
    let failed = pipeline.record(Refuse { amount: 1 }).await.report.task;
    let Pipeline {
        worker,
        collector: _collector,
        store,
        world,
        ..
    } = pipeline;
    assert_eq!(worker.stop().await, 0);
    let submit = ["submit", "test.echo", r#"{"n":1}"#];
    let keyed = [&submit[..], &["--key", "once"]].concat();
    let replay = ["replay", &failed.to_string()];

    block_in_place(|| node.alarm());
    let told = unconfirmed(&world, &submit).await;
    for words in [&keyed[..], &replay] {
        let told = unconfirmed(&world, words).await;
        assert!(told.contains("the same command"), "{told}");
    }
    // What publishes nothing is not held up.
    done(&world, &["queues"]).await;
    done(&world, &["topology", "check"]).await;
    block_in_place(|| node.calm());

    let (_, id) = told.rsplit_once("--id ").expect("the error names an id");
    let again = [&submit[..], &["--id", id.trim()]].concat();
    let first = done(&world, &again).await;
    let second = done(&world, &keyed).await;
    done(&world, &replay).await;
    let _worker = world.worker("another", &[]).await;
    done(&world, &["wait", &first, &second]).await;
    let ended = async || {
        let record = store.record(failed).await.unwrap();
        record.filter(|record| record.report.status.is_closed())
    };
    let record = eventually("the replay has an outcome", ended).await;
    assert_eq!((first.as_str(), record.report.run.get()), (id.trim(), 2));
    let ids = [first, second].map(|id| id.parse().unwrap());
    let expected = Books {
        foreign: 1,
        ..Books::balanced(Status::Succeeded, 2)
    };
    let books = Follower::new(store).books(&ids.into()).await;
    assert_eq!(books, expected);
}

/// What of a batch is on its way when the broker has its alarm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Moment {
    /// The record that it is opened.
    Opening,
    /// Rows.
    Rows,
    /// The record that it is sealed.
    Sealing,
}

/// Rows before the alarm, and rows during it.
const ROWS: [u64; 2] = [100, 10];

fn pipe(world: &World) -> PathBuf {
    let pipe = world.dir.join("rows");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    pipe
}

/// The end to write to of a pipe that somebody begins to read.
fn open(pipe: &Path) -> File {
    block_in_place(|| File::options().write(true).open(pipe)).unwrap()
}

fn row(row: u64) -> String {
    format!(r#"{{"n":{row}}}"#)
}

fn write(pipe: &mut File, rows: impl IntoIterator<Item = u64>) {
    for n in rows {
        writeln!(pipe, "{}", row(n)).unwrap();
    }
}

/// Begins a batch that is stopped at this moment of it; answers how many rows it
/// has, and the words that go on with it.
async fn stopped(node: &Node, world: &World, moment: Moment) -> (u64, Vec<String>) {
    let [before, during] = ROWS;
    let pipe = pipe(world);
    let words = ["submit", "test.echo", "--rows", "rows", "--batch", "b"];
    if moment == Moment::Opening {
        block_in_place(|| node.alarm());
    }
    let mut submit = world.start_program("submit", HOMING, &words);
    let mut rows = open(&pipe);
    if moment != Moment::Opening {
        write(&mut rows, 1..=before);
        let queued = async || (world.ready("tasks").await == before).then_some(());
        eventually("rows are queued", queued).await;
        block_in_place(|| node.alarm());
    }
    if moment == Moment::Rows {
        write(&mut rows, before + 1..=before + during);
    }
    // Only then the end of the rows is theirs.
    let open = (moment != Moment::Sealing).then_some(rows);
    submit.says("the broker confirms nothing").await;
    submit.term();
    assert_eq!(submit.ended().await, 3, "{}", submit.stderr());
    drop(open);
    block_in_place(|| node.calm());

    let said = submit.stderr();
    let next = said.lines().find_map(|line| line.strip_prefix("next "));
    let next = next.unwrap_or_else(|| panic!("it is not said how to go on: {said}"));
    let words: Vec<_> = next.split_whitespace().map(str::to_owned).collect();
    assert_eq!(words[0], "homing");
    let total = if moment == Moment::Rows {
        before + during
    } else {
        before
    };
    (total, words[1..].to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_stopped_during_an_alarm_is_resumed_and_each_row_has_one_outcome() {
    let node = Node::start();
    for moment in [Moment::Opening, Moment::Rows, Moment::Sealing] {
        let world = World::start_at(node.url()).await;
        let (total, words) = stopped(&node, &world, moment).await;
        let words: Vec<_> = words.iter().map(String::as_str).collect();

        let mut resumed = world.start_program("resumed", HOMING, &words);
        let mut rows = open(&world.dir.join("rows"));
        write(&mut rows, 1..=total);
        drop(rows);
        assert_eq!(resumed.ended().await, 0, "{moment:?}: {}", resumed.stderr());

        let batch: BatchId = resumed.stdout().trim().parse().unwrap();
        let pipeline = Pipeline::start_in(world, &[]).await;
        done(&pipeline.world, &["wait", "--batch", &batch.to_string()]).await;
        let kind = TaskKind::of::<Echo>();
        let id = |n| TaskId::of_row(batch, n, &kind, Digest::of(row(n).as_bytes()));
        let ids = (1..=total).map(id).collect();
        let books = Follower::new(pipeline.store.clone()).books(&ids).await;
        assert_eq!(books, Books::balanced(Status::Succeeded, total as usize));
    }
}
