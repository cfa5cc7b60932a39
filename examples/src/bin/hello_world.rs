//! One producer and one receiver; then several receivers that share the work.
//!
//! ```console
//! $ AMQP_URL=amqp://guest:guest@localhost:5672/%2f cargo run --bin hello_world
//! ```
//!
//! The receivers are workers in this process, which a program of yours may have
//! too; `work_queue` and `custom_worker` have workers as processes.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use homing::prelude::*;
use homing::worker::WorkerConfig;
use homing_examples::Place;
use tokio_util::sync::CancellationToken;

/// What travels: the payload of a task, and by `Task` what comes back.
#[derive(serde::Serialize, serde::Deserialize)]
struct Greet {
    name: String,
}

impl Task for Greet {
    const KIND: &'static str = "example.greet";
    type Output = Greeting;
    type Error = AnyError;
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Greeting {
    text: String,
    receiver: u32,
}

/// What runs in a receiver. Its state is its number.
async fn greet(task: Greet, attempt: Attempt<u32>) -> Result<Greeting, AttemptError> {
    Ok(Greeting {
        text: format!("hello, {}", task.name),
        receiver: *attempt.state(),
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    Place::run("hello-world", async |place| {
        let stop = CancellationToken::new();

        receive(1, place, &stop);
        let producer = place.producer().await?;
        let handle = producer
            .submit(Greet {
                name: "world".to_owned(),
            })
            .await?;
        let greeting = handle.output().await?;
        println!("{}", greeting.text);
        ensure!(greeting.text == "hello, world", "another greeting came");

        receive(2, place, &stop);
        receive(3, place, &stop);
        place.workers(3).await?;
        share(&producer).await?;

        stop.cancel();
        Ok(())
    })
    .await
}

/// Starts a receiver that takes one task at a time, until `stop`.
fn receive(number: u32, place: &Place, stop: &CancellationToken) {
    let config = WorkerConfig {
        concurrency: 1,
        prefetch: Some(1),
        ..WorkerConfig::default()
    };
    let worker = Worker::with_state(number).handler(greet);
    // Ends with the program, should that end first.
    tokio::spawn(worker.run(place.broker(), config, stop.clone().cancelled_owned()));
}

/// Submits nine tasks; each goes to one of the receivers, and all get some.
async fn share(producer: &Producer) -> Result<()> {
    let mut handles = Vec::new();
    for number in 1..=9 {
        let name = format!("number {number}");
        handles.push(producer.submit(Greet { name }).await?);
    }
    let greetings = try_join_all(handles.iter().map(Handle::output)).await?;

    for greeting in &greetings {
        println!("{}, says receiver {}", greeting.text, greeting.receiver);
    }
    let texts: BTreeSet<_> = greetings.iter().map(|greeting| &greeting.text).collect();
    let receivers: BTreeSet<_> = greetings.iter().map(|greeting| greeting.receiver).collect();
    ensure!(texts.len() == 9, "each task has its own outcome");
    ensure!(receivers.len() == 3, "each receiver gets some of the tasks");
    Ok(())
}
