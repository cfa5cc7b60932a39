//! Moves outcomes, records of batches and kinds, and dead letters from the broker into
//! a store.
//!
//! ```text
//! results.N ──┐
//! dead ───────┼─ decode (async) ─ bounded channel ─ write (one thread) ─ ack
//! quarantine ─┘
//!                                              remove what is old (another thread)
//! ```
//!
//! # Invariants
//!
//! A delivery is acked only with the store's proof that it is committed. What
//! cannot be read is stored as it is, so no message ever blocks its queue. What
//! a message on `results` means is decided by the exchange it came through,
//! which the broker sets, never by its headers. A dead letter that only lost its
//! way is not stored but sent on, and acked once that is confirmed.
//!
//! # Failure
//!
//! While the store cannot be written, nothing is acked and nothing more is asked
//! for: outcomes wait in their queue. The same
//! group is tried again until it is stored, in the file that is at the store's
//! path then, or over another connection: whether the commit before took place is
//! not asked, since writing it again changes nothing. What the store refuses by itself is kept in it as a dead letter. A crash between commit and ack
//! brings entries again, which changes nothing in the store.

mod config;
mod decode;
mod error;
mod open;
mod quarantine;
mod receive;
mod refused;
mod removal;
mod results;
mod stray;
mod write;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use homing_broker::{Broker, Source};
use homing_store::StoreUrl;

pub use config::CollectorConfig;
pub use error::CollectorError;

use open::open;
use quarantine::Quarantine;
use receive::Consumers;
use removal::Removal;
use results::Results;
use stray::Strays;
use write::WriteThread;

/// Why a collector ended without an error: it was told to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stopped {
    /// How many entries it stored: reports, records of batches and kinds, and dead
    /// letters, redelivered ones included.
    pub stored: u64,
}

/// Collects until `stop` ends, then stores what it has received and ends.
///
/// Waits for the store if another collector has it, and for the broker as long
/// as that broker is patient.
///
/// # Errors
///
/// [`CollectorError`]: what waiting does not cure. What was not stored is in
/// its queue.
///
/// # Cancel safety
///
/// Dropped, what was received and not stored goes back to its queue.
pub async fn run(
    broker: Arc<dyn Broker>,
    store: &StoreUrl,
    config: CollectorConfig,
    stop: impl Future<Output = ()> + Send,
) -> Result<Stopped, CollectorError> {
    let mut stop = pin!(stop);
    let Some(mut writer) = open(store, stop.as_mut()).await? else {
        return Ok(Stopped { stored: 0 });
    };
    let links = async {
        let (every, of_results) = (config.look_every, Arc::clone(&broker));
        let results = Results::open(of_results, config.prefetch, every).await?;
        let dead = broker.consumer(Source::Dead, config.prefetch_dead).await?;
        Ok::<_, CollectorError>((results, dead))
    };
    let (results, dead) = tokio::select! {
        links = links => links?,
        () = stop.as_mut() => return Ok(Stopped { stored: 0 }),
    };
    // A store that is away again is waited for as soon as there is something to
    // write.
    let stored = match writer.stored() {
        Err(error) if !error.is_transient() => return Err(error.into()),
        stored => stored.ok(),
    };
    tracing::info!(
        store.url = %store,
        store.tasks = stored,
        results.queues = results.count(),
        "collecting from {} into {store}",
        broker.place(),
    );
    let mut thread = WriteThread::start(writer);
    let _removal = Removal::start(store, &config);
    let quarantine =
        Quarantine::start(Arc::clone(&broker), config.quarantine_after, thread.tries());
    let mut consumers = Consumers {
        results,
        dead,
        quarantine,
        strays: Strays::new(Arc::clone(&broker)),
    };
    let received = consumers
        .receive(broker.topology(), &mut thread, stop)
        .await;
    let ended = thread.end().await;
    consumers.close().await;
    let stored = ended?;
    received?;
    tracing::info!(
        store.entries = stored,
        "collector drained: {stored} entries stored"
    );
    Ok(Stopped { stored })
}
