//! Several worker processes share one queue: a busy one gets no more, and what
//! a killed one had begun goes to another.
//!
//! A task is acked after its work, never before. With `--prefetch 1` the broker
//! sends a worker the next task only then.
//!
//! ```console
//! $ AMQP_URL=amqp://guest:guest@localhost:5672/%2f cargo run --bin work_queue
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use homing::prelude::*;
use homing_examples::{Child, Children, Place, is_child};

/// Work that takes as long as it says.
#[derive(serde::Serialize, serde::Deserialize)]
struct Dig {
    hole: u32,
    millis: u64,
}

impl Task for Dig {
    const KIND: &'static str = "example.dig";
    type Output = ();
    type Error = AnyError;
}

async fn dig(task: Dig, _: Attempt) -> Result<(), AttemptError> {
    println!("{}", task.hole);
    tokio::time::sleep(Duration::from_millis(task.millis)).await;
    Ok(())
}

fn main() -> ExitCode {
    // This program is also its own workers.
    if is_child() {
        return homing::worker_main(async || Ok(Worker::new().handler(dig)));
    }
    match lead() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn lead() -> Result<()> {
    Place::run("work-queue", async |place| {
        let mut children = Children::new();
        let flags = ["--concurrency", "1", "--prefetch", "1", "--quiet"];
        let mut workers = [
            children.start(place, 1, &flags)?,
            children.start(place, 2, &flags)?,
        ];
        place.workers(2).await?;
        let producer = place.producer().await?;

        fair_dispatch(&producer, &mut children).await?;
        a_killed_worker(&producer, &mut children, &mut workers).await
    })
    .await
}

/// One worker has a long task; the short ones that follow go to the other.
async fn fair_dispatch(producer: &Producer, children: &mut Children) -> Result<()> {
    let long = producer
        .submit(Dig {
            hole: 0,
            millis: 1_500,
        })
        .await?;
    let (busy, _) = children.line().await?;
    println!("worker {busy} digs a hole that takes long");

    let mut short = Vec::new();
    for hole in 1..=8 {
        short.push(producer.submit(Dig { hole, millis: 5 }).await?);
    }
    let outcomes = try_join_all(short.iter().map(Handle::outcome)).await?;
    let busy_one = long.outcome().await?.worker;
    let by_other = outcomes
        .iter()
        .filter(|outcome| outcome.worker != busy_one)
        .count();
    println!("of 8 short ones the other worker dug {by_other}");
    ensure!(by_other >= 6, "the tasks went to a worker that was busy");

    for _ in 1..=8 {
        children.line().await?;
    }
    Ok(())
}

/// A worker is killed in the middle of a task; the other one gets the task.
async fn a_killed_worker(
    producer: &Producer,
    children: &mut Children,
    workers: &mut [Child; 2],
) -> Result<()> {
    let handle = producer
        .submit(Dig {
            hole: 9,
            millis: 1_500,
        })
        .await?;
    let (number, hole) = children.line().await?;
    let worker = workers
        .get_mut(number - 1)
        .context("there are two workers")?;
    println!("worker {number} began hole {hole}, and is killed");
    worker.kill().await?;

    let (other, hole) = children.line().await?;
    println!("worker {other} got hole {hole}");
    let outcome = handle.outcome().await?;
    println!("hole {hole} is {}", outcome.status());
    ensure!(other != number, "the worker that was killed went on");
    ensure!(
        !outcome.worker.ends_with(&format!("/{}", worker.id())),
        "a dead worker answered"
    );
    ensure!(outcome.result.is_ok(), "the task did not succeed");
    Ok(())
}
