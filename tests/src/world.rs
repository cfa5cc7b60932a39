//! A fresh world for each test.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use homing_broker::{Broker, BrokerUrl, Depth, Patience, connect};
use homing_producer::Producer;
use homing_protocol::QueueName;
use homing_protocol::topology::Topology;
use homing_store::{Store, StoreUrl};

/// How long anything in a test may take before it counts as never happening.
pub const TIME_MAX: Duration = Duration::from_secs(60);

/// A namespace of its own in the broker of the test run, and a folder of its
/// own. Both are gone when it is dropped.
pub struct World {
    /// The broker's URL.
    pub url: String,
    /// The namespace.
    pub namespace: String,
    /// The folder.
    pub dir: PathBuf,
    queues: Vec<QueueName>,
    /// The broker, if it is in the memory of this process.
    memory: Option<Arc<dyn Broker>>,
}

impl World {
    /// The URL of the broker that `HOMING_TEST_BROKER` names, which `make test`
    /// starts.
    ///
    /// # Panics
    ///
    /// Panics without a broker: nothing about delivery is tested without one.
    pub fn broker_url() -> String {
        let url = std::env::var("HOMING_TEST_BROKER").or_else(|_| std::env::var("AMQP_URL"));
        url.expect("HOMING_TEST_BROKER names no broker; run the tests by `make test`")
    }

    /// A world in the broker of the test run.
    pub async fn start() -> Self {
        Self::start_at(&Self::broker_url()).await
    }

    /// A world in the broker at `url`.
    pub async fn start_at(url: &str) -> Self {
        Self::start_with(url, Vec::new()).await
    }

    /// A world in the broker at `url` with these queues of tasks too.
    pub async fn start_with(url: &str, queues: Vec<QueueName>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("t{}-{count}", std::process::id());
        Self::start_named(url, namespace, queues).await
    }

    /// A world of this namespace in the broker at `url`: in one of the test's
    /// own, where nobody else has it.
    pub async fn start_named(url: &str, namespace: String, queues: Vec<QueueName>) -> Self {
        let name = format!("homing-{}-{namespace}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).expect("a folder in the temporary folder");
        // Each has a file of its own, as it would have a virtual host.
        let url = match url {
            "sqlite:" => format!("sqlite:{}", dir.join("homing-queue.db").display()),
            _ => url.to_owned(),
        };
        let mut world = Self {
            url,
            namespace,
            dir,
            queues,
            memory: None,
        };
        if world.url == "memory:" {
            let (url, topology) = (BrokerUrl::Memory, world.topology());
            world.memory = Some(connect(url, topology, Patience::Forever, "homing test"));
        }
        world
            .broker()
            .apply()
            .await
            .expect("the topology can be created");
        world
    }

    /// A broker in this world, patient enough for a busy machine.
    pub fn broker(&self) -> Arc<dyn Broker> {
        if let Some(broker) = &self.memory {
            return Arc::clone(broker);
        }
        let patience = Patience::Within(TIME_MAX);
        connect(self.broker_of(), self.topology(), patience, "homing test")
    }

    /// The same at another URL: through a proxy in front of its broker.
    ///
    /// # Panics
    ///
    /// Panics if that is no URL.
    pub fn broker_at(&self, url: &str) -> Arc<dyn Broker> {
        let url = url.parse().expect("a valid URL");
        let patience = Patience::Within(TIME_MAX);
        connect(url, self.topology(), patience, "homing test")
    }

    /// The topology of this world.
    pub fn topology(&self) -> Topology {
        let namespace = self.namespace.parse().expect("a valid namespace");
        Topology::new(namespace, self.queues.iter().cloned())
    }

    /// Where the store is, which only a collector makes.
    pub fn store_url(&self) -> StoreUrl {
        StoreUrl::sqlite(self.sqlite())
    }

    /// The file the store is in.
    pub fn sqlite(&self) -> PathBuf {
        self.dir.join("homing.db")
    }

    /// The store, once a collector has made it.
    pub async fn store(&self) -> Store {
        let url = self.store_url();
        let open = async || Store::open(&url).await.ok();
        eventually("there is a store", open).await
    }

    /// A producer in this world.
    ///
    /// # Panics
    ///
    /// Panics if the broker cannot be used.
    pub async fn producer(&self) -> Producer {
        let producer = Producer::open(self.broker()).await;
        producer.expect("a producer can be opened")
    }

    /// What waits in the queue of this name, 0 if it is not there.
    ///
    /// # Panics
    ///
    /// Panics if the broker cannot be used.
    pub async fn ready(&self, queue: &str) -> u64 {
        self.depth(queue)
            .await
            .and_then(|depth| depth.ready)
            .unwrap_or(0)
    }

    async fn depth(&self, queue: &str) -> Option<Depth> {
        let depths = self.broker().depths().await.expect("the broker answers");
        let name = self.topology().namespace().name(queue);
        depths.into_iter().find(|depth| depth.queue == name)
    }

    /// The queues in which something waits.
    ///
    /// # Panics
    ///
    /// Panics if the broker cannot be used.
    pub async fn waiting(&self) -> Vec<(String, u64)> {
        let depths = self.broker().depths().await.expect("the broker answers");
        let full = depths.into_iter().filter_map(|depth| {
            let ready = depth.ready.filter(|ready| *ready > 0)?;
            Some((depth.queue, ready))
        });
        full.collect()
    }

    /// A file in this world's folder that does not exist yet.
    pub fn gate(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes the file that handlers wait for.
    ///
    /// # Panics
    ///
    /// Panics if it cannot be made.
    pub fn open_gate(&self, name: &str) {
        std::fs::write(self.gate(name), "").expect("a file in the folder");
    }

    fn broker_of(&self) -> BrokerUrl {
        self.url.parse().expect("a valid URL")
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("url", &self.url)
            .field("namespace", &self.namespace)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.memory.is_some() {
            let _gone = std::fs::remove_dir_all(&self.dir);
            return;
        }
        let broker = connect(
            self.broker_of(),
            self.topology(),
            Patience::Within(Duration::from_secs(10)),
            "homing test",
        );
        // On a thread: a test's own runtime may be the one that is dropping us.
        let delete = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            if let Ok(runtime) = runtime.enable_all().build() {
                // A broker that a test left dead has nothing to delete.
                let _dead = runtime.block_on(broker.delete());
            }
        });
        let _panicked = delete.join();
        let _gone = std::fs::remove_dir_all(&self.dir);
    }
}

/// Waits until `check` gives a value, at most [`TIME_MAX`]; `what` says what was
/// awaited. For states that nothing announces.
///
/// # Panics
///
/// Panics if it never does.
pub async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(TIME_MAX, what, check).await
}

/// The same, at most for `time`.
///
/// # Panics
///
/// Panics if it takes longer.
pub async fn eventually_within<T>(
    time: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let poll = async {
        loop {
            if let Some(value) = check().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(time, what, poll).await
}

/// Waits for `future`, at most for `time`.
///
/// # Panics
///
/// Panics if it takes longer.
pub async fn within<T>(time: Duration, what: &str, future: impl Future<Output = T>) -> T {
    let answer = tokio::time::timeout(time, future).await;
    answer.unwrap_or_else(|_| panic!("not within {} s: {what}", time.as_secs()))
}
