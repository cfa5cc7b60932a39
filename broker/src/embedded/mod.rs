//! The embedded broker: the queues of one host in a SQLite file, or in memory.
//!
//! Nothing has to be installed or started for it: each process opens the file and
//! works with it, on a thread of its own; what is in memory is worked with on the
//! runtime that uses it, so that a runtime of one thread does the same each time. What RabbitMQ promises it promises too,
//! with the limit of one host and one disk: a confirm means *on disk*, a delivery
//! whose process dies comes again and counts, and of several consumers each gets
//! its share.
//!
//! | | who it is |
//! |---|---|
//! | [`engine`] | the thread that works with the file |
//! | [`links`] | the ends of publishers, consumers, pullers and inboxes |
//! | [`file`](mod@file) | opens the file, and says whose turn it is to write |
//! | [`messages`], [`queues`], [`clients`] | what is in it |
//! | [`disk`] | waits for the disk |
//! | [`look`], [`untaken`] | say what a file is, and which kinds wait in it, and change nothing |

mod claim;
mod clients;
mod disk;
mod engine;
mod file;
mod links;
mod look;
mod messages;
mod queues;
mod untaken;

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use homing_protocol::topology::Topology;
use homing_protocol::{Received, ResultsQueues};
use rusqlite::Connection;
use tokio::runtime::Builder;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

pub use self::claim::Claim;
use self::engine::{Engine, Order, now_ms};
use self::links::{Event, Events};
pub use self::untaken::Untaken;
use crate::error::BrokerError;
use crate::{
    About, Broker, Consumer, Depth, Difference, Inbox, Patience, Publisher, Puller, Source, Window,
};

/// Until a file that could not be opened now is opened again.
const START_AGAIN: Duration = Duration::from_millis(200);

/// The embedded broker, and the topology used in it.
#[derive(Debug)]
pub struct Embedded {
    path: Option<PathBuf>,
    topology: Arc<Topology>,
    patience: Patience,
    engine: OnceCell<Events>,
}

impl Embedded {
    /// The broker in the file at `path`, created with its first use. With `patience`
    /// it is waited for while its disk is full, or another process keeps writing.
    pub fn in_file(path: impl Into<PathBuf>, topology: Topology, patience: Patience) -> Self {
        Self::new(Some(path.into()), topology, patience)
    }

    /// A broker in the memory of this process, for tests and simulation: gone with the
    /// last of its links and this handle, or with the runtime it was first used on.
    ///
    /// It has no thread: on a runtime of one thread, what is published, delivered and
    /// answered takes place in the same order each time it is done in the same order.
    /// Delays pass in real time: where tokio's is paused, its other timers run ahead
    /// of them.
    pub fn in_memory(topology: Topology) -> Self {
        Self::new(None, topology, Patience::Forever)
    }

    /// The schema of the broker in the file at `path`; `None` if none is there yet.
    /// Changes nothing, and creates nothing.
    ///
    /// # Errors
    ///
    /// [`BrokerError::File`]: it is not ours, or newer, or cannot be read.
    pub fn schema(path: &Path) -> Result<Option<u32>, BrokerError> {
        look::schema(path)
    }

    /// The tasks in the file at `path` that wait for a worker that takes them, in
    /// `topology`'s namespace, counted by kind: of very many in a queue the oldest.
    /// Changes nothing.
    ///
    /// # Errors
    ///
    /// [`BrokerError::File`]: it cannot be read.
    pub fn untaken(path: &Path, topology: &Topology) -> Result<Vec<Untaken>, BrokerError> {
        untaken::untaken(path, topology)
    }

    fn new(path: Option<PathBuf>, topology: Topology, patience: Patience) -> Self {
        Self {
            path,
            topology: Arc::new(topology),
            patience,
            engine: OnceCell::new(),
        }
    }

