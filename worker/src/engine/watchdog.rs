//! Notices what holds up the worker: handlers that block their thread, and a
//! drain that does not end.
//!
//! An `async` handler gives its thread back at every `await`. One that does not
//! cannot be dropped at its timeout, and enough of them stop every timer of the
//! runtime. So the watchdog has a thread of its own, which no handler can block,
//! and looks when each attempt was polled last.
//!
//! | what lasts            | how long                | what is done                        |
//! |-----------------------|-------------------------|-------------------------------------|
//! | a poll of an attempt  | [`BLOCKED_AFTER`]       | said, once for each kind            |
//! | the same              | timeout and grace       | it is wedged: its attempt has failed, the worker drains |
//! | the same, on every thread | the same            | the drain is given up at once       |
//! | a drain               | longer than its parts   | given up, so that the process ends  |

use std::collections::{BTreeSet, HashMap};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use homing_protocol::TaskKind;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::Engine;
use super::intake::TaskDelivery;
use super::record::Begun;

/// A poll that lasts this long blocks its thread: what an `async` handler does
/// between two `await`s takes well below a millisecond.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);

/// Often enough for the shortest timeouts there are.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The attempts that run, and what is known of their polls.
pub(super) struct Watchdog {
    /// What times of polls are counted from.
    began: Instant,
    attempts: Mutex<HashMap<u64, Arc<Watched>>>,
    next: AtomicU64,
    /// Attempts whose delivery task will not end any more.
    stuck: AtomicUsize,
    /// When a drain should have ended; set once, when it starts.
    drained_at: OnceLock<Instant>,
    /// Cancelled when that was not so.
    pub(super) given_up: CancellationToken,
}

/// An attempt that runs.
struct Watched {
    kind: TaskKind,
    begun: Begun,
    /// When it is wedged if it still does not yield.
    wedged_at: Instant,
    /// Milliseconds from 1 after `began` at which the poll began that goes on; 0
    /// between polls.
    polled_ms: AtomicU64,
    /// The task, until either its attempt ends or it is wedged.
    task: Mutex<Option<Box<TaskDelivery>>>,
}

/// The hold of a delivery's own task on its attempt.
pub(super) struct Held<'a> {
    watchdog: &'a Watchdog,
    number: u64,
    watched: Arc<Watched>,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            attempts: Mutex::default(),
            next: AtomicU64::new(0),
            stuck: AtomicUsize::new(0),
            drained_at: OnceLock::new(),
            given_up: CancellationToken::new(),
        }
    }

    /// Takes charge of a task whose attempt begins.
    pub(super) fn hold(&self, task: Box<TaskDelivery>, begun: Begun, grace: Duration) -> Held<'_> {
        let watched = Arc::new(Watched {
            kind: task.envelope.kind.clone(),
            begun,
            wedged_at: begun.timeout_at() + grace,
            polled_ms: AtomicU64::new(0),
            task: Mutex::new(Some(task)),
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.attempts).insert(number, Arc::clone(&watched));
        Held {
            watchdog: self,
            number,
            watched,
        }
    }

    /// Says that a drain begins, and when it is to have ended at the latest.
    pub(super) fn drain_until(&self, at: Instant) {
        // It begins once.
        let _earlier = self.drained_at.set(at);
    }

    /// Attempts that nobody needs to wait for, because they never end.
    pub(super) fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// Takes away the task of an attempt that is wedged; `None` if it has ended.
    fn give_up(&self, watched: &Watched) -> Option<Box<TaskDelivery>> {
        let mut task = lock(&watched.task);
        if task.is_some() {
            // Before its own hold can find it gone.
            self.stuck.fetch_add(1, Ordering::Relaxed);
        }
        task.take()
    }

    fn ms(&self, at: Instant) -> u64 {
        let ms = at.saturating_duration_since(self.began).as_millis();
        u64::try_from(ms).unwrap_or(u64::MAX - 1) + 1
    }

    /// The attempts in the middle of a poll, and for how long.
    fn polled(&self, now: Instant) -> Vec<(Duration, Arc<Watched>)> {
        let attempts = lock(&self.attempts);
        let polled = attempts.values().filter_map(|watched| {
            let since = watched.polled_ms.load(Ordering::Relaxed);
            let lasted = Duration::from_millis(self.ms(now).saturating_sub(since));
            (since > 0).then(|| (lasted, Arc::clone(watched)))
        });
        polled.collect()
    }
}

