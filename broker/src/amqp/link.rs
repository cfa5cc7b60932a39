//! Keeps one link standing: connects, serves, and connects again.
//!
//! A link is a thread of its own. Each [generation](super::generation) gets a
//! fresh runtime on it; whatever goes wrong ends the generation, and there is
//! no other repair. What outlives a generation is in the [`Serve`]r.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::backoff::{Backoff, Failure};
use super::generation::{End, Event, Generation, Try, plain};
use super::url::AmqpUrl;
use crate::Patience;
use crate::error::BrokerError;

/// The stack of a link's thread: 32 MiB of address space. A header table from a
/// hostile client, nested as deep as one frame allows, makes amqprs's decoder
/// recurse over 20,000 times; it takes 16 MiB.
const STACK_BYTES: usize = 32 << 20;

/// How often it is said that a broker is still awaited.
const REMIND_EVERY: Duration = Duration::from_secs(30);

/// What a link does with its connections.
pub(super) trait Serve: Send + 'static {
    /// Uses one connection until it ends. Calls `up` once everything stands.
    async fn serve(&mut self, generation: &Generation, events: Events, up: Up<'_>) -> End;

    /// Is told that the connection is gone.
    fn broke(&mut self) {}

    /// Waits between connections; ends only if the link has nothing left to do.
    async fn idle(&mut self);
}

/// What the broker says during one generation.
pub(super) type Events = mpsc::UnboundedReceiver<Event>;

/// Where a link's first connection is reported, once.
type Ready = oneshot::Sender<Result<(), BrokerError>>;

/// What every link of a process knows.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) url: AmqpUrl,
    pub(super) patience: Patience,
    pub(super) name: String,
}

/// Says that a generation stands.
pub(super) struct Up<'a>(&'a mut State);

impl Up<'_> {
    pub(super) fn done(self) {
        self.0.stands();
    }
}

/// What is said to people, and how long to wait.
struct State {
    place: String,
    patience: Patience,
    ready: Option<Ready>,
    down_since: Option<Instant>,
    said: Option<Said>,
    backoff: Backoff,
}

/// What was said last of a broker that is awaited.
struct Said {
    at: Instant,
    cause: String,
    /// Whether it was not the first.
    again: bool,
}

impl Said {
    /// Whether `cause` is the first other one; of causes that change in turn not
    /// each is said.
    fn is_news(&self, cause: &str) -> bool {
        !self.again && self.cause != cause
    }
}

impl State {
    fn stands(&mut self) {
        if let (Some(since), Some(_)) = (self.down_since, &self.said) {
            tracing::info!(
                "connected to {} after {:.0} s",
                self.place,
                since.elapsed().as_secs_f64()
            );
        }
        self.down_since = None;
        self.said = None;
        self.backoff.stands();
        if let Some(ready) = self.ready.take() {
            // The caller gave up: the link finds its handle gone and ends.
            let _gone = ready.send(Ok(()));
        }
    }

    /// The share of each host in the patience of who waits.
    fn limit(&self, hosts: usize) -> Option<Duration> {
        let share = u32::try_from(hosts).unwrap_or(u32::MAX);
        match self.patience {
            Patience::Within(patience) if self.ready.is_some() => Some(patience / share),
            _ => None,
        }
    }

    fn broke(&mut self, cause: &str) {
        let since = *self.down_since.get_or_insert_with(Instant::now);
        if self.ready.is_some() && self.patience != Patience::Forever {
            // Somebody waits, and will be told.
            return;
        }
        match &self.said {
            None => {
                tracing::warn!(error = %cause, "waiting for the broker at {}: {cause}", self.place);
            }
            // The first says that the connection is gone, the next why it stays so.
            Some(said) if said.at.elapsed() >= REMIND_EVERY || said.is_news(cause) => {
                tracing::warn!(
                    error = %cause,
                    "still waiting for the broker at {}, {:.0} s: {cause}",
                    self.place,
                    since.elapsed().as_secs_f64()
                );
            }
            Some(_) => return,
        }
        self.said = Some(Said {
            at: Instant::now(),
            cause: cause.to_owned(),
            again: self.said.is_some(),
        });
    }
}

