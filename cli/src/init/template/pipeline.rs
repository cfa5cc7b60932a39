//! The whole way: a producer, a broker in a file, a worker, and back.

use std::path::{Path, PathBuf};

use homing::broker::{BrokerUrl, Patience, connect};
use homing::prelude::*;
use homing::protocol::topology::Topology;
use homing::worker::WorkerConfig;

use {{crate}}::{Count, CountError, Counts, count};

/// A producer, with a worker beside it, on a broker that is this test's alone.
async fn pipeline(folder: &Path) -> anyhow::Result<Producer> {
    let url = BrokerUrl::Sqlite(folder.join("queue.db"));
    let topology = Topology::new("".parse()?, []);
    let broker = connect(url, topology, Patience::Forever, "test");
    broker.apply().await?;
    let worker = Worker::new().blocking_handler(count);
    // Ends with the test.
    tokio::spawn(worker.run(
        broker.clone(),
        WorkerConfig::default(),
        std::future::pending(),
    ));
    Ok(Producer::open(broker).await?)
}

fn fresh_folder(name: &str) -> std::io::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _none = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_counted() -> anyhow::Result<()> {
    let folder = fresh_folder("counted")?;
    let path = folder.join("file.txt");
    std::fs::write(&path, "one\ntwo  words\n")?;
    let producer = pipeline(&folder).await?;

    let counts = producer.submit(Count { path }).await?.output().await?;

    assert_eq!(counts, Counts { lines: 2, words: 3 });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_text_is_tried_once() -> anyhow::Result<()> {
    let folder = fresh_folder("no-text")?;
    let path = folder.join("file.bin");
    std::fs::write(&path, [0xff])?;
    let producer = pipeline(&folder).await?;

    let handle = producer.submit(Count { path: path.clone() }).await?;
    let outcome = handle.outcome().await?;

    assert_eq!(outcome.attempts, 1);
    let failure = outcome.result.expect_err("it is no text");
    let path = path.display().to_string();
    assert_eq!(failure.error, Some(CountError::NoText { path }));
    Ok(())
}
