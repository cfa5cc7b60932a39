//! A pipeline in this process, each of its links through a proxy of its own.
//! Every thread is one that a process of the pipeline would have.

use std::collections::HashSet;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use futures::future::BoxFuture;
use homing_broker::{
    About, Broker, BrokerError, Consumer, Depth, Difference, Inbox, Publisher, Puller, Source,
    Window,
};
use homing_collector::CollectorConfig;
use homing_producer::Producer;
use homing_protocol::topology::Topology;
use homing_protocol::{QueueName, ResultsQueues, TaskId};
use homing_tests::kind::Echo;
use homing_tests::{Books, Cut, Follower, How, Proxy, World, eventually};
use homing_worker::{Attempt, AttemptError, Worker, WorkerConfig};
use tokio::sync::oneshot;

/// The links, by the number of their proxy.
pub(crate) const LINKS: [&str; 6] = ["submit", "tasks", "suspects", "reports", "results", "dead"];

/// Tasks of a session.
pub(crate) const TASKS: usize = 20;

/// A broker whose links go through different proxies.
struct Split {
    publish: Arc<dyn Broker>,
    tasks: Arc<dyn Broker>,
    suspects: Arc<dyn Broker>,
    results: Arc<dyn Broker>,
    dead: Arc<dyn Broker>,
}

impl Broker for Split {
    fn publisher(&self, window: Window) -> BoxFuture<'_, Result<Publisher, BrokerError>> {
        self.publish.publisher(window)
    }

    fn consumer(
        &self,
        source: Source,
        prefetch: NonZeroU16,
    ) -> BoxFuture<'_, Result<Consumer, BrokerError>> {
        let broker = match &source {
            Source::Tasks(queue) if *queue == QueueName::suspect() => &self.suspects,
            Source::Results(_) => &self.results,
            Source::Dead => &self.dead,
            _ => &self.tasks,
        };
        broker.consumer(source, prefetch)
    }

    fn puller(&self, source: Source) -> BoxFuture<'_, Result<Puller, BrokerError>> {
        self.suspects.puller(source)
    }

    fn inbox(&self) -> BoxFuture<'_, Result<Inbox, BrokerError>> {
        self.publish.inbox()
    }

    fn depths(&self) -> BoxFuture<'_, Result<Vec<Depth>, BrokerError>> {
        self.publish.depths()
    }

    fn apply(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.publish.apply()
    }

    fn spread(&self, queues: ResultsQueues) -> BoxFuture<'_, Result<ResultsQueues, BrokerError>> {
        self.publish.spread(queues)
    }

    fn results_queues(&self) -> BoxFuture<'_, Result<ResultsQueues, BrokerError>> {
        self.publish.results_queues()
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<Difference>, BrokerError>> {
        self.publish.check()
    }

    fn delete(&self) -> BoxFuture<'_, Result<(), BrokerError>> {
        self.publish.delete()
    }

    fn about(&self) -> BoxFuture<'_, Result<About, BrokerError>> {
        self.publish.about()
    }

    fn topology(&self) -> &Topology {
        self.publish.topology()
    }

    fn place(&self) -> String {
        self.publish.place()
    }
}

/// A service on a thread of its own.
struct Service {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Service {
    fn start<F: Future<Output = ()>>(
        run: impl FnOnce(oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(run(stopped));
        });
        Self { stop, thread }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        let joined = tokio::task::spawn_blocking(|| self.thread.join());
        joined.await.unwrap().unwrap();
    }
}

/// What a lane comes to.
pub(crate) struct Done {
    pub(crate) books: Books,
    pub(crate) waiting: Vec<(String, u64)>,
    pub(crate) submitted: usize,
    pub(crate) runs: usize,
    pub(crate) cuts: usize,
}

/// The proxies, by the number of their link.
pub(crate) type Proxies = Arc<[Proxy; LINKS.len()]>;

pub(crate) struct Lane {
    producer: Producer,
    worker: Service,
    collector: Service,
    follower: Follower,
    submitted: HashSet<TaskId>,
    runs: Arc<AtomicUsize>,
    world: World,
    proxies: Proxies,
}

async fn echo(task: Echo, attempt: Attempt<Arc<AtomicUsize>>) -> Result<u64, AttemptError> {
    attempt.state().fetch_add(1, Ordering::Relaxed);
    Ok(task.n)
}

