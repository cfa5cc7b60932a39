//! The prefetch of a worker's consumers: as it is set, or as its [`Pace`] has it.

use std::future::pending;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use homing_broker::SetPrefetch;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Engine;
use super::pace::{Done, Pace, Step, TICK};

/// What a worker that decides by itself how much it holds has to know.
#[derive(Debug)]
pub(super) struct Prefetch {
    /// Attempts that ended, and the bytes of their payloads.
    tasks: AtomicU64,
    bytes: AtomicU64,
    line: Line,
}

/// The tasks that wait for room, in the order in which they came.
#[derive(Debug)]
struct Line {
    came: AtomicU64,
    went: AtomicU64,
    /// Those that go back.
    back: watch::Sender<Range<u64>>,
}

/// A place in the line.
#[derive(Debug)]
pub(super) struct Place<'a> {
    line: &'a Line,
    number: u64,
}

impl Prefetch {
    pub(super) fn new() -> Self {
        Self {
            tasks: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            line: Line {
                came: AtomicU64::new(0),
                went: AtomicU64::new(0),
                back: watch::Sender::new(0..0),
            },
        }
    }

    /// Takes note of an attempt that ended, of a task with so many bytes.
    pub(super) fn ended(&self, bytes: usize) {
        self.tasks.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Takes note of a task that waits for room, as long as there is its place.
    pub(super) fn wait(&self) -> Place<'_> {
        let line = &self.line;
        let number = line.came.fetch_add(1, Ordering::Relaxed);
        Place { line, number }
    }

    fn done(&self) -> Done {
        Done {
            tasks: self.tasks.swap(0, Ordering::Relaxed),
            bytes: self.bytes.swap(0, Ordering::Relaxed),
        }
    }
}

impl Line {
    fn len(&self) -> u64 {
        // What goes came before.
        let went = self.went.load(Ordering::Relaxed);
        self.came.load(Ordering::Relaxed).saturating_sub(went)
    }

    /// Sends back all but about the first few that wait now: more stay where some
    /// have gone before their turn.
    fn send_back(&self, but: u64) {
        let first = self.went.load(Ordering::Relaxed) + but;
        self.back
            .send_replace(first..self.came.load(Ordering::Relaxed));
    }
}

impl Place<'_> {
    /// Waits until it is to go back; for ever, unless others wait for too long
    /// before it.
    pub(super) async fn goes_back(&self) {
        let mut back = self.line.back.subscribe();
        let goes = back.wait_for(|back| back.contains(&self.number));
        if goes.await.map(drop).is_err() {
            pending::<()>().await;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.line.went.fetch_add(1, Ordering::Relaxed);
    }
}

/// Follows the pace of the worker until it stops.
pub(super) async fn follow(engine: Arc<Engine>, consumers: Vec<SetPrefetch>) {
    let Some(prefetch) = &engine.prefetch else {
        return;
    };
    let least = engine.config.prefetch_least();
    let mut pace = Pace::new(least, engine.config.concurrency, consumers.len());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = engine.stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let step = pace.tick(prefetch.done(), prefetch.line.len());
        let (Step::Set(now) | Step::GiveBack(now, _)) = step else {
            continue;
        };
        // First, so that what goes back does not come here again.
        consumers.iter().for_each(|consumer| consumer.to(now));
        if let Step::GiveBack(_, kept) = step {
            tracing::debug!(
                "tasks wait behind long ones; those beyond a prefetch of {now} go back"
            );
            prefetch.line.send_back(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn goes_back(place: &Place<'_>) -> bool {
        place.goes_back().now_or_never().is_some()
    }

    #[test]
    fn all_but_the_first_in_line_go_back_and_nothing_that_comes_later() {
        let prefetch = Prefetch::new();
        let done: Vec<_> = (0..3).map(|_| prefetch.wait()).collect();
        let waiting: Vec<_> = (0..5).map(|_| prefetch.wait()).collect();
        drop(done);
        assert_eq!(prefetch.line.len(), 5);

        prefetch.line.send_back(2);

        let later = prefetch.wait();
        let back: Vec<_> = waiting.iter().map(goes_back).collect();
        assert_eq!(back, [false, false, true, true, true]);
        assert!(!goes_back(&later));
    }

    #[test]
    fn fewer_than_may_stay_all_stay() {
        let prefetch = Prefetch::new();
        let waiting = prefetch.wait();

        prefetch.line.send_back(2);

        assert!(!goes_back(&waiting));
    }
}
