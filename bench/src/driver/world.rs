use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use homing::broker::{Broker, Patience, connect};
use homing::protocol::topology::Topology;
use tokio::process::Command;
use tokio::runtime::Builder;

use super::say;
use super::side::Side;
use crate::bare::Queues;

/// How long the broker may take to be reached for setting up and cleaning up.
const BROKER_TIME_MAX: Duration = Duration::from_secs(30);

/// A namespace in the broker and a folder, both of one run. Both go with it,
/// also when the run has failed or was interrupted.
pub(super) struct World {
    pub(super) side: Side,
    url: String,
    namespace: String,
    folder: PathBuf,
    broker: Arc<dyn Broker>,
}

impl World {
    /// Makes the folder, and the exchanges and queues of `side`.
    pub(super) async fn new(side: Side, url: &str) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("bench{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(format!("homing-{namespace}"));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let topology = Topology::new(namespace.parse()?, []);
        let patience = Patience::Within(BROKER_TIME_MAX);
        let broker = connect(url.parse()?, topology, patience, "homing bench");
        let world = Self {
            side,
            url: url.to_owned(),
            namespace,
            folder,
            broker,
        };
        match side {
            Side::Bare => world.queues().declare(url).await?,
            Side::Homing => world.broker.apply().await?,
        }
        Ok(world)
    }

    /// The file the collector stores in.
    pub(super) fn store(&self) -> PathBuf {
        self.folder.join("store.db")
    }

    /// One of our programs, told where broker and namespace are, and nothing
    /// else that this process was told.
    pub(super) fn command(&self, program: &str) -> anyhow::Result<Command> {
        let own = std::env::current_exe().context("cannot tell where this program is")?;
        let mut command = Command::new(own.with_file_name(program));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOMING_") {
                command.env_remove(name);
            }
        }
        // By the environment: a command line with a password is for all to see.
        command
            .env("AMQP_URL", &self.url)
            .env("HOMING_NAMESPACE", &self.namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Whether the worker, with all its processes, and the collector receive.
    pub(super) async fn is_consumed(&self, processes: u16) -> anyhow::Result<bool> {
        let topology = self.broker.topology();
        match self.side {
            Side::Bare => self.queues().are_consumed(&self.url).await,
            Side::Homing => {
                let tasks = format!("{}.tasks", self.namespace);
                let wanted = [(tasks, processes.into()), (topology.results(), 1)];
                let depths = self.broker.depths().await?;
                Ok(wanted.iter().all(|(queue, consumers)| {
                    let depth = depths.iter().find(|depth| depth.queue == *queue);
                    depth.is_some_and(|depth| depth.consumers >= Some(*consumers))
                }))
            }
        }
    }

    fn queues(&self) -> Queues {
        Queues::new(&self.namespace)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A folder that will not go is left to whoever empties temporary files.
        let _left = std::fs::remove_dir_all(&self.folder);
        let (side, queues) = (self.side, self.queues());
        let (url, broker) = (self.url.clone(), Arc::clone(&self.broker));
        let delete = async move {
            match side {
                Side::Bare => queues.delete(&url).await,
                Side::Homing => Ok(broker.delete().await?),
            }
        };
        // On a thread: this may be dropped within a runtime, which must not be
        // blocked on.
        let deleted = std::thread::spawn(|| {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime
                .map_err(Into::into)
                .and_then(|runtime| runtime.block_on(delete))
        });
        if let Ok(Err(error)) = deleted.join() {
            say(format_args!(
                "{} is left in the broker: {error:#}",
                self.namespace
            ));
        }
    }
}
