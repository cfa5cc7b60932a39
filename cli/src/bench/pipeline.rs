use std::time::Duration;

use homing_broker::Window;
use homing_collector::{CollectorConfig, CollectorError};
use homing_producer::Producer;
use homing_protocol::{AnyError, Policy, Task};
use homing_store::Store;
use homing_worker::{Attempt, AttemptError, RunError, Worker, WorkerConfig};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::exit::Exit;
use crate::space::Space;
use crate::trouble::Trouble;

/// Bytes of a payload, besides the two that MessagePack spends on a text.
const TEXT_BYTES: usize = 98;

/// Tasks in a message, of those that share one.
pub(super) const BUNDLE: u16 = 100;

/// How long worker and collector may take until they receive.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// Between two looks whether they do.
const LOOK: Duration = Duration::from_millis(20);

/// A task whose output is its payload.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Echo(String);

/// The same, of which many share a message.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Bundled(String);

fn text(number: u64) -> String {
    format!("{number:0width$}", width = TEXT_BYTES)
}

impl Echo {
    pub(super) fn new(number: u64) -> Self {
        Self(text(number))
    }
}

impl Bundled {
    pub(super) fn new(number: u64) -> Self {
        Self(text(number))
    }
}

impl Task for Echo {
    const KIND: &'static str = "bench.single";
    type Output = Self;
    type Error = AnyError;
}

impl Task for Bundled {
    const KIND: &'static str = "bench.bundled";
    const POLICY: Policy = Policy::DEFAULT.bundle(BUNDLE);
    type Output = Self;
    type Error = AnyError;
}

async fn echo(task: Echo, _: Attempt) -> Result<Echo, AttemptError> {
    Ok(task)
}

async fn bundled(task: Bundled, _: Attempt) -> Result<Bundled, AttemptError> {
    Ok(task)
}

/// What the loads use.
pub(super) struct Ends {
    pub(super) producer: Producer,
    pub(super) store: Store,
}

type Joined<E> = Result<Result<(), E>, JoinError>;

/// Worker and collector, running.
pub(super) struct Services {
    stop: watch::Sender<bool>,
    worker: JoinHandle<Result<(), RunError>>,
    collector: JoinHandle<Result<(), CollectorError>>,
}

impl Ends {
    pub(super) async fn open(space: &Space) -> Result<Self, Trouble> {
        let producer = Producer::open_with(space.broker().clone(), Window::DEFAULT).await;
        let store = Store::open(space.store()).await;
        Ok(Self {
            producer: producer.map_err(|error| space.link().trouble(&error))?,
            store: store.map_err(|error| space.store_trouble(&error))?,
        })
    }
}

impl Services {
    /// Starts both.
    pub(super) fn start(space: &Space, concurrency: u16) -> Self {
        let stop = watch::Sender::new(false);
        let stopped = || {
            let mut asked = stop.subscribe();
            async move {
                let _gone = asked.wait_for(|asked| *asked).await;
            }
        };
        let (broker, url, asked) = (space.broker().clone(), space.store().clone(), stopped());
        let collector = tokio::spawn(async move {
            let collected = homing_collector::run(broker, &url, CollectorConfig::default(), asked);
            collected.await.map(|_| ())
        });
        let config = WorkerConfig {
            concurrency,
            ..WorkerConfig::default()
        };
        let worker = Worker::new().handler(echo).handler(bundled);
        let worked = worker.run(space.broker().clone(), config, stopped());
        let worker = tokio::spawn(async move { worked.await.map(|_| ()) });
        Self {
            stop,
            worker,
            collector,
        }
    }

    /// Waits until one of them ends by itself, and says why.
    pub(super) async fn ended(&mut self, space: &Space) -> Trouble {
        let ended = tokio::select! {
            ended = &mut self.worker => of_worker(ended, space),
            ended = &mut self.collector => of_collector(ended, space),
        };
        let early = || Trouble::new(Exit::Internal, "worker or collector ended early");
        ended.err().unwrap_or_else(early)
    }

    /// Lets both end what they have, but for one that [`ended`](Self::ended) told
    /// of.
    pub(super) async fn stop(self, space: &Space) -> Result<(), Trouble> {
        self.stop.send_replace(true);
        let (mut worker, mut collector) = (Ok(()), Ok(()));
        if !self.worker.is_finished() {
            worker = of_worker(self.worker.await, space);
        }
        if !self.collector.is_finished() {
            collector = of_collector(self.collector.await, space);
        }
        worker.and(collector)
    }
}

fn of_worker(ended: Joined<RunError>, space: &Space) -> Result<(), Trouble> {
    match ended.map_err(|error| Trouble::bug(&error))? {
        Err(RunError::Broker(error)) => Err(space.link().trouble(&error)),
        Err(error) => Err(Trouble::bug(&error)),
        Ok(()) => Ok(()),
    }
}

fn of_collector(ended: Joined<CollectorError>, space: &Space) -> Result<(), Trouble> {
    match ended.map_err(|error| Trouble::bug(&error))? {
        Err(CollectorError::Broker(error)) => Err(space.link().trouble(&error)),
        Err(CollectorError::Store(error)) => Err(space.store_trouble(&error)),
        Err(error) => Err(Trouble::bug(&error)),
        Ok(()) => Ok(()),
    }
}

/// Waits until both receive.
pub(super) async fn until_received(space: &Space) -> Result<(), Trouble> {
    let received = tokio::time::timeout(START_TIME_MAX, until_consumed(space)).await;
    received.unwrap_or_else(|_| {
        let what = "worker and collector do not begin to receive";
        Err(Trouble::new(Exit::Unreachable, what))
    })
}

async fn until_consumed(space: &Space) -> Result<(), Trouble> {
    let topology = space.broker().topology();
    let wanted = [topology.namespace().name("tasks"), topology.results()];
    loop {
        let depths = space.broker().depths().await;
        let depths = depths.map_err(|error| space.link().trouble(&error))?;
        let consumed = |queue: &String| {
            let mut depths = depths.iter();
            depths.any(|depth| depth.queue == *queue && depth.consumers > Some(0))
        };
        if wanted.iter().all(consumed) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}