impl Lane {
    pub(crate) async fn start() -> Self {
        Self::start_at(&World::broker_url()).await
    }

    /// One in front of the broker at `url`.
    pub(crate) async fn start_at(url: &str) -> Self {
        let proxies: Proxies = Arc::new(LINKS.map(|_| Proxy::start(url)));
        let world = World::start_at(url).await;
        let broker = |link: usize| world.broker_at(proxies[link].url());
        let split = |publish: Arc<dyn Broker>| {
            Arc::new(Split {
                publish,
                tasks: broker(1),
                suspects: broker(2),
                results: broker(4),
                dead: broker(5),
            })
        };
        // It waits for its confirms as long as it takes.
        let producer = Producer::open_with(broker(0), Window::DEFAULT).await;
        let runs = Arc::new(AtomicUsize::new(0));
        let (of_worker, counted) = (split(broker(3)), Arc::clone(&runs));
        let worker = Service::start(async move |stopped| {
            let worker = Worker::with_state(counted).handler(echo);
            let stop = async { stopped.await.unwrap() };
            let ran = worker.run(of_worker, WorkerConfig::default(), stop).await;
            ran.unwrap();
        });
        let (of_collector, store) = (split(broker(3)), world.store_url());
        let collector = Service::start(async move |stopped| {
            let stop = async { stopped.await.unwrap() };
            let config = CollectorConfig::default();
            let ran = homing_collector::run(of_collector, &store, config, stop).await;
            ran.unwrap();
        });
        Self {
            producer: producer.unwrap(),
            worker,
            collector,
            follower: Follower::new(world.store().await),
            submitted: HashSet::new(),
            runs,
            world,
            proxies,
        }
    }

    /// Bytes that pass each link, each way, in a session on new connections.
    pub(crate) async fn record(&mut self) -> [[u64; 2]; LINKS.len()] {
        self.tasks().await;
        self.proxies.iter().for_each(|proxy| proxy.cut(How::Reset));
        self.tasks().await;
        eventually("all links stand", async || {
            let up = |proxy: &Proxy| proxy.passed().last().is_some_and(|p| p.open);
            self.proxies.iter().all(up).then_some(())
        })
        .await;
        self.proxies.each_ref().map(|proxy| {
            let passed = proxy.passed();
            let last = passed.last().expect("a link that stands");
            [last.to_broker, last.from_broker]
        })
    }

    /// A session whose `link` is new, and then cut so: all its tasks succeed.
    pub(crate) async fn session(&mut self, link: usize, cut: Cut) {
        let _shown = Shown(LINKS[link], cut);
        let proxy = &self.proxies[link];
        let (connection, made) = (proxy.count(), proxy.cuts_made());
        proxy.cut_at(Cut { connection, ..cut });
        proxy.cut(How::Reset);
        loop {
            self.tasks().await;
            // Fewer bytes may pass than when they were recorded: answers that
            // travelled singly then go together now.
            if self.proxies[link].cuts_made() > made {
                return;
            }
        }
    }

    pub(crate) fn proxies(&self) -> Proxies {
        Arc::clone(&self.proxies)
    }

    /// Submits a session's tasks and waits until all are stored.
    pub(crate) async fn tasks(&mut self) {
        self.many(TASKS).await;
    }

    /// Submits so many tasks and waits until all are stored.
    pub(crate) async fn many(&mut self, tasks: usize) {
        let mut batch = self.producer.batch("cuts").await.unwrap();
        for n in 0..tasks as u64 {
            self.submitted
                .insert(batch.submit(Echo { n }).await.unwrap());
        }
        batch.seal().await.unwrap();
        self.follower.all(self.submitted.len()).await;
    }

    pub(crate) async fn stop(mut self) -> Done {
        self.worker.stop().await;
        self.collector.stop().await;
        Done {
            books: self.follower.books(&self.submitted).await,
            waiting: self.world.waiting().await,
            submitted: self.submitted.len(),
            runs: self.runs.load(Ordering::Relaxed),
            cuts: self.proxies.iter().map(Proxy::cuts_made).sum(),
        }
    }
}

/// Says, if the test fails, what was cut.
struct Shown(&'static str, Cut);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the link `{}` was to be cut: {:?}", self.0, self.1);
        }
    }
}
