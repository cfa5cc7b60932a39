//! Which answers to send for which deliveries, and when one may stand for many.
//!
//! Pure. An answer never waits for another delivery: deliveries answered in a
//! run from the lowest unanswered one go as one `multiple`, all others singly.
//!
//! # Invariants
//!
//! A `multiple` covers no delivery without an answer. A delivery to be
//! delivered again is returned before any `multiple` that would cover it.

use std::collections::BTreeMap;

use homing_faults::{Sabotage, is_broken};

use crate::consumer::Answer;

/// What to send to the broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Frame {
    /// `basic.ack` up to `tag` if `multiple`, else of `tag` alone.
    Ack { tag: u64, multiple: bool },
    /// `basic.nack` with requeue.
    Requeue { tag: u64 },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Open,
    Acked,
    Requeued,
}

/// The deliveries of one channel that the broker awaits an answer for, by tag.
///
/// Only those: one that is open for hours, while millions behind it come and go,
/// costs no more than itself.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// The tag of the last delivery; tags count from 1 on a channel.
    last: u64,
    states: BTreeMap<u64, State>,
    /// Answered, and not sent yet.
    changed: Vec<u64>,
}

impl Acks {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Takes note of a delivery. Answers whether its tag is the next in order,
    /// as AMQP has it; without that nothing could be acked by number.
    pub(super) fn delivered(&mut self, tag: u64) -> bool {
        let in_order = tag == self.last + 1;
        if in_order {
            self.last = tag;
            self.states.insert(tag, State::Open);
        }
        in_order
    }

    /// How many deliveries have no answer.
    pub(super) fn open(&self) -> usize {
        self.states.len() - self.changed.len()
    }

    /// Takes note of an answer. One for a delivery that is not open is ignored.
    pub(super) fn answer(&mut self, tag: u64, answer: Answer) {
        let state = self.states.get_mut(&tag);
        let Some(state) = state.filter(|state| **state == State::Open) else {
            return;
        };
        *state = match answer {
            Answer::Ack => State::Acked,
            Answer::Requeue => State::Requeued,
        };
        self.changed.push(tag);
        if answer == Answer::Ack && is_broken(Sabotage::MultipleOverUnfinished) {
            self.cover(tag);
        }
    }

    /// Takes every delivery before `tag` as acked: what a `multiple` without
    /// care does.
    fn cover(&mut self, tag: u64) {
        let before = self.states.range_mut(..tag);
        for (tag, state) in before.filter(|(_, state)| **state == State::Open) {
            *state = State::Acked;
            self.changed.push(*tag);
        }
    }

    /// What to send for the answers since the last call, in this order.
    pub(super) fn frames(&mut self, frames: &mut Vec<Frame>) {
        for tag in &self.changed {
            if self.states.get(tag) == Some(&State::Requeued) {
                self.states.remove(tag);
                frames.push(Frame::Requeue { tag: *tag });
            }
        }
        self.run(frames);
        for tag in self.changed.drain(..) {
            // Those of the run are gone already.
            if self.states.remove(&tag).is_some() {
                let multiple = false;
                frames.push(Frame::Ack { tag, multiple });
            }
        }
    }

    /// Answers the run of acked deliveries from the lowest that the broker awaits
    /// an answer for, and forgets it.
    fn run(&mut self, frames: &mut Vec<Frame>) {
        let (mut acked, mut last) = (0, 0);
        while let Some(entry) = self.states.first_entry()
            && *entry.get() == State::Acked
        {
            last = *entry.key();
            acked += 1;
            entry.remove();
        }
        if acked > 0 {
            let multiple = acked > 1;
            frames.push(Frame::Ack {
                tag: last,
                multiple,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn frames(acks: &mut Acks) -> Vec<Frame> {
        let mut frames = Vec::new();
        acks.frames(&mut frames);
        frames
    }

    #[test]
    fn a_run_from_the_lowest_goes_as_one_and_the_rest_singly() {
        let mut acks = Acks::new();
        assert!((1..=5).all(|tag| acks.delivered(tag)));
        for tag in [2, 1, 4] {
            acks.answer(tag, Answer::Ack);
        }

        assert_eq!(
            frames(&mut acks),
            [
                Frame::Ack {
                    tag: 2,
                    multiple: true
                },
                Frame::Ack {
                    tag: 4,
                    multiple: false
                }
            ]
        );
        assert_eq!(acks.open(), 2);
    }

    #[test]
    fn a_returned_delivery_is_never_covered_by_a_multiple() {
        let mut acks = Acks::new();
        assert!((1..=3).all(|tag| acks.delivered(tag)));
        acks.answer(1, Answer::Ack);
        acks.answer(2, Answer::Requeue);
        acks.answer(3, Answer::Ack);

        assert_eq!(frames(&mut acks)[0], Frame::Requeue { tag: 2 });
    }

    #[test]
    fn one_that_stays_open_makes_those_behind_it_take_no_room() {
        let mut acks = Acks::new();
        for tag in 1..=1_000 {
            assert!(acks.delivered(tag));
            if tag > 1 {
                acks.answer(tag, Answer::Ack);
                assert_eq!(frames(&mut acks).len(), 1);
            }
        }

        assert_eq!((acks.open(), acks.states.len()), (1, 1));
    }

    /// A broker that holds the unanswered deliveries, as RabbitMQ does.
    fn apply(unacked: &mut BTreeSet<u64>, frame: Frame) -> Result<Vec<u64>, String> {
        match frame {
            Frame::Ack { tag, multiple } => {
                if !unacked.contains(&tag) {
                    return Err(format!("ack of {tag}, which is not there"));
                }
                let gone = |t: &&u64| **t == tag || (multiple && **t < tag);
                let acked: Vec<_> = unacked.iter().filter(gone).copied().collect();
                unacked.retain(|tag| !acked.contains(tag));
                Ok(acked)
            }
            Frame::Requeue { tag } => match unacked.remove(&tag) {
                true => Ok(Vec::new()),
                false => Err(format!("requeue of {tag}, which is not there")),
            },
        }
    }

    proptest! {
        #[test]
        fn the_broker_ends_with_exactly_what_was_answered(
            answers in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), any::<bool>()), 1..80),
        ) {
            let mut acks = Acks::new();
            let mut unacked: BTreeSet<u64> = (1..=40).collect();
            prop_assert!((1..=40).all(|tag| acks.delivered(tag)));
            let mut left: Vec<u64> = unacked.iter().copied().collect();
            let mut acked = BTreeSet::new();
            for (index, ack, flush) in answers {
                if left.is_empty() {
                    break;
                }
                let tag = left.remove(index.index(left.len()));
                acks.answer(tag, if ack { Answer::Ack } else { Answer::Requeue });
                if ack {
                    acked.insert(tag);
                }
                if flush {
                    for frame in frames(&mut acks) {
                        let gone = apply(&mut unacked, frame).map_err(TestCaseError::fail)?;
                        prop_assert!(gone.iter().all(|tag| acked.contains(tag)));
                    }
                }
            }
            for frame in frames(&mut acks) {
                let gone = apply(&mut unacked, frame).map_err(TestCaseError::fail)?;
                prop_assert!(gone.iter().all(|tag| acked.contains(tag)));
            }
            prop_assert_eq!(unacked.into_iter().collect::<Vec<_>>(), left.clone());
            prop_assert_eq!(acks.open(), left.len());
        }
    }
}