    /// Takes every task out of its queues, also those that are delayed, in the order
    /// in which they came: for tests that run them in a time of their own. What a
    /// consumer holds is not among them.
    ///
    /// # Errors
    ///
    /// [`BrokerError::File`] or [`BrokerError::Unreachable`]: the file cannot be used.
    pub async fn take_tasks(&self) -> Result<Vec<Received>, BrokerError> {
        self.work(queues::take_tasks).await
    }

    async fn engine(&self) -> Result<&Events, BrokerError> {
        self.engine.get_or_try_init(|| self.begin()).await
    }

    /// Starts it, as soon as that can be.
    async fn begin(&self) -> Result<Events, BrokerError> {
        let began = Instant::now();
        let mut said = false;
        loop {
            let error = match self.start().await {
                Err(error) if error.is_transient() => error,
                started => return started,
            };
            match self.patience {
                Patience::Within(limit) if began.elapsed() >= limit => return Err(error),
                Patience::Forever if !said => {
                    tracing::warn!(%error, "waiting for {}: {error}", self.place());
                    said = true;
                }
                _ => {}
            }
            sleep(START_AGAIN).await;
        }
    }

    async fn start(&self) -> Result<Events, BrokerError> {
        match self.path.clone() {
            Some(path) => self.start_thread(path).await,
            None => {
                let (events, happens) = mpsc::unbounded_channel();
                let (place, topology) = (self.place(), Arc::clone(&self.topology));
                let engine = Engine::open(None, place, topology, events.downgrade())?;
                tokio::spawn(engine.run(happens));
                Ok(events)
            }
        }
    }

    async fn start_thread(&self, path: PathBuf) -> Result<Events, BrokerError> {
        let (place, topology) = (self.place(), Arc::clone(&self.topology));
        let (opened, opening) = oneshot::channel();
        let (events, happens) = mpsc::unbounded_channel();
        let weak = events.downgrade();
        let at = path.clone();
        let run = move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(opened.send(Err(error.to_string()))),
            };
            runtime.block_on(async {
                match Engine::open(Some(&at), place, topology, weak) {
                    Ok(engine) => {
                        let _gone = opened.send(Ok(Ok(())));
                        engine.run(happens).await;
                    }
                    Err(error) => drop(opened.send(Ok(Err(error)))),
                }
            });
        };
        let refuse = |problem: String| BrokerError::File { path, problem };
        let thread = std::thread::Builder::new().name("embedded broker".to_owned());
        if let Err(error) = thread.spawn(run) {
            return Err(refuse(format!("no thread for it: {error}")));
        }
        match self.in_time(opening).await? {
            Ok(Ok(opened)) => opened.map(|()| events),
            Ok(Err(error)) => Err(refuse(error)),
            Err(_) => Err(refuse("its thread ended".to_owned())),
        }
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, BrokerError>>) -> Order,
    ) -> Result<T, BrokerError> {
        let (ready, is_ready) = oneshot::channel();
        let engine = self.engine().await?;
        let _ended = engine.send(Event::Order(order(ready), engine.clone()));
        let answer = self.in_time(is_ready).await?;
        answer.unwrap_or_else(|_| Err(self.ended()))
    }

    /// Waits as long as the patience lasts.
    async fn in_time<T>(&self, answer: impl Future<Output = T>) -> Result<T, BrokerError> {
        let Patience::Within(limit) = self.patience else {
            return Ok(answer.await);
        };
        let late = |_| BrokerError::Unreachable {
            place: self.place(),
            cause: "another process keeps writing to it, or its disk is full".to_owned(),
        };
        timeout(limit, answer).await.map_err(late)
    }

    fn ended(&self) -> BrokerError {
        BrokerError::Unreachable {
            place: self.place(),
            cause: match self.path {
                Some(_) => "its thread ended".to_owned(),
                None => "the runtime it was first used on ended".to_owned(),
            },
        }
    }

    /// Does `work` with the file, in a transaction of its own.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &Topology) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let (place, topology) = (self.place(), Arc::clone(&self.topology));
        self.order(|ready| {
            Order::Work(Box::new(move |file| {
                let done = file.write(|file| work(file, &topology));
                let unreachable = |error: rusqlite::Error| BrokerError::Unreachable {
                    place,
                    cause: error.to_string(),
                };
                let _gone = ready.send(done.map_err(unreachable));
            }))
        })
        .await
    }

    async fn open_inbox(&self) -> Result<Inbox, BrokerError> {
        let (replies, events) = mpsc::unbounded_channel();
        let unique = format!("reply.{}", crate::mint());
        let address = self.topology.namespace().name(&unique);
        let inbox = address.clone();
        self.order(|ready| Order::Inbox {
            address: inbox,
            events: replies,
            ready,
        })
        .await?;
        Ok(Inbox { address, events })
    }

    fn different(&self, difference: Option<Difference>) -> Result<(), BrokerError> {
        difference.map_or(Ok(()), |Difference { what, detail }| {
            let place = self.place();
            Err(BrokerError::Different {
                place,
                what,
                detail,
            })
        })
    }
}

