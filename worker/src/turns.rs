//! Decides when suspects have their turn in a worker, and for how long.
//!
//! Pure; time comes from the caller. A suspect runs while nothing else is in its
//! process, so that a crash is its own and hits no other task. For that the
//! worker takes no other task and waits until those it has are done, which costs
//! them time. So a turn is bounded, and a rest follows it:
//!
//! | the turn                                | the rest                             |
//! |-----------------------------------------|--------------------------------------|
//! | came when the worker had nothing to do  | short                                |
//! | ran suspects                            | three times as long as it took       |
//! | found none, since others were faster    | the same, and a few seconds at least |
//! | never came: what runs did not end       | the same, and more patience then     |
//!
//! So suspects have a quarter of a busy worker's time at most, however many
//! there are, and some of it however long its other tasks take.

use std::time::Duration;

/// The longest a worker waits before it looks for suspects the first time. Not
/// at once: where suspects crash workers, other tasks come to run in between.
pub(crate) const FIRST_LOOK: Duration = Duration::from_millis(500);

/// The pause between two looks, each a question to the broker.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long a turn goes on at least while there are suspects: getting quiet
/// pays for more than one.
const TURN: Duration = Duration::from_secs(1);

/// The rest after a turn, as a multiple of what it took.
const RESTS: u32 = 3;

/// The rest of a worker that has nothing else to do: long enough for a
/// delivery, which ends that state.
const REST_IDLE: Duration = Duration::from_millis(100);

/// The least rest after a turn for nothing.
const REST_FRUITLESS: Duration = Duration::from_secs(5);

/// How long to wait at first for what runs to end.
const PATIENCE_FIRST: Duration = Duration::from_secs(2);

/// The longest wait for it. As long as most timeouts, so that at some time it is
/// long enough.
const PATIENCE_MAX: Duration = Duration::from_hours(1);

/// The turns of one worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns {
    patience: Duration,
}

/// A turn that is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Whether the worker had nothing to do before it.
    pub(crate) idle: bool,
    /// Whether what ran before it ended in time.
    pub(crate) quiet: bool,
    /// How many suspects were found.
    pub(crate) found: u32,
    /// How long it took, the wait for quiet included.
    pub(crate) took: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            patience: PATIENCE_FIRST,
        }
    }
}

impl Turns {
    /// How long to wait for what runs to end.
    pub(crate) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether a turn that has run suspects for this long goes on with another;
    /// it took `quieting` to begin.
    pub(crate) fn goes_on(quieting: Duration, running: Duration) -> bool {
        running < TURN.max(quieting)
    }

    /// How long the others have the worker to themselves after this turn.
    pub(crate) fn rest(&mut self, turn: Turn) -> Duration {
        self.patience = if turn.quiet {
            PATIENCE_FIRST
        } else {
            (self.patience * 2).min(PATIENCE_MAX)
        };
        let rest = turn.took.saturating_mul(RESTS);
        match turn {
            Turn { found: 0, .. } => rest.max(REST_FRUITLESS),
            Turn { idle: true, .. } => REST_IDLE,
            _ => rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN_OF_TWO_SECONDS: Turn = Turn {
        idle: false,
        quiet: true,
        found: 7,
        took: Duration::from_secs(2),
    };

    #[test]
    fn suspects_have_a_quarter_of_a_busy_workers_time() {
        let rest = Turns::default().rest(TURN_OF_TWO_SECONDS);

        assert_eq!(rest, Duration::from_secs(6));
    }

    #[test]
    fn an_idle_worker_hardly_rests() {
        let turn = Turn {
            idle: true,
            ..TURN_OF_TWO_SECONDS
        };

        assert_eq!(Turns::default().rest(turn), REST_IDLE);
    }

    #[test]
    fn a_turn_for_nothing_is_not_repeated_soon() {
        for idle in [true, false] {
            let turn = Turn {
                idle,
                found: 0,
                took: Duration::from_millis(1),
                ..TURN_OF_TWO_SECONDS
            };

            assert_eq!(Turns::default().rest(turn), REST_FRUITLESS);
        }
    }

    #[test]
    fn a_turn_goes_on_as_long_as_getting_quiet_took_but_for_a_second_at_least() {
        let secs = Duration::from_secs;

        assert!(Turns::goes_on(secs(0), Duration::from_millis(999)));
        assert!(!Turns::goes_on(secs(0), secs(1)));
        assert!(Turns::goes_on(secs(10), secs(9)));
        assert!(!Turns::goes_on(secs(10), secs(10)));
    }

    #[test]
    fn patience_grows_until_it_was_enough() {
        let mut turns = Turns::default();
        let never_quiet = Turn {
            quiet: false,
            found: 0,
            took: PATIENCE_FIRST,
            ..TURN_OF_TWO_SECONDS
        };

        let rest = turns.rest(never_quiet);
        let grown = turns.patience();
        (0..20).for_each(|_| _ = turns.rest(never_quiet));
        let most = turns.patience();
        let _rest = turns.rest(TURN_OF_TWO_SECONDS);

        assert_eq!(rest, REST_FRUITLESS.max(PATIENCE_FIRST * RESTS));
        assert_eq!(grown, PATIENCE_FIRST * 2);
        assert_eq!(most, PATIENCE_MAX);
        assert_eq!(turns.patience(), PATIENCE_FIRST);
    }
}
