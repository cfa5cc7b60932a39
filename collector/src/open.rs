//! Opens the store, or waits in line for it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use homing_protocol::chain;
use homing_store::{Opened, StoreError, StoreUrl, Writer};

/// How often the lock of another collector is tried: a takeover within a tenth
/// of a second is at once for outcomes that wait in a queue.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Pauses between attempts to reach a server.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The writer of `store`, once its server answers and no other process has it;
/// `None` if `stop` ended first.
pub(crate) async fn open(
    store: &StoreUrl,
    mut stop: Pin<&mut (impl Future<Output = ()> + Send)>,
) -> Result<Option<Writer>, StoreError> {
    let Some(mut opened) = reach(store, stop.as_mut()).await? else {
        return Ok(None);
    };
    let mut said = false;
    loop {
        let standby = match opened {
            Opened::Ready(writer) => return Ok(Some(writer)),
            Opened::Standby(standby) => standby,
        };
        if !said {
            let holder = standby.holder();
            tracing::info!(
                store.url = %store,
                "another collector has {store} ({holder}): standing by to take over",
            );
            said = true;
        }
        tokio::select! {
            () = stop.as_mut() => return Ok(None),
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
        opened = blocking(move || standby.retry()).await?;
    }
}

/// Opens `store`, again and again while its server is away, and says once that
/// it is; `None` if `stop` ended first.
async fn reach(
    store: &StoreUrl,
    mut stop: Pin<&mut (impl Future<Output = ()> + Send)>,
) -> Result<Option<Opened>, StoreError> {
    let mut pause = PAUSE_FIRST;
    let mut said = false;
    loop {
        let url = store.clone();
        let opening = blocking(move || Writer::open(&url));
        let opened = tokio::select! {
            () = stop.as_mut() => return Ok(None),
            opened = opening => opened,
        };
        match opened {
            Ok(opened) => return Ok(Some(opened)),
            Err(error @ (StoreError::Unreachable { .. } | StoreError::Busy { .. }))
                if store.is_shared() =>
            {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(
                        store.url = %store,
                        error = chain(&error),
                        "waiting for the store: outcomes wait in their queue until it can be reached",
                    );
                }
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = stop.as_mut() => return Ok(None),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down: nobody polls this any more.
        Err(_) => std::future::pending().await,
    }
}
