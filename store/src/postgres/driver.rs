//! Where the connections of this process live: one thread with a runtime of its
//! own.
//!
//! So a store works on whatever runtime its caller has, or on none: the writer
//! and repairs are used by threads that may block.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use futures::executor;
use tokio::runtime::{Builder, Handle};

/// The runtime that connections live on. It ends with the process.
pub(super) fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let (tell, told) = channel();
        // Never joined: a connection may be used until the process ends.
        let started = thread::Builder::new()
            .name("homing-postgres".to_owned())
            .spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("the system gives a process one more poll");
                let _told = tell.send(runtime.handle().clone());
                runtime.block_on(std::future::pending::<()>());
            });
        started.expect("the system gives a process one more thread");
        told.recv()
            .expect("the thread tells before it does anything")
    })
}

/// Waits for `work` on this thread, which may be one of any tokio runtime. Panics
/// inside an executor of `futures`, which cannot be nested.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    // Its timers are those of the connections' runtime. A task's budget on the
    // caller's runtime must not stop what is polled here.
    let _entered = runtime().enter();
    executor::block_on(tokio::task::unconstrained(work))
}

/// What `work` answers, if it does in time by the clock of the connections'
/// runtime, whatever runtime is here.
pub(super) async fn timeout<T>(duration: Duration, work: impl Future<Output = T>) -> Option<T> {
    let timed = {
        let _entered = runtime().enter();
        tokio::time::timeout(duration, work)
    };
    timed.await.ok()
}

/// Waits, by the clock of the connections' runtime.
pub(super) async fn sleep(duration: Duration) {
    let slept = runtime().spawn(async move { tokio::time::sleep(duration).await });
    slept.await.expect("sleeping does not panic");
}
