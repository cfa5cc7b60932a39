//! Over how many queues outcomes are spread, and how that is changed. Pure.
//!
//! The queues are `results`, `results.1`, `results.2` and so on; each of the
//! [`RESULT_KEYS`] leads to one of them. Who publishes and who collects need not
//! know how many there are: one publishes by key, the other takes what is there.
//!
//! # Invariants
//!
//! A key is bound to its new queue before it is unbound from any other: in
//! between, what comes with it is in two queues, and stored once. It is never
//! bound to none.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::error::NameError;
use crate::topology::RESULT_KEYS;

/// Most queues of outcomes. More than a broker has cores are of no use, each is a
/// connection of each collector, and to spread outcomes is a call to the broker for
/// each of them and every key.
pub const RESULTS_QUEUES_MAX: u16 = 16;

/// How many queues of outcomes there are, 1 to [`RESULTS_QUEUES_MAX`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ResultsQueues(u16);

/// What is to be done with one routing key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyMove {
    /// The key.
    pub key: u16,
    /// The number of the queue to bind it to, first.
    pub to: u16,
    /// The numbers of those to unbind it from, then.
    pub from: Vec<u16>,
}

impl ResultsQueues {
    /// The queue `results` alone.
    pub const ONE: Self = Self(1);

    /// This many; `None` if that is none, or too many.
    pub const fn new(count: u16) -> Option<Self> {
        match count {
            1..=RESULTS_QUEUES_MAX => Some(Self(count)),
            _ => None,
        }
    }

    /// How many.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Their numbers; that of `results` is 0.
    pub const fn numbers(self) -> Range<u16> {
        0..self.0
    }

    /// The moves after which each key leads to one of these queues and to no
    /// other, whatever it leads to now of those that are `there`.
    pub fn moves(self, there: Self) -> impl Iterator<Item = KeyMove> {
        let all = self.max(there);
        (0..RESULT_KEYS).map(move |key| {
            let to = key % self.0;
            let from = all.numbers().filter(|number| *number != to).collect();
            KeyMove { key, to, from }
        })
    }
}

impl fmt::Display for ResultsQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ResultsQueues {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let count = text.parse().ok().and_then(Self::new);
        count.ok_or_else(|| NameError::ResultsQueues {
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn queues(count: u16) -> ResultsQueues {
        ResultsQueues::new(count).unwrap()
    }

    /// The queues of each key, all of them bound as for `queues`.
    fn bound(queues: ResultsQueues) -> BTreeMap<u16, BTreeSet<u16>> {
        let moves = queues.moves(ResultsQueues::ONE);
        moves
            .map(|one| (one.key, BTreeSet::from([one.to])))
            .collect()
    }

    #[test]
    fn a_key_always_leads_somewhere_and_in_the_end_to_one_queue() {
        for (before, after) in [(1, 4), (4, 1), (3, 5), (16, 2), (4, 4)] {
            let (before, after) = (queues(before), queues(after));
            let mut bindings = bound(before);

            for one in after.moves(before) {
                let leads = bindings.get_mut(&one.key).unwrap();
                leads.insert(one.to);
                for from in one.from {
                    leads.remove(&from);
                    assert!(!leads.is_empty());
                }
            }

            assert_eq!(bindings, bound(after));
        }
    }

    #[test]
    fn moves_that_were_cut_off_are_finished_by_others_however_far_they_came() {
        let (before, after) = (queues(2), queues(4));
        for done in 0..usize::from(RESULT_KEYS) {
            let mut bindings = bound(before);
            for (at, one) in after.moves(before).take(done + 1).enumerate() {
                let leads = bindings.get_mut(&one.key).unwrap();
                leads.insert(one.to);
                if at < done {
                    leads.retain(|number| !one.from.contains(number));
                }
            }

            for one in after.moves(after) {
                let leads = bindings.get_mut(&one.key).unwrap();
                leads.insert(one.to);
                leads.retain(|number| !one.from.contains(number));
            }

            assert_eq!(bindings, bound(after));
        }
    }

    #[test]
    fn keys_are_shared_evenly() {
        for count in 1..=RESULTS_QUEUES_MAX {
            let mut keys = BTreeMap::<u16, u16>::new();
            for one in queues(count).moves(ResultsQueues::ONE) {
                *keys.entry(one.to).or_default() += 1;
            }

            let (least, most) = (keys.values().min().unwrap(), keys.values().max().unwrap());
            assert_eq!(keys.len(), usize::from(count));
            assert!(most - least <= 1, "{count}: {keys:?}");
        }
    }

    #[test]
    fn a_number_of_queues_is_read_within_its_bounds() {
        assert_eq!("16".parse(), Ok(queues(16)));
        for text in ["0", "17", "-1", "two", ""] {
            let error = text.parse::<ResultsQueues>().unwrap_err();

            let text = text.to_owned();
            assert_eq!(error, NameError::ResultsQueues { text });
        }
    }
}
