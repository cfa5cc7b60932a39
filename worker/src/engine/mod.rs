//! Runs a worker: opens its links, takes deliveries, drains.
//!
//! ```text
//! consumer ─ delivery ─► intake ─► triage ─► run ─► settle ─┬─ outcome ────────► outbox ─┐
//!  (one per queue)          │                               ├─ attempt + retry ──────────┤
//!                           └─ split, named, parked, dead ──┴────────────────────────────┴─► publisher
//!                                                                            confirm ─► reply, ack
//! ```
//!
//! Each delivery is one tokio task from [`intake`] to its ack, except that an
//! outcome is handed to the [`outbox`], which lets many travel together.
//!
//! # Invariants
//!
//! A token leaves only by `Replaced::ack`, which needs the broker's confirm, or
//! by being dropped, which puts the delivery back. So whatever ends a task's
//! future early (the drain, a dropped `run`, a panic) loses nothing.

mod apply;
mod bundle;
mod declare;
mod drain;
mod ending;
mod execute;
mod intake;
mod outbox;
mod pace;
mod park;
mod prefetch;
mod publish;
mod record;
mod reply;
mod suspects;
mod watchdog;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use homing_broker::{Broker, Source, Window, mint};
use homing_protocol::{Namespace, QueueName, Timestamp};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::attempt::Cutoff;
use crate::config::WorkerConfig;
use crate::error::RunError;
use crate::registry::Kinds;
use crate::worker::Stopped;
use ending::Ending;
#[cfg(feature = "testing")]
pub(crate) use execute::{Bounds, Executed, execute};
use outbox::Outbox;
use prefetch::Prefetch;
use publish::Publishing;
use reply::Replies;
use suspects::Lane;
use watchdog::Watchdog;

/// What all tasks of a running worker share.
struct Engine {
    kinds: Kinds,
    config: WorkerConfig,
    namespace: Namespace,
    /// Host and process, as in reports.
    worker: String,
    /// Room for attempts; closed when the drain starts, so that what waits for
    /// room goes back.
    room: Arc<Semaphore>,
    /// Every delivery that is being dealt with; owned and joined by the drain.
    deliveries: TaskTracker,
    cutoff: Cutoff,
    /// Cancelled when handlers that still run are to be dropped.
    dropped: CancellationToken,
    /// Cancelled when the intake is to stop.
    stopping: CancellationToken,
    /// If it is not set.
    prefetch: Option<Prefetch>,
    /// Whether it is the turn of the suspects; while it is, nothing else comes.
    suspects_turn: watch::Sender<bool>,
    /// Told when this worker finds a suspect.
    suspected: Notify,
    ending: Ending,
    publishing: Publishing,
    outbox: Outbox,
    replies: Replies,
    tally: Arc<record::Tally>,
    watchdog: Watchdog,
    said: park::Said,
}

/// A worker that runs. Dropped, all of it ends at once.
struct Running {
    engine: Arc<Engine>,
    /// One task per consumer, and the lane of the suspects.
    intakes: JoinSet<()>,
    /// The outbox, the replies, and what declares kinds.
    senders: JoinSet<()>,
    /// Cancelled when the senders are to send what they have and end.
    flush: CancellationToken,
    /// Ends deliveries that are being dealt with when `run` is dropped.
    _guards: [DropGuard; 3],
}

/// Runs until `stop` ends or nothing can go on, then drains.
pub(crate) async fn run(
    kinds: Kinds,
    broker: Arc<dyn Broker>,
    config: WorkerConfig,
    stop: impl Future<Output = ()>,
) -> Result<Stopped, RunError> {
    let mut stop = pin!(stop);
    let running = tokio::select! {
        running = open(kinds, broker, config) => running?,
        () = &mut stop => return Ok(Stopped::default()),
    };
    tokio::select! {
        () = stop => {}
        () = running.engine.ending.begun() => {}
    }
    let given_up = running.engine.watchdog.given_up.clone();
    let tally = Arc::clone(&running.engine.tally);
    tokio::select! {
        biased;
        stopped = running.drain() => stopped,
        // Handlers hold every thread, so that nothing of the drain goes on.
        () = given_up.cancelled() => Ok(tally.stopped()),
    }
}

