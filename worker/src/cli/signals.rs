use std::io::{self, Read};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::PROCESS_VARIABLE;

/// How often this process was asked to stop.
///
/// By SIGTERM or SIGINT; one of several processes also by the end of its stdin,
/// which its parent holds open for as long as it lives, however it ends.
#[derive(Clone, Debug)]
pub(super) struct Signals {
    count: watch::Receiver<u32>,
}

impl Signals {
    /// Takes over the signals. A thread of its own counts them, so that handlers
    /// that block every other one can be told to stop.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _on_it = runtime.enter();
            [SignalKind::terminate(), SignalKind::interrupt()].map(signal)
        };
        let [terminate, interrupt] = signals;
        let (terminate, interrupt) = (terminate?, interrupt?);
        let (counter, count) = watch::channel(0);
        if is_child() {
            let counter = counter.clone();
            // Owned by the process: it reads until the parent ends.
            std::thread::spawn(move || {
                read_to_end();
                counter.send_modify(|count| *count = (*count).max(1));
            });
        }
        // Owned by the process, like the one above.
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(counting(terminate, interrupt, counter)))?;
        Ok(Self { count })
    }

    /// Ends once it was asked `times` times.
    pub(super) async fn asked(&self, times: u32) {
        let mut count = self.count.clone();
        if count.wait_for(|count| *count >= times).await.is_err() {
            // The process ends, and with it who waits here.
            std::future::pending().await
        }
    }
}

async fn counting(mut terminate: Signal, mut interrupt: Signal, counter: watch::Sender<u32>) {
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        counter.send_modify(|count| *count += 1);
    }
}

/// Whether this is one of several processes of a worker.
pub(super) fn is_child() -> bool {
    std::env::var_os(PROCESS_VARIABLE).is_some()
}

fn read_to_end() {
    let mut ignored = [0; 64];
    let mut stdin = io::stdin();
    loop {
        match stdin.read(&mut ignored) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
