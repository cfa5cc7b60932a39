//! Opens the store, or waits in line for it.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use homing_store::{Opened, StoreError, StoreUrl, Writer};

/// How often the lock of another collector is tried: a takeover within a tenth
/// of a second is at once for outcomes that wait in a queue.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The writer of `store`, once no other process has it; `None` if `stop` ended
/// first.
pub(crate) async fn open(
    store: &StoreUrl,
    mut stop: Pin<&mut (impl Future<Output = ()> + Send)>,
) -> Result<Option<Writer>, StoreError> {
    let url = store.clone();
    let mut opened = blocking(move || Writer::open(&url)).await?;
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

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down: nobody polls this any more.
        Err(_) => std::future::pending().await,
    }
}
