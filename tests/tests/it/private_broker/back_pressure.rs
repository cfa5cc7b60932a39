//! What everybody does while the broker takes nothing: wait, within a bound of
//! memory, say so once, and go on by themselves.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use homing_protocol::Status;
use homing_tests::{HOMING, Node, Process, World, eventually};
use tokio::task::block_in_place;

/// What a program may take at most. It takes 20 MiB when nothing happens; its
/// windows and prefetches bound the rest.
const MEMORY_MIB_MAX: u64 = 120;

const CONFIRMS_NOTHING: &str = "the broker confirms nothing";

fn ctl(node: &Node, arguments: &[&str]) {
    block_in_place(|| node.ctl(arguments));
}

/// Writes a file of `count` rows, and gives its name.
fn rows(world: &World, count: usize) -> &'static str {
    let file = File::create(world.dir.join("file.ndjson")).unwrap();
    let mut file = std::io::BufWriter::new(file);
    for n in 0..count {
        writeln!(file, r#"{{"n":{n}}}"#).unwrap();
    }
    file.flush().unwrap();
    "file.ndjson"
}

fn submit(world: &World, name: &str, rows: &str) -> Process {
    let arguments = ["submit", "test.echo", "--rows", rows, "--batch", name];
    world.start_program(name, HOMING, &arguments)
}

async fn queued(world: &World, count: u64) {
    let all = async || (world.ready("tasks").await == count).then_some(());
    eventually("every row is queued", all).await;
}

fn said_once(process: &Process, text: &str) {
    let said = process.stderr();
    assert_eq!(said.matches(text).count(), 1, "{said}");
}

/// Submits what goes into a pipe of the batch's name, some rows of it at once.
/// The pipe is held open, so that those are not the end of it.
fn submit_from_pipe(world: &World, name: &str, first: usize) -> (Process, File) {
    let pipe = world.dir.join(name);
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let arguments = ["submit", "test.echo", "--rows", name, "--batch", name];
    let process = world.start_program(&format!("submit-{name}"), HOMING, &arguments);
    let held = File::options().write(true).open(&pipe).unwrap();
    let (fed, _) = feed(&pipe, first);
    fed.join().unwrap();
    (process, held)
}

/// Writes rows of 32 KiB into a pipe as fast as they are read, and counts them.
fn feed(pipe: &Path, rows: usize) -> (JoinHandle<()>, Arc<AtomicUsize>) {
    // Open before anybody else lets go of it: a pipe without writers has ended.
    let mut pipe = File::options().write(true).open(pipe).unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let feeding = std::thread::spawn(move || {
        let text = "x".repeat(32 << 10);
        for n in 0..rows {
            writeln!(pipe, r#"{{"n":{n},"text":"{text}"}}"#).unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (feeding, read)
}

/// 3,000 rows are 100 MB. A window holds 8 MiB of them, the sockets some more.
/// One alarm follows the other, so that both are seen to be waited for.
#[tokio::test(flavor = "multi_thread")]
async fn during_an_alarm_rows_are_read_no_further_than_the_window_and_then_on() {
    const FIRST: usize = 100;
    const ROWS: usize = 3_000;
    let node = Node::start();
    let world = World::start_at(node.url()).await;
    let (mut batch, held) = submit_from_pipe(&world, "batch", FIRST);
    queued(&world, FIRST as u64).await;
    let (mut stopped, other) = submit_from_pipe(&world, "stopped", FIRST);
    queued(&world, 2 * FIRST as u64).await;

    block_in_place(|| node.alarm());
    let (rest, read) = feed(&world.dir.join("batch"), ROWS - FIRST);
    let (_more, _) = feed(&world.dir.join("stopped"), 10);
    drop((held, other));
    batch.says(CONFIRMS_NOTHING).await;
    let (read, memory) = (read.load(Ordering::Relaxed), batch.memory_mib());
    stopped.says(CONFIRMS_NOTHING).await;
    stopped.term();
    let code = stopped.ended().await;
    let set_disk_limit = |bytes: u64| {
        let set = format!("rabbit_disk_monitor:set_disk_free_limit({bytes}).");
        block_in_place(|| node.eval(&set));
    };
    set_disk_limit(1_000_000_000_000_000);
    block_in_place(|| node.calm());
    let goes_on = batch.stderr().contains("confirms messages again");
    set_disk_limit(10_000_000);
    let code = (code, batch.ended().await);

    assert_eq!(code, (3, 0), "{} {}", stopped.stderr(), batch.stderr());
    rest.join().unwrap();
    assert!(memory < MEMORY_MIB_MAX, "{memory} MiB");
    assert!(read < ROWS / 2, "{read} rows were read");
    assert!(!goes_on, "{}", batch.stderr());
    said_once(&batch, CONFIRMS_NOTHING);
    said_once(&batch, "the broker confirms messages again");
    let said = stopped.stderr();
    // Of some the confirm was faster than the alarm.
    assert!(said.contains("rows may be queued or not"), "{said}");
}

/// The queue of tasks takes ten, by a policy of the operator's; then that of
/// outcomes.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_queue_refuses_is_published_again_until_it_is_taken() {
    const ROWS: usize = 1_500;
    const LIMIT: &str = r#"{"max-length":10,"overflow":"reject-publish"}"#;
    let node = Node::start();
    let world = World::start_at(node.url()).await;
    let name = |queue: &str| format!("^{}$", world.topology().namespace().name(queue));
    let full = |queue: &str| ctl(&node, &["set_policy", "full", &name(queue), LIMIT]);

    full("tasks");
    let mut batch = submit(&world, "batch", rows(&world, ROWS));
    batch.says("the broker refuses messages").await;
    let collector = world.collector("collector").await;
    let worker = world.worker("worker", &["--concurrency", "4"]).await;
    assert_eq!(batch.ended().await, 0, "{}", batch.stderr());
    let waited = world.homing(&["wait", "--batch", "batch"]).await;
    assert_eq!(waited.code, 0, "{waited:?}");
    said_once(&batch, "the broker refuses messages");

    // Outcomes, and the record that seals the batch: nobody collects.
    full("results");
    assert_eq!(collector.stop().await, 0);
    let mut batch = submit(&world, "second", rows(&world, ROWS));
    worker
        .says("cannot publish what takes the place of a task")
        .await;
    let memory = worker.memory_mib();
    ctl(&node, &["clear_policy", "full"]);
    let collector = world.collector("collector").await;
    assert_eq!(batch.ended().await, 0, "{}", batch.stderr());
    let waited = world.homing(&["wait", "--batch", "second"]).await;

    assert_eq!(waited.code, 0, "{waited:?}");
    assert!(memory < MEMORY_MIB_MAX, "{memory} MiB");
    let store = world.store().await;
    let stats = store.stats(None).await.unwrap();
    assert_eq!(stats[0].counts.get(Status::Succeeded), 2 * ROWS as u64);
    assert_eq!((worker.stop().await, collector.stop().await), (0, 0));
    queued(&world, 0).await;
}
