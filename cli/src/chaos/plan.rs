//! Who is struck when, and how: decided by the seed alone.
//!
//! | of each 20 strikes | hit | how |
//! |---:|---|---|
//! | 10 | a worker | killed |
//! | 2 | a worker | told to stop |
//! | 1 | a worker | paused |
//! | 4 | a collector | killed |
//! | 2 | a collector | told to stop |
//! | 1 | a collector | paused |
//!
//! They are dealt as a shuffled deck is, so that a short run has some of each.
//! Pure, and without an end: whoever carries it out stops when the time is up.

use std::time::Duration;

use super::chance::Chance;

/// Milliseconds between two strikes: each of three workers lives for two seconds or
/// so, long enough to settle some tasks, and is hit while it holds others.
const GAP_MS: (u64, u64) = (100, 700);

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

/// How a blow is meant, before it is known how long a pause is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Card {
    Kill(Role),
    Stop(Role),
    Pause(Role),
}

/// The table above.
const DECK: [(usize, Card); 6] = [
    (10, Card::Kill(Role::Worker)),
    (2, Card::Stop(Role::Worker)),
    (1, Card::Pause(Role::Worker)),
    (4, Card::Kill(Role::Collector)),
    (2, Card::Stop(Role::Collector)),
    (1, Card::Pause(Role::Collector)),
];

/// A blow, at whom, and how long after the one before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Strike {
    pub(super) after: Duration,
    pub(super) role: Role,
    /// Which of those of its role, from 0.
    pub(super) index: usize,
    pub(super) blow: Blow,
}

/// All strikes, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    chance: Chance,
    deck: Vec<Card>,
    workers: u16,
    collectors: u16,
}

impl Plan {
    /// What `seed` has for so many processes.
    pub(super) const fn new(seed: u64, workers: u16, collectors: u16) -> Self {
        Self {
            chance: Chance::new(seed),
            deck: Vec::new(),
            workers,
            collectors,
        }
    }
}

impl Plan {
    /// One of those that are left of the deck, or of a new one.
    fn deal(&mut self) -> Card {
        if self.deck.is_empty() {
            let cards = DECK.iter();
            self.deck = cards
                .flat_map(|(count, card)| vec![*card; *count])
                .collect();
        }
        let index = self.chance.index(self.deck.len());
        self.deck.swap_remove(index)
    }
}

impl Iterator for Plan {
    type Item = Strike;

    fn next(&mut self) -> Option<Strike> {
        let after = Duration::from_millis(self.chance.between(GAP_MS.0, GAP_MS.1));
        let (role, blow) = match self.deal() {
            Card::Kill(role) => (role, Blow::Kill),
            Card::Stop(role) => (role, Blow::Stop),
            Card::Pause(role) => {
                let ms = self.chance.between(PAUSE_MS.0, PAUSE_MS.1);
                (role, Blow::Pause(Duration::from_millis(ms)))
            }
        };
        let count = match role {
            Role::Worker => self.workers,
            Role::Collector => self.collectors,
        };
        Some(Strike {
            after,
            role,
            index: self.chance.index(count.into()),
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
    fn each_twenty_strikes_kill_ten_workers_and_four_collectors() {
        for twenty in strikes(7).chunks(20) {
            let killed = |role| {
                let strikes = twenty.iter();
                let hits = strikes.filter(|strike| strike.role == role);
                hits.filter(|strike| strike.blow == Blow::Kill).count()
            };

            assert_eq!((killed(Role::Worker), killed(Role::Collector)), (10, 4));
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
