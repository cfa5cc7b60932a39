use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use homing_protocol::{BatchId, Digest, TaskId};
use homing_tests::{Follower, HOMING, Process, TIME_MAX, World, within};

use super::assert_balanced;
use super::pool::Pool;

/// More than the others have: they are submitted in a moment.
const ROWS: usize = 10_000;

const KILLS: usize = 5;

/// How often the journal of the producer is looked at, to kill it in time.
const LOOK: Duration = Duration::from_millis(1);

fn row(number: usize) -> String {
    format!(r#"{{"n":{number}}}"#)
}

fn write_rows(world: &World) {
    let rows: Vec<_> = (1..=ROWS).map(row).collect();
    std::fs::write(world.dir.join("rows.ndjson"), rows.join("\n")).unwrap();
}

/// The ids that the rows have in this batch.
fn ids(batch: BatchId) -> HashSet<TaskId> {
    let kind = "test.echo".parse().unwrap();
    (1..=ROWS)
        .map(|number| {
            let digest = Digest::of(row(number).as_bytes());
            TaskId::of_row(batch, number as u64, &kind, digest)
        })
        .collect()
}

/// `homing submit --rows`, from the start or on with a batch.
fn submit(world: &World, number: usize, bundle: &str, resume: Option<BatchId>) -> Process {
    let mut arguments = vec!["submit", "test.echo", "--rows", "rows.ndjson"];
    arguments.extend(["--journal", "journal.rows", "--bundle", bundle]);
    let batch = resume.map(|batch| batch.to_string());
    if let Some(batch) = &batch {
        arguments.extend(["--resume", batch]);
    }
    world.start_program(&format!("submit-{number}"), HOMING, &arguments)
}

/// The journal's lines until now, the first of which names the batch.
fn journal(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

async fn journal_has(file: &Path, lines: usize) -> Vec<String> {
    let grown = async {
        loop {
            let noted = journal(file);
            if noted.len() >= lines {
                return noted;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    within(TIME_MAX, "the journal grows", grown).await
}

fn batch_of(journal: &[String]) -> BatchId {
    let head: serde_json::Value = serde_json::from_str(&journal[0]).unwrap();
    head["batch"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn of_a_producer_that_is_resumed_lose_nothing_and_give_no_row_two_outcomes() {
    resumed("1").await;
}

#[tokio::test]
async fn of_a_producer_of_bundles_lose_nothing_and_give_no_row_two_outcomes() {
    resumed("16").await;
}

async fn resumed(bundle: &str) {
    let world = World::start().await;
    let collector = world.collector("collector").await;
    let pool = Pool::start(&world);
    let mut follower = Follower::new(world.store().await);
    write_rows(&world);
    let file = world.dir.join("journal.rows");

    let mut batch = None;
    for kill in 0..KILLS {
        let mut submitting = submit(&world, kill, bundle, batch);
        // Below this at the last kill too: rows are left to be submitted.
        let lines = 1 + kill * ROWS / (2 * KILLS);
        let noted = journal_has(&file, lines).await;
        submitting.kill().await;
        batch = Some(batch_of(&noted));
    }
    let mut submitting = submit(&world, KILLS, bundle, batch);
    assert_eq!(submitting.ended().await, 0, "{}", submitting.stderr());

    let batch = batch.unwrap();
    follower.all(ROWS).await;
    let waited = world
        .homing(&["wait", "--batch", &batch.to_string(), "--json"])
        .await;
    assert_eq!(waited.code, 0, "{waited:?}");
    assert_eq!(waited.json()[0]["total"], ROWS);
    pool.stop().await;
    assert_eq!(collector.stop().await, 0);
    assert_balanced(&world, follower, &ids(batch)).await;
    let again = world.journal().runs().len() - ROWS;
    eprintln!(
        "{KILLS} kills of a producer: {ROWS} rows, lost 0, {again} submitted twice and absorbed"
    );
}
