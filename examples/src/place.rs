use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use homing::broker::{Broker, BrokerUrl, Patience, connect};
use homing::prelude::*;
use homing::protocol::topology::Topology;

/// How long an example may take: some take seconds, on a busy machine more.
const TIME_MAX: Duration = Duration::from_secs(120);

/// How long a first connection may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// The pause between two looks at what nothing announces.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// A namespace of the broker that is one example's alone, with all exchanges
/// and queues in it.
#[derive(Clone)]
pub struct Place {
    broker: Arc<dyn Broker>,
}

impl Place {
    /// Runs `example` in a new place, and deletes the place afterwards, however
    /// the example ended.
    ///
    /// The broker is the one `HOMING_BROKER` names, else `AMQP_URL`. The
    /// namespace begins with `HOMING_NAMESPACE`, if that is set.
    ///
    /// # Errors
    ///
    /// Those of `example`; that there is no broker; that it took too long.
    pub async fn run(name: &str, example: impl AsyncFnOnce(&Self) -> Result<()>) -> Result<()> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let prefix = variable("HOMING_NAMESPACE").map_or_else(String::new, |own| own + "-");
        let namespace = format!("{prefix}{name}-{}", std::process::id());
        let place = Self::of_namespace(&namespace)?;
        place.broker.apply().await?;

        let ended = tokio::select! {
            ended = tokio::time::timeout(TIME_MAX, example(&place)) => ended,
            _asked = tokio::signal::ctrl_c() => Ok(Err(anyhow::anyhow!("interrupted"))),
        };

        place.broker.delete().await?;
        ended.unwrap_or_else(|_| bail!("not done within {} s", TIME_MAX.as_secs()))
    }

    /// The place in this namespace, of which nothing is created here.
    ///
    /// # Errors
    ///
    /// No broker is named, or the namespace is no name.
    pub fn of_namespace(namespace: &str) -> Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = variable("HOMING_BROKER").or_else(|| variable("AMQP_URL"));
        let url: BrokerUrl = url
            .context("no broker is named: set AMQP_URL to amqp://USER:PASSWORD@HOST:PORT/VHOST")?
            .parse()?;
        let topology = Topology::new(namespace.parse()?, []);
        let patience = Patience::Within(CONNECT_TIME_MAX);
        let broker = connect(url, topology, patience, "homing example");
        Ok(Self { broker })
    }

    /// The way to the broker.
    pub fn broker(&self) -> Arc<dyn Broker> {
        Arc::clone(&self.broker)
    }

    /// The namespace's name.
    pub fn namespace(&self) -> &str {
        self.broker.topology().namespace().as_str()
    }

    /// A new producer, with a link of its own.
    ///
    /// # Errors
    ///
    /// The broker cannot be used.
    pub async fn producer(&self) -> Result<Producer> {
        Ok(Producer::open(self.broker()).await?)
    }

    /// Waits until `count` workers take tasks.
    ///
    /// # Errors
    ///
    /// The broker cannot be used.
    pub async fn workers(&self, count: u64) -> Result<()> {
        let tasks = self.broker.topology().namespace().name("tasks");
        loop {
            let depths = self.broker.depths().await?;
            let queue = depths.iter().find(|depth| depth.queue == tasks);
            if queue.and_then(|queue| queue.consumers) == Some(count) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}
