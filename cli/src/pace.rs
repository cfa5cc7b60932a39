//! When the next task may go, so that no more than so many do in a second.
//!
//! They go evenly: each is due one part of a second after the one before. Timers
//! wake up late, by a millisecond or by more on a busy machine, so a little of that
//! is made up for; what was missed beyond it is not, or a broker that was away for a
//! minute would be given all tasks of that minute at once.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

/// How much is made up for: more than a busy machine or a disk holds up a task. So
/// any second has at most a twentieth more than its share.
const LATE_MAX: Duration = Duration::from_millis(50);

const SECOND_NS: u64 = 1_000_000_000;

/// Tasks per second: `500` or `500/s`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Rate(NonZeroU32);

impl Rate {
    /// How many that is in a second.
    pub(crate) const fn per_sec(self) -> NonZeroU32 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.strip_suffix("/s").unwrap_or(text);
        let rate = number.parse().map(Self);
        rate.map_err(|_| "it takes a number of tasks per second from 1 on: 500 or 500/s")
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Keeps to a rate.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    each: Duration,
    /// When the next one is due, from the beginning on.
    next: Duration,
}

impl Pace {
    /// Begins at `now`.
    pub(crate) const fn new(rate: Rate, now: Instant) -> Self {
        let each = SECOND_NS.div_ceil(rate.0.get() as u64);
        Self {
            began: now,
            each: Duration::from_nanos(each),
            next: Duration::ZERO,
        }
    }

    /// When the next `tasks`, which go together, may go.
    pub(crate) fn turn(&mut self, tasks: u32) -> Instant {
        self.began + self.due(self.began.elapsed(), tasks)
    }

    /// The same at `now`, both from the beginning on.
    fn due(&mut self, now: Duration, tasks: u32) -> Duration {
        let due = self.next.max(now.saturating_sub(LATE_MAX));
        self.next = due.saturating_add(self.each.saturating_mul(tasks));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn pace(rate: &str) -> Pace {
        Pace::new(rate.parse().unwrap(), Instant::now())
    }

    #[test]
    fn tasks_are_due_evenly() {
        let mut pace = pace("4/s");

        let due = [0; 4].map(|_| pace.due(ms(0), 1));

        assert_eq!(due, [0, 250, 500, 750].map(ms));
    }

    #[test]
    fn tasks_that_go_together_take_the_time_of_as_many() {
        let mut pace = pace("100");

        assert_eq!(
            [50, 1, 1].map(|tasks| pace.due(ms(0), tasks)),
            [0, 500, 510].map(ms)
        );
    }

    #[test]
    fn a_little_that_was_missed_is_made_up_for_and_no_more() {
        let mut pace = pace("1000");
        pace.due(ms(0), 1);

        let late = [0; 3].map(|_| pace.due(ms(4), 1));
        assert_eq!(late, [1, 2, 3].map(ms));

        let missed = [0; 3].map(|_| pace.due(ms(60_000), 1));
        assert_eq!(missed, [59_950, 59_951, 59_952].map(ms));
    }

    /// By a clock that stands still for up to 100 ms at a time, as a timer does.
    #[test]
    fn no_second_has_more_than_its_share_and_a_twentieth() {
        for rate in [1, 3, 700, 33_333] {
            let mut pace = pace(&rate.to_string());
            let (mut now, mut gone) = (ms(0), Vec::new());
            while now < ms(3_000) {
                let due = pace.due(now, 1);
                let late = ms(due.as_nanos() as u64 * 7 % 101);
                now = now.max(if due > now { due + late } else { due });
                gone.push(now);
            }
            let most = rate + rate / 20 + 1;
            let mut more = gone.windows(most + 1);
            assert!(
                more.all(|gone| gone[most] >= gone[0] + ms(1_000)),
                "{rate}/s"
            );
        }
    }

    #[test]
    fn a_rate_is_a_number_with_or_without_its_unit() {
        let rate = |text: &str| text.parse::<Rate>().map(|rate| rate.per_sec().get());

        assert_eq!((rate("500"), rate("500/s")), (Ok(500), Ok(500)));
        for text in ["0", "", "/s", "-1", "1.5", "5/m"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
