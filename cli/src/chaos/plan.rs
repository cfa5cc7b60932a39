//! Who is struck when, and how: decided by the seed alone.
//!
//! | of 20 strikes | hit | how |
//! |---:|---|---|
//! | 12 | a worker | killed |
//! | 2 | a worker | told to stop |
//! | 1 | a worker | paused |
//! | 2 | a collector | killed |
//! | 2 | a collector | told to stop |
//! | 1 | a collector | paused |
//!
//! Pure, and without an end: whoever carries it out stops when the time is up.

use std::time::Duration;

use super::chance::Chance;

/// Milliseconds between two strikes: two a second, so that three workers live for
/// a second or two each. Long enough to settle some tasks, far too short to end
/// what they hold.
const GAP_MS: (u64, u64) = (100, 900);

/// Milliseconds of a pause: long enough for others to see it, and shorter than the
/// 15 s after which the embedded broker takes back what is held.
const PAUSE_MS: (u64, u64) = (200, 1_500);

/// What a process is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Worker,
    Collector,
}

/// What is done to a process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Blow {
    /// SIGKILL: it is gone in the middle of whatever it does.
    Kill,
    /// SIGTERM: it ends what it has begun.
    Stop,
    /// SIGSTOP, and SIGCONT after this time.
    Pause(Duration),
}

/// A blow, at whom, and how long after the one before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Strike {
    pub(super) after: Duration,
    pub(super) role: Role,
    /// Which of those of its role, from 0.
    pub(super) index: u16,
    pub(super) blow: Blow,
}

/// All strikes, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    chance: Chance,
    workers: u16,
    collectors: u16,
}

impl Plan {
    /// What `seed` has for so many processes.
    pub(super) const fn new(seed: u64, workers: u16, collectors: u16) -> Self {
        Self {
            chance: Chance::new(seed),
            workers,
            collectors,
        }
    }
}

impl Iterator for Plan {
    type Item = Strike;

    fn next(&mut self) -> Option<Strike> {
        let after = Duration::from_millis(self.chance.between(GAP_MS.0, GAP_MS.1));
        let pause = Duration::from_millis(self.chance.between(PAUSE_MS.0, PAUSE_MS.1));
        let (role, blow) = match self.chance.below(20) {
            0..12 => (Role::Worker, Blow::Kill),
            12..14 => (Role::Worker, Blow::Stop),
            14 => (Role::Worker, Blow::Pause(pause)),
            15..17 => (Role::Collector, Blow::Kill),
            17..19 => (Role::Collector, Blow::Stop),
            _ => (Role::Collector, Blow::Pause(pause)),
        };
        let count = match role {
            Role::Worker => self.workers,
            Role::Collector => self.collectors,
        };
        let index = u16::try_from(self.chance.below(count.into())).unwrap_or(0);
        Some(Strike {
            after,
            role,
            index,
            blow,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(seed: u64) -> Vec<Strike> {
        Plan::new(seed, 3, 2).take(1_000).collect()
    }

    #[test]
    fn a_seed_strikes_the_same_again_and_another_one_otherwise() {
        assert_eq!(strikes(7), strikes(7));
        assert_ne!(strikes(7), strikes(8));
    }

    #[test]
    fn everybody_is_struck_in_every_way() {
        let strikes = strikes(7);
        let any = |role, index, is: fn(Blow) -> bool| {
            let mut strikes = strikes.iter();
            strikes.any(|strike| (strike.role, strike.index) == (role, index) && is(strike.blow))
        };
        let everybody = [
            (Role::Worker, 0),
            (Role::Worker, 1),
            (Role::Worker, 2),
            (Role::Collector, 0),
            (Role::Collector, 1),
        ];

        for (role, index) in everybody {
            assert!(any(role, index, |blow| blow == Blow::Kill));
            assert!(any(role, index, |blow| blow == Blow::Stop));
            assert!(any(role, index, |blow| matches!(blow, Blow::Pause(_))));
        }
    }

    #[test]
    fn gaps_and_pauses_are_within_their_bounds() {
        for strike in strikes(7) {
            let within = |time: Duration, (least, most): (u64, u64)| {
                (u128::from(least)..=u128::from(most)).contains(&time.as_millis())
            };

            assert!(within(strike.after, GAP_MS), "{strike:?}");
            if let Blow::Pause(time) = strike.blow {
                assert!(within(time, PAUSE_MS), "{strike:?}");
            }
        }
    }
}
