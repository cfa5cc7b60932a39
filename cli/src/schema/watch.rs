//! Sees that a check of one payload ends: a schema may have so many ways to go that
//! none of us lives to see it.
//!
//! A check cannot be ended from outside. Whoever finds that one lasts too long goes
//! on without it; its thread ends with the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::check::STACK_BYTES;

/// How long a check of one payload may take, at least: some thousand times what one
/// of a megabyte takes.
pub(crate) const CHECK_TIME_MAX: Duration = Duration::from_secs(10);

/// Counts the beginnings and ends of checks: while it is odd, one goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<AtomicU64>);

impl Turns {
    /// Does `check`.
    pub(super) fn turn<T>(&self, check: impl FnOnce() -> T) -> T {
        self.0.fetch_add(1, Ordering::Relaxed);
        let checked = check();
        self.0.fetch_add(1, Ordering::Relaxed);
        checked
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Looks from time to time.
#[derive(Debug)]
pub(crate) struct Watch {
    turns: Turns,
    seen: (u64, Instant),
}

impl Watch {
    pub(crate) fn new(turns: Turns, now: Instant) -> Self {
        let seen = (turns.now(), now);
        Self { turns, seen }
    }

    /// Whether the same check has gone on for `time`, as far as it was looked at.
    pub(crate) fn is_stuck(&mut self, time: Duration, now: Instant) -> bool {
        let (turn, since) = self.seen;
        if self.turns.now() != turn {
            self.seen = (self.turns.now(), now);
            return false;
        }
        turn % 2 == 1 && now.saturating_duration_since(since) >= time
    }
}

/// Does `work`, which checks in `turns`, on a thread whose stack no schema exhausts;
/// `None` if one check goes on for `time`.
///
/// # Errors
///
/// There is no room for that thread, or it panicked.
pub(crate) fn in_time<T: Send + 'static>(
    time: Duration,
    turns: Turns,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let (done, is_done) = channel();
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    thread.spawn(move || {
        let _gone = done.send(work());
    })?;
    let mut watch = Watch::new(turns, Instant::now());
    loop {
        match is_done.recv_timeout(time / 4) {
            Ok(done) => return Ok(Some(done)),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the thread that checks ended"));
            }
            Err(RecvTimeoutError::Timeout) if watch.is_stuck(time, Instant::now()) => {
                return Ok(None);
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_check_that_goes_on_is_stuck() {
        let (turns, began) = (Turns::default(), Instant::now());
        let at = |secs| began + Duration::from_secs(secs);
        let mut watch = Watch::new(turns.clone(), began);
        let mut stuck = |secs| watch.is_stuck(Duration::from_secs(10), at(secs));

        assert!(!stuck(60), "nothing is checked");
        turns.turn(|| assert!(!stuck(70), "one has begun since"));
        turns.turn(|| {
            assert!(!stuck(80), "another one");
            assert!(!stuck(89));
            assert!(stuck(90));
        });
        assert!(!stuck(200));
    }

    #[test]
    fn what_ends_is_answered_and_what_does_not_is_left_alone() {
        let time = Duration::from_millis(40);
        let (turns, never) = (Turns::default(), channel::<()>());

        assert_eq!(in_time(time, turns.clone(), || 7).unwrap(), Some(7));
        let within = turns.clone();
        let stuck = in_time(time, turns, move || {
            within.turn(|| assert!(never.1.recv().is_err()));
        });
        assert_eq!(stuck.unwrap(), None);
        drop(never.0);
    }
}
