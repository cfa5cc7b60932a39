//! The thread that removes what is old, beside the one that writes.
//!
//! Between its steps it waits as long as the last one took, so that whoever writes
//! has the store for at least half of the time.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use homing_protocol::{Timestamp, chain};
use homing_store::{Keep, Removed, StoreUrl, remove_old};

use crate::CollectorConfig;

/// The handle of the thread. Dropped, the thread ends after the step it is at, which
/// nobody has to wait for: each is one transaction, so it may be cut off at any time.
#[derive(Debug)]
pub(crate) struct Removal {
    /// Never sent to: that it is gone tells the thread to end.
    _going: Sender<()>,
}

impl Removal {
    pub(crate) fn start(store: &StoreUrl, config: &CollectorConfig) -> Self {
        let (going, ended) = channel();
        let (store, config) = (store.clone(), *config);
        let thread = thread::Builder::new().name("removal".to_owned());
        if let Err(error) = thread.spawn(move || remove_all(&store, &config, &ended)) {
            tracing::warn!(
                error = chain(&error),
                "what is old is not removed: there is no thread for it",
            );
        }
        Self { _going: going }
    }
}

fn remove_all(store: &StoreUrl, config: &CollectorConfig, ended: &Receiver<()>) {
    let mut pause = config.remove_after;
    say_kept(store, config.keep);
    while goes_on(ended, pause) {
        pause = config.remove_every;
        let now = Timestamp::from(SystemTime::now());
        let removed = remove_old(store, config.keep, now, |took| goes_on(ended, took));
        match removed {
            Ok(removed) if removed.is_nothing() => {}
            Ok(removed) => say_removed(store, &removed),
            Err(error) => tracing::warn!(
                error = chain(&error),
                "what is old was not removed: it is tried again",
            ),
        }
    }
}

/// Waits, and answers whether there is anything left to do.
fn goes_on(ended: &Receiver<()>, pause: Duration) -> bool {
    ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout)
}

fn say_kept(store: &StoreUrl, keep: Keep) {
    if let Keep::For(time) = keep {
        tracing::info!(
            store.url = %store,
            "payloads, outputs and errors are removed from {store} {} days after they were stored, \
             unless their batch is not finished (--keep, HOMING_COLLECTOR_KEEP)",
            time.as_secs() / (24 * 60 * 60),
        );
    }
}

fn say_removed(store: &StoreUrl, removed: &Removed) {
    tracing::info!(
        store.url = %store,
        store.partitions = removed.partitions,
        store.entries = removed.entries,
        store.runs = removed.runs,
        store.attempts = removed.attempts,
        store.letters = removed.letters,
        "removed what is old: {} partitions; one by one {} entries of the log, the content of {} \
         runs, {} attempts, the content of {} dead letters",
        removed.partitions,
        removed.entries,
        removed.runs,
        removed.attempts,
        removed.letters,
    );
}
