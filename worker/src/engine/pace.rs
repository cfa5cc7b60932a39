//! How many tasks a worker that may decide it itself holds: as many as it does
//! within a tenth of a second or two. That hides the way to the broker, and little
//! waits here that another worker has room for.
//!
//! Pure. It begins with the least, and doubles after a tick in which all that it
//! holds was done. After a second of ticks in which less than a tenth of that was
//! done it is the least again. If tasks wait then, those beyond the least go back,
//! and it stays with that for a while, longer each time: short and long tasks may
//! come mixed.

use std::num::NonZeroU16;
use std::time::Duration;

/// How often it is looked at.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Beyond this more gives little, see `docs/performance.md`, and of bundles as
/// many messages may come.
const PREFETCH_MAX: u16 = 256;

/// Payloads held beyond the least, in bytes.
const BYTES_MAX: u64 = 16 << 20;

/// Slow ticks in a row after which it has become too much.
const SLOW_MAX: u32 = 10;

/// Ticks with the least after tasks went back: at first, and at most.
const REST: u32 = 100;
const REST_MAX: u32 = 6_000;

#[derive(Debug)]
pub(super) struct Pace {
    least: NonZeroU16,
    most: NonZeroU16,
    /// Tasks that may wait whatever the pace.
    kept: u64,
    prefetch: NonZeroU16,
    /// Slow ticks in a row.
    slow: u32,
    /// Ticks in which it is not to grow, and how many there will be next time.
    rest: u32,
    next_rest: u32,
}

/// What came of a tick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    /// Attempts that ended.
    pub(super) tasks: u64,
    /// Of their payloads.
    pub(super) bytes: u64,
}

/// What is to be done after a tick.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Nothing.
    Keep,
    /// This is the prefetch from now on.
    Set(NonZeroU16),
    /// The same, and all but so many of the tasks that wait go back.
    GiveBack(NonZeroU16, u64),
}

impl Pace {
    /// Of a worker that runs so many at once, and holds this at least from each of
    /// so many queues.
    pub(super) fn new(least: NonZeroU16, concurrency: u16, queues: usize) -> Self {
        let share = usize::from(PREFETCH_MAX) / queues.max(1);
        let share = u16::try_from(share).ok().and_then(NonZeroU16::new);
        Self {
            least,
            most: share.map_or(least, |share| share.max(least)),
            kept: (u64::from(least.get()) * queues as u64).saturating_sub(concurrency.into()),
            prefetch: least,
            slow: 0,
            rest: 0,
            next_rest: REST,
        }
    }

    /// Decides after a tick, at the end of which so many tasks wait.
    pub(super) fn tick(&mut self, done: Done, waiting: u64) -> Step {
        let before = self.prefetch;
        self.rest = self.rest.saturating_sub(1);
        let all = u64::from(before.get());
        self.slow = if done.tasks * 10 < all {
            self.slow + 1
        } else {
            0
        };
        if self.slow >= SLOW_MAX {
            self.slow = 0;
            self.prefetch = self.least;
            if before > self.least && waiting > self.kept {
                self.rest = self.next_rest;
                self.next_rest = REST_MAX.min(2 * self.next_rest);
                return Step::GiveBack(self.least, self.kept);
            }
        } else if done.tasks >= all && self.rest == 0 {
            self.set(before.get().saturating_mul(2), done);
        } else {
            self.set(before.get(), done);
        }
        if self.prefetch == before {
            Step::Keep
        } else {
            Step::Set(self.prefetch)
        }
    }

    fn set(&mut self, prefetch: u16, done: Done) {
        let each = (done.bytes / done.tasks.max(1)).max(1);
        let fitting = u16::try_from(BYTES_MAX / each).unwrap_or(u16::MAX);
        let prefetch = NonZeroU16::new(prefetch.min(fitting)).unwrap_or(NonZeroU16::MIN);
        self.prefetch = prefetch.clamp(self.least, self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: u16) -> NonZeroU16 {
        NonZeroU16::new(number).unwrap()
    }

    fn pace() -> Pace {
        Pace::new(number(32), 16, 1)
    }

    fn done(tasks: u64) -> Done {
        let bytes = 100 * tasks;
        Done { tasks, bytes }
    }

    /// The prefetch after so many ticks that are alike.
    fn after(pace: &mut Pace, ticks: u32, done: Done, waiting: u64) -> u16 {
        for _ in 0..ticks {
            pace.tick(done, waiting);
        }
        pace.prefetch.get()
    }

    #[test]
    fn quick_tasks_are_held_by_the_hundred() {
        let mut pace = pace();

        assert_eq!(pace.tick(done(400), 0), Step::Set(number(64)));
        assert_eq!(after(&mut pace, 1, done(400), 9), 128);
        assert_eq!(after(&mut pace, 10, done(2_000), 9), PREFETCH_MAX);
        assert_eq!(pace.tick(done(2_000), 9), Step::Keep);
    }

    #[test]
    fn of_others_as_many_as_are_done_in_two_tenths_of_a_second_at_most() {
        assert_eq!(after(&mut pace(), 50, done(50), 40), 64);
        assert_eq!(after(&mut pace(), 50, done(31), 16), 32);
    }

    #[test]
    fn tasks_that_turn_out_to_be_long_go_back_after_a_second() {
        let mut pace = pace();
        after(&mut pace, 10, done(2_000), 9);

        let steps = (0..SLOW_MAX).map(|_| pace.tick(done(2), 200));

        let steps: Vec<_> = steps.collect();
        let (last, before) = steps.split_last().unwrap();
        assert_eq!(*last, Step::GiveBack(number(32), 16));
        assert!(before.iter().all(|step| *step == Step::Keep));
        assert_eq!(pace.tick(done(0), 200), Step::Keep);
    }

    #[test]
    fn after_that_it_rests_and_each_time_for_longer() {
        let mut pace = pace();
        let mut rests = Vec::new();
        for _ in 0..8 {
            after(&mut pace, 20, done(2_000), 9);
            after(&mut pace, SLOW_MAX, done(0), 99);
            let mut rest = 1;
            while pace.tick(done(2_000), 9) == Step::Keep {
                rest += 1;
            }
            rests.push(rest);
        }

        assert_eq!(rests, [100, 200, 400, 800, 1_600, 3_200, 6_000, 6_000]);
    }

    #[test]
    fn an_idle_worker_is_back_at_the_least_and_nothing_goes_back() {
        let mut pace = pace();
        after(&mut pace, 10, done(2_000), 9);

        let steps: Vec<_> = (0..SLOW_MAX).map(|_| pace.tick(done(0), 16)).collect();

        assert_eq!(steps.last(), Some(&Step::Set(number(32))));
        assert_eq!(pace.tick(done(400), 9), Step::Set(number(64)));
    }

    #[test]
    fn large_ones_are_held_to_sixteen_mebibytes() {
        let large = |bytes: u64| Done {
            tasks: 2_000,
            bytes: 2_000 * bytes,
        };
        let mut pace = pace();

        assert_eq!(after(&mut pace, 10, large(256 << 10), 9), 64);
        assert_eq!(after(&mut pace, 10, large(64 << 20), 9), 32);
    }

    #[test]
    fn a_least_beyond_the_most_is_kept_and_queues_share_the_most() {
        assert_eq!(
            after(&mut Pace::new(number(4_000), 2_000, 1), 10, done(9_000), 9),
            4_000
        );
        assert_eq!(
            after(&mut Pace::new(number(32), 16, 4), 10, done(9_000), 9),
            64
        );
        assert_eq!(
            after(&mut Pace::new(number(32), 16, 999), 10, done(9_000), 9),
            32
        );
    }
}