/// Starts the thread of a link and waits for its first connection.
///
/// # Errors
///
/// What ended the wait: the caller's patience, or something that waiting
/// cannot cure. The link is gone then, or goes once it finds its handle gone.
pub(super) async fn start<S: Serve>(
    settings: Arc<Settings>,
    purpose: &str,
    server: S,
) -> Result<(), BrokerError> {
    let place = settings.url.place();
    let (ready, stands) = oneshot::channel();
    let cause = Arc::new(std::sync::Mutex::new(
        "it does not answer in time".to_owned(),
    ));
    let patience = settings.patience;
    let (told, name) = (Arc::clone(&cause), format!("{} {purpose}", settings.name));
    std::thread::Builder::new()
        .name(format!("link {purpose}"))
        .stack_size(STACK_BYTES)
        .spawn(move || run(&settings, &name, server, ready, &told))
        .map_err(|error| BrokerError::Unreachable {
            place: place.clone(),
            cause: format!("no thread for the link: {}", plain(&error)),
        })?;
    let limit = async {
        match patience {
            Patience::Within(limit) => sleep(limit).await,
            Patience::Forever => std::future::pending().await,
        }
    };
    let unreachable = || BrokerError::Unreachable {
        place: place.clone(),
        cause: cause.lock().map(|cause| cause.clone()).unwrap_or_default(),
    };
    tokio::select! {
        stands = stands => stands.unwrap_or_else(|_| Err(unreachable())),
        () = limit => Err(unreachable()),
    }
}

fn run<S: Serve>(
    settings: &Settings,
    name: &str,
    mut server: S,
    ready: Ready,
    last_cause: &std::sync::Mutex<String>,
) {
    let hosts = settings.url.hosts.len();
    let mut turn = rand::rng().random_range(0..hosts);
    let mut state = State {
        place: settings.url.place(),
        patience: settings.patience,
        ready: Some(ready),
        down_since: None,
        said: None,
        backoff: Backoff::default(),
    };
    loop {
        let next = Try {
            turn,
            limit: state.limit(hosts),
        };
        let end = generation(settings, name, next, &mut server, &mut state);
        server.broke();
        let (failure, cause) = match end {
            End::Done => return,
            End::Again => continue,
            End::Unheard(cause) => (Failure::Unheard, cause),
            End::Broken(cause) => (Failure::Broken, cause),
            End::Fatal(error) => {
                if let Some(ready) = state.ready.take() {
                    let _gone = ready.send(Err(error));
                    return;
                }
                (Failure::Broken, error.to_string())
            }
        };
        if let Ok(mut last) = last_cause.lock() {
            last.clone_from(&cause);
        }
        state.broke(&cause);
        turn = turn.wrapping_add(1);
        let chance = rand::rng().random_range(0.0..1.0);
        let wait = state.backoff.wait(failure, hosts, chance);
        if pause(&mut server, wait) {
            return;
        }
    }
}

/// One generation on a runtime of its own, which is dropped with it.
fn generation<S: Serve>(
    settings: &Settings,
    name: &str,
    next: Try,
    server: &mut S,
    state: &mut State,
) -> End {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return End::Broken(plain(&error)),
    };
    let end = runtime.block_on(async {
        let (events, said) = mpsc::unbounded_channel();
        let opened = tokio::select! {
            opened = Generation::open(&settings.url, next, name, events) => opened,
            () = server.idle() => return End::Done,
        };
        let generation = match opened {
            Ok(generation) => generation,
            Err(end) => return end,
        };
        let end = tokio::select! {
            end = server.serve(&generation, said, Up(state)) => end,
            end = generation.watch() => end,
        };
        if matches!(end, End::Done | End::Again) {
            generation.close().await;
        }
        end
    });
    // Not by drop, which would wait for a name that is being looked up.
    runtime.shutdown_background();
    end
}

/// Waits before the next try. Answers whether there need not be one.
fn pause<S: Serve>(server: &mut S, delay: Duration) -> bool {
    let Ok(runtime) = runtime() else {
        std::thread::sleep(delay);
        return false;
    };
    runtime.block_on(async {
        tokio::select! {
            () = sleep(delay) => false,
            () = server.idle() => true,
        }
    })
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