impl Held<'_> {
    /// Runs the attempt, and notes when it is polled.
    pub(super) async fn run<T>(&self, attempt: impl Future<Output = T>) -> T {
        let mut attempt = pin!(attempt);
        poll_fn(|context| {
            let since = self.watchdog.ms(Instant::now());
            self.watched.polled_ms.store(since, Ordering::Relaxed);
            let answer = attempt.as_mut().poll(context);
            self.watched.polled_ms.store(0, Ordering::Relaxed);
            answer
        })
        .await
    }

    /// Takes the task back; `None` if it was wedged and is settled already.
    pub(super) fn take(self) -> Option<Box<TaskDelivery>> {
        let task = lock(&self.watched.task).take();
        if task.is_none() {
            // It did end, so there is one less that nobody needs to wait for.
            self.watchdog.stuck.fetch_sub(1, Ordering::Relaxed);
        }
        task
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        lock(&self.watchdog.attempts).remove(&self.number);
    }
}

/// What a panic left behind is as good as before: nothing here is half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread, which ends with the engine. To be called on the runtime
/// that attempts run on.
pub(super) fn start(engine: &Arc<Engine>) {
    let (engine, runtime) = (Arc::downgrade(engine), Handle::current());
    let thread = std::thread::Builder::new().name("watchdog".to_owned());
    if let Err(error) = thread.spawn(move || watch(&engine, &runtime)) {
        tracing::warn!(%error, "no thread for the watchdog: a handler that blocks is not noticed");
    }
}

fn watch(engine: &Weak<Engine>, runtime: &Handle) {
    let mut said = BTreeSet::new();
    loop {
        let since = Instant::now();
        std::thread::sleep(LOOK_EVERY);
        let Some(engine) = engine.upgrade() else {
            return;
        };
        if since.elapsed() >= BLOCKED_AFTER {
            // The whole process stood still, its handlers too.
            continue;
        }
        look(&engine, runtime, &mut said);
    }
}

fn look(engine: &Arc<Engine>, runtime: &Handle, said: &mut BTreeSet<TaskKind>) {
    let (now, watchdog) = (Instant::now(), &engine.watchdog);
    for (lasted, watched) in watchdog.polled(now) {
        if lasted >= BLOCKED_AFTER && said.insert(watched.kind.clone()) {
            tracing::warn!(
                task.kind = %watched.kind,
                blocked_ms = lasted.as_millis() as u64,
                "a handler of `{}` blocks its thread, and holds up others: what blocks or computes \
                 for long is for `blocking_handler` or `tokio::task::spawn_blocking`",
                watched.kind,
            );
        }
        if lasted >= BLOCKED_AFTER.min(watched.begun.timeout()) && now >= watched.wedged_at {
            let Some(task) = watchdog.give_up(&watched) else {
                continue;
            };
            let (settling, begun) = (Arc::clone(engine), watched.begun);
            let settle = async move { settling.wedged(task, begun.ended()).await };
            engine.deliveries.spawn_on(settle, runtime);
            engine.end_wedged();
        }
    }
    if watchdog.stuck() >= runtime.metrics().num_workers() {
        // There is no thread left that anything could go on on.
        watchdog.given_up.cancel();
    }
    if watchdog.drained_at.get().is_some_and(|at| now >= *at) && !watchdog.given_up.is_cancelled() {
        tracing::error!(
            "the worker does not come to an end; what was not acked goes back by itself"
        );
        watchdog.given_up.cancel();
    }
}
