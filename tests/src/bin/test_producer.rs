//! Submits a load and notes what is confirmed; started again, it goes on.
//!
//! ```text
//! test_producer LOAD JOURNAL
//! ```

use std::collections::HashSet;
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, StreamExt as _};
use homing_broker::{BrokerUrl, Patience, Window, connect};
use homing_producer::{Batch, Producer, bundles};
use homing_protocol::topology::Topology;
use homing_protocol::{Envelope, QueueName, TaskId, Timestamp};
use homing_tests::{Load, Row};

/// Most tasks in a bundle.
const BUNDLE: u16 = 8;

/// Rows submitted before confirms are looked at.
const BURST: usize = 32;

type Failure = Box<dyn Error + Send + Sync>;

/// Some tasks, once the broker has them.
type OnTheirWay = FuturesUnordered<BoxFuture<'static, Result<Vec<TaskId>, Failure>>>;

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [load, journal] = &arguments[..] else {
        return Err("usage: test_producer LOAD JOURNAL".into());
    };
    let load = Load::read(Path::new(load));
    let confirmed = homing_tests::confirmed(Path::new(journal));
    let url: BrokerUrl = std::env::var("AMQP_URL")?.parse()?;
    let namespace = std::env::var("HOMING_NAMESPACE")?.parse()?;
    let broker = connect(url, Topology::new(namespace, []), Patience::Forever, "test");
    let producer = Producer::open_with(broker, Window::DEFAULT).await?;
    let mut submission = Submission {
        batch: producer
            .resume(load.batch, load.label.clone(), Timestamp::from_ms(0))
            .await?,
        bundle: Vec::new(),
        on_their_way: FuturesUnordered::new(),
        journal: OpenOptions::new().create(true).append(true).open(journal)?,
    };
    submission.submit(&load, &confirmed).await?;
    let ids = load.tasks().map(|(id, _)| id).collect();
    let total = load.rows.len() as u64;
    submission.batch.seal_with(total, ids).await?;
    Ok(())
}

struct Submission {
    batch: Batch,
    bundle: Vec<Envelope>,
    on_their_way: OnTheirWay,
    journal: std::fs::File,
}

impl Submission {
    async fn submit(&mut self, load: &Load, confirmed: &HashSet<TaskId>) -> Result<(), Failure> {
        let rows = (1..).zip(load.tasks());
        let rows = rows.filter(|(_, (id, _))| !confirmed.contains(id));
        for (number, (_, row)) in rows {
            let envelope = self.batch.envelope(number, row.kind.clone(), row.payload());
            self.push(envelope, row).await?;
            if self.on_their_way.len() >= BURST {
                self.note_ready().await?;
            }
        }
        self.send_bundle().await?;
        while !self.on_their_way.is_empty() {
            self.note_ready().await?;
        }
        Ok(())
    }

    async fn push(&mut self, mut envelope: Envelope, row: &Row) -> Result<(), Failure> {
        if row.bundled {
            self.bundle.push(envelope);
            if self.bundle.len() == usize::from(BUNDLE) {
                self.send_bundle().await?;
            }
            return Ok(());
        }
        if row.delay_ms > 0 {
            let now = Timestamp::from(SystemTime::now());
            envelope.due_at = Some(now.after(row.delay()));
        }
        let mut copies = Vec::new();
        for _ in 0..row.copies {
            copies.push(self.batch.push(&envelope, &QueueName::tasks()).await?);
        }
        let id = envelope.id;
        let all = async move {
            for copy in copies {
                copy.await?;
            }
            Ok(vec![id])
        };
        self.on_their_way.push(all.boxed());
        Ok(())
    }

    async fn send_bundle(&mut self) -> Result<(), Failure> {
        for bundle in bundles(std::mem::take(&mut self.bundle), BUNDLE) {
            let ids = bundle.iter().map(|envelope| envelope.id).collect();
            let confirm = self.batch.push_bundle(&bundle, &QueueName::tasks()).await?;
            let confirmed = async move {
                confirm.await?;
                Ok(ids)
            };
            self.on_their_way.push(confirmed.boxed());
        }
        Ok(())
    }

    /// Notes what is confirmed, at least some.
    async fn note_ready(&mut self) -> Result<(), Failure> {
        let mut lines = String::new();
        let mut next = self.on_their_way.next().await;
        while let Some(ids) = next {
            for id in ids? {
                lines.push_str(&format!("{id}\n"));
            }
            next = self.on_their_way.next().now_or_never().flatten();
        }
        Ok(self.journal.write_all(lines.as_bytes())?)
    }
}