async fn open(
    kinds: Kinds,
    broker: Arc<dyn Broker>,
    config: WorkerConfig,
) -> Result<Running, RunError> {
    let differences = broker.check().await?;
    if !differences.is_empty() {
        let place = broker.place();
        return Err(RunError::Topology { place, differences });
    }
    let publisher = broker.publisher(Window::DEFAULT).await?;
    let consumers = intake::open(broker.as_ref(), &config).await?;
    let suspects = Source::Tasks(QueueName::suspect());
    let suspects = broker.puller(suspects).await?;
    let ending = Ending::default();
    let flush = CancellationToken::new();
    let publishing = Publishing::new(publisher, ending.clone());
    let (outbox, settled) = Outbox::new();
    let (replies, answers) = Replies::new();
    let engine = Arc::new(Engine {
        kinds,
        namespace: broker.topology().namespace().clone(),
        worker: record::worker_name(),
        room: Arc::new(Semaphore::new(config.concurrency.into())),
        prefetch: config.prefetch.is_none().then(Prefetch::new),
        config,
        deliveries: TaskTracker::new(),
        cutoff: Cutoff::default(),
        dropped: CancellationToken::new(),
        stopping: CancellationToken::new(),
        suspects_turn: watch::Sender::new(false),
        suspected: Notify::new(),
        ending,
        publishing,
        outbox,
        replies,
        tally: Arc::default(),
        watchdog: Watchdog::new(),
        said: park::Said::default(),
    });
    watchdog::start(&engine);
    started(&engine, &broker.place());
    let mut senders = JoinSet::new();
    senders.spawn(outbox::send(Arc::clone(&engine), settled, flush.clone()));
    senders.spawn(reply::send(broker, answers, flush.clone()));
    senders.spawn(declare::send(Arc::clone(&engine), flush.clone()));
    let mut intakes = JoinSet::new();
    let lane = Lane {
        engine: Arc::clone(&engine),
        suspects,
        quiets: consumers.iter().map(|(c, _)| c.quiet()).collect(),
    };
    intakes.spawn(suspects::run(lane));
    let set_prefetch = consumers.iter().map(|(c, _)| c.set_prefetch()).collect();
    intakes.spawn(prefetch::follow(Arc::clone(&engine), set_prefetch));
    for (consumer, queue) in consumers {
        intakes.spawn(intake::run(Arc::clone(&engine), consumer, queue));
    }
    let guards = [
        engine.cutoff.passed.clone().drop_guard(),
        engine.dropped.clone().drop_guard(),
        engine.publishing.abandoned.clone().drop_guard(),
    ];
    Ok(Running {
        engine,
        intakes,
        senders,
        flush,
        _guards: guards,
    })
}

fn started(engine: &Engine, place: &str) {
    let queues: Vec<_> = engine.config.queues.iter().map(|q| q.as_str()).collect();
    let kinds: Vec<_> = engine.kinds.keys().map(|kind| kind.as_str()).collect();
    tracing::info!(
        worker = engine.worker,
        concurrency = engine.config.concurrency,
        prefetch = engine.config.prefetch_least(),
        "takes {} from {} at {place}",
        kinds.join(", "),
        queues.join(", "),
    );
}

/// A channel's two ends, the receiving one ended by `flush`.
async fn recv_until<T>(
    inbox: &mut mpsc::Receiver<T>,
    items: &mut Vec<T>,
    items_max: usize,
    flush: &CancellationToken,
) -> usize {
    if !flush.is_cancelled() {
        tokio::select! {
            biased;
            count = inbox.recv_many(items, items_max) => return count,
            () = flush.cancelled() => {}
        }
    }
    inbox.close();
    inbox.recv_many(items, items_max).await
}

/// The time, for deadlines and for people.
fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

fn message_id() -> String {
    mint().to_string()
}