impl Broker for Embedded {
    fn publisher(&self, window: Window) -> BoxFuture<'_, Result<Publisher, BrokerError>> {
        async move {
            let (publisher, requests, running) = Publisher::new(window);
            let order = Order::Publisher {
                window,
                requests,
                running,
            };
            let engine = self.engine().await?;
            engine
                .send(Event::Order(order, engine.clone()))
                .map_err(|_| self.ended())?;
            Ok(publisher)
        }
        .boxed()
    }

    fn consumer(
        &self,
        source: Source,
        prefetch: NonZeroU16,
    ) -> BoxFuture<'_, Result<Consumer, BrokerError>> {
        async move {
            let queue = source.queue(&self.topology);
            let (consumer, end) = Consumer::new(prefetch);
            self.order(|ready| Order::Consumer { queue, end, ready })
                .await?;
            Ok(consumer)
        }
        .boxed()
    }

    fn puller(&self, source: Source) -> BoxFuture<'_, Result<Puller, BrokerError>> {
        async move {
            let queue = source.queue(&self.topology);
            let (puller, asked, ended) = Puller::new();
            self.order(|ready| Order::Puller {
                queue,
                asked,
                ended,
                ready,
            })
            .await?;
            Ok(puller)
        }
        .boxed()
    }

    fn inbox(&self) -> BoxFuture<'_, Result<Inbox, BrokerError>> {
        self.open_inbox().boxed()
    }

    fn depths(&self) -> BoxFuture<'_, Result<Vec<Depth>, BrokerError>> {
        self.work(|file, topology| queues::depths(file, topology, now_ms()))
            .boxed()
    }

    fn apply(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        async move {
            let applied = self.work(|file, topology| {
                let there = queues::results(file, topology)?;
                queues::apply(file, topology, there)
            });
            self.different(applied.await?)
        }
        .boxed()
    }

    fn spread(&self, queues: ResultsQueues) -> BoxFuture<'_, Result<ResultsQueues, BrokerError>> {
        async move {
            let spread = self.work(move |file, topology| {
                let there = queues::results(file, topology)?.max(queues);
                match queues::apply(file, topology, there)? {
                    Some(difference) => Ok((Some(difference), there)),
                    None => Ok((None, queues::spread(file, topology, queues)?)),
                }
            });
            let (difference, there) = spread.await?;
            self.different(difference).map(|()| there)
        }
        .boxed()
    }

    fn results_queues(&self) -> BoxFuture<'_, Result<ResultsQueues, BrokerError>> {
        self.work(queues::results).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<Difference>, BrokerError>> {
        self.work(queues::check).boxed()
    }

    fn delete(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.work(queues::delete).boxed()
    }

    fn about(&self) -> BoxFuture<'_, Result<About, BrokerError>> {
        self.work(|file, _| look::about(file)).boxed()
    }

    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn place(&self) -> String {
        match self.path.as_deref().map(Path::display) {
            Some(path) => format!("the embedded broker in {path}"),
            None => "the embedded broker in memory".to_owned(),
        }
    }
}
