//! Submits a task for each file that is named, and waits for what comes of them.

use std::path::PathBuf;
use std::process::ExitCode;

use homing::prelude::*;

use {{crate}}::Count;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let producer = Producer::from_env().await?;
    let mut handles = Vec::new();
    for path in std::env::args_os().skip(1).map(PathBuf::from) {
        let file = path.display().to_string();
        // Once this is answered the broker has the task on disk.
        handles.push((file, producer.submit(Count { path }).await?));
    }

    let tasks = handles.len();
    eprintln!("submitted: {tasks}; waiting for outcomes (make worker, if none runs)");
    let mut code = ExitCode::SUCCESS;
    for (file, handle) in &handles {
        match handle.outcome().await?.result {
            Ok(counts) => println!("{file}: {} lines, {} words", counts.lines, counts.words),
            Err(failure) => {
                println!("{file}: {failure}");
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
