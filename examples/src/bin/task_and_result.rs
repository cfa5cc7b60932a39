//! Two queues: producers put tasks into `tasks`; what came of each comes back
//! through `results`, into a store, under the task's own id.
//!
//! Many producers and many workers share the two queues. Each producer is told
//! of its own tasks and of no others; the collector stores all of them.
//!
//! ```console
//! $ AMQP_URL=amqp://guest:guest@localhost:5672/%2f cargo run --bin task_and_result
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use homing::collector::CollectorConfig;
use homing::prelude::*;
use homing::store::{Filter, Store, StoreUrl};
use homing::worker::WorkerConfig;
use homing_examples::Place;
use tokio_util::sync::CancellationToken;

const PRODUCERS: u64 = 4;
const WORKERS: u64 = 3;
const TASKS_EACH: u64 = 25;

/// Squares a number for a producer.
#[derive(serde::Serialize, serde::Deserialize)]
struct Square {
    producer: u64,
    number: u64,
}

impl Task for Square {
    const KIND: &'static str = "example.square";
    type Output = (u64, u64);
    type Error = AnyError;
}

async fn square(task: Square, _: Attempt) -> Result<(u64, u64), AttemptError> {
    Ok((task.producer, task.number * task.number))
}

#[tokio::main]
async fn main() -> Result<()> {
    Place::run("task-and-result", async |place| {
        let folder = std::env::temp_dir().join(place.namespace());
        std::fs::create_dir(&folder)?;
        let ended = tasks_and_results(place, &folder.join("homing.db")).await;
        std::fs::remove_dir_all(&folder)?;
        ended
    })
    .await
}

async fn tasks_and_results(place: &Place, store: &Path) -> Result<()> {
    let stop = CancellationToken::new();
    for _ in 0..WORKERS {
        let worker = Worker::new().handler(square);
        let stopped = stop.clone().cancelled_owned();
        // Ends with the program, should that end first.
        tokio::spawn(worker.run(place.broker(), WorkerConfig::default(), stopped));
    }
    let collector = tokio::spawn({
        let (broker, url) = (place.broker(), StoreUrl::sqlite(store));
        let stopped = stop.clone().cancelled_owned();
        async move { homing::collector::run(broker, &url, CollectorConfig::default(), stopped).await }
    });

    let producers = (1..=PRODUCERS).map(|producer| produce(place, producer));
    let submitted: BTreeSet<TaskId> = try_join_all(producers)
        .await?
        .into_iter()
        .flatten()
        .collect();
    println!("{PRODUCERS} producers were each told of their {TASKS_EACH} tasks");

    let stored = stored(store, submitted.len()).await?;
    println!(
        "the store has {} outcomes, each under its task's id",
        stored.len()
    );
    ensure!(
        stored == submitted,
        "what is stored is not what was submitted"
    );

    stop.cancel();
    collector.await??;
    Ok(())
}

/// Submits tasks over a link of its own and checks that each outcome that comes
/// back is the one of its task. Answers with the tasks' ids.
async fn produce(place: &Place, number: u64) -> Result<Vec<TaskId>> {
    let producer = place.producer().await?;
    let mut handles = Vec::new();
    for n in 1..=TASKS_EACH {
        let task = Square {
            producer: number,
            number: n,
        };
        handles.push((n, producer.submit(task).await?));
    }
    for (n, handle) in &handles {
        let output = handle.output().await?;
        ensure!(
            output == (number, n * n),
            "an outcome of another task came: {output:?}"
        );
    }
    Ok(handles.iter().map(|(_, handle)| handle.id()).collect())
}

/// The ids of the tasks that are stored, once there are `count`.
async fn stored(path: &Path, count: usize) -> Result<BTreeSet<TaskId>> {
    // It is there: the collector made it before it took the first outcome.
    let store = eventually_open(path).await?;
    let mut watch = store.watch().await?;
    loop {
        let limit = u32::try_from(count).context("few tasks")? + 1;
        let records = store.list(&Filter::all(), limit).await?;
        if records.len() >= count {
            return Ok(records.iter().map(|record| record.report.task).collect());
        }
        watch.changed().await?;
    }
}

/// Opens the store as soon as the collector has made it.
async fn eventually_open(path: &Path) -> Result<Store> {
    loop {
        match Store::open(&StoreUrl::sqlite(path)).await {
            Err(homing::store::StoreError::Missing { .. }) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            opened => return Ok(opened?),
        }
    }
}
