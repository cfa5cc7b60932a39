//! Which answers to send for which deliveries, and when one may stand for many.
//!
//! Pure; time comes from the caller. Deliveries answered in a run from the lowest
//! unanswered one go as one `multiple`, which costs a quorum queue as much as a
//! single one. So where one ack follows the other they wait a moment to go
//! together, and one waits for those before it, as long as few others wait with
//! it; then it goes singly. A lone one goes at once.
//!
//! # Invariants
//!
//! A `multiple` covers no delivery without an answer. A delivery to be
//! delivered again is returned before any `multiple` that would cover it.

use std::collections::BTreeMap;
use std::time::Duration;

use homing_faults::{Sabotage, is_broken};
use tokio::time::Instant;

use crate::consumer::Answer;

/// How long an ack waits for those before it: as long as the outcomes of a busy
/// worker take to be confirmed, one message after the other.
const HOLD_TIME: Duration = Duration::from_millis(10);

/// How long those that could go wait after what was sent last.
const GATHER_TIME: Duration = Duration::from_millis(1);

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
    /// Answered, and not sent yet; with the time.
    changed: Vec<(u64, Instant)>,
    /// How many acks may wait.
    held_max: usize,
    /// When the last ones were sent.
    sent_at: Option<Instant>,
}

impl Acks {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Sets how many acks may wait, by the number of deliveries that may be open:
    /// so few that the work does not wait for them.
    pub(super) fn hold(&mut self, prefetch: u16) {
        self.held_max = usize::from(prefetch / 4);
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
    pub(super) fn answer(&mut self, tag: u64, answer: Answer, now: Instant) {
        let state = self.states.get_mut(&tag);
        let Some(state) = state.filter(|state| **state == State::Open) else {
            return;
        };
        *state = match answer {
            Answer::Ack => State::Acked,
            Answer::Requeue => State::Requeued,
        };
        self.changed.push((tag, now));
        if answer == Answer::Ack && is_broken(Sabotage::MultipleOverUnfinished) {
            self.cover(tag, now);
        }
    }

    /// Takes every delivery before `tag` as acked: what a `multiple` without
    /// care does.
    fn cover(&mut self, tag: u64, now: Instant) {
        let before = self.states.range_mut(..tag);
        for (tag, state) in before.filter(|(_, state)| **state == State::Open) {
            *state = State::Acked;
            self.changed.push((*tag, now));
        }
    }

    /// When what still waits to be sent is to be sent, if there is any.
    pub(super) fn held_until(&self) -> Option<Instant> {
        let (_, oldest) = self.changed.first()?;
        let (_, lowest) = self.states.first_key_value()?;
        let gathered_at = self.sent_at.filter(|_| *lowest == State::Acked);
        Some(gathered_at.map_or(*oldest + HOLD_TIME, |sent_at| sent_at + GATHER_TIME))
    }

    /// What to send now, in this order.
    pub(super) fn frames(&mut self, now: Instant, frames: &mut Vec<Frame>) {
        for (tag, _) in &self.changed {
            if self.states.get(tag) == Some(&State::Requeued) {
                self.states.remove(tag);
                frames.push(Frame::Requeue { tag: *tag });
            }
        }
        let states = &mut self.states;
        self.changed.retain(|(tag, _)| states.contains_key(tag));
        let gathers = self.sent_at.is_some_and(|at| now < at + GATHER_TIME);
        if gathers && self.changed.len() <= self.held_max {
            return;
        }
        self.run(frames);
        let states = &mut self.states;
        self.changed.retain(|(tag, _)| states.contains_key(tag));
        let are_many = self.changed.len() > self.held_max;
        self.changed.retain(|(tag, since)| {
            let waits = !are_many && now < *since + HOLD_TIME;
            if !waits {
                states.remove(tag);
                let (tag, multiple) = (*tag, false);
                frames.push(Frame::Ack { tag, multiple });
            }
            waits
        });
        if !frames.is_empty() {
            self.sent_at = Some(now);
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

    fn frames_at(acks: &mut Acks, now: Instant) -> Vec<Frame> {
        let mut frames = Vec::new();
        acks.frames(now, &mut frames);
        frames
    }

    fn frames(acks: &mut Acks) -> Vec<Frame> {
        frames_at(acks, Instant::now())
    }

    fn ack(acks: &mut Acks, tag: u64) {
        acks.answer(tag, Answer::Ack, Instant::now());
    }

    #[test]
    fn a_run_from_the_lowest_goes_as_one_and_the_rest_singly() {
        let mut acks = Acks::new();
        assert!((1..=5).all(|tag| acks.delivered(tag)));
        for tag in [2, 1, 4] {
            ack(&mut acks, tag);
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
        ack(&mut acks, 1);
        acks.answer(2, Answer::Requeue, Instant::now());
        ack(&mut acks, 3);

        assert_eq!(frames(&mut acks)[0], Frame::Requeue { tag: 2 });
    }

    #[test]
    fn one_that_stays_open_makes_those_behind_it_take_no_room() {
        let mut acks = Acks::new();
        for tag in 1..=1_000 {
            assert!(acks.delivered(tag));
            if tag > 1 {
                ack(&mut acks, tag);
                assert_eq!(frames(&mut acks).len(), 1);
            }
        }

        assert_eq!((acks.open(), acks.states.len()), (1, 1));
    }

    #[test]
    fn a_few_acks_wait_a_moment_for_those_before_them() {
        let (mut acks, now) = (Acks::new(), Instant::now());
        acks.hold(8);
        assert!((1..=8).all(|tag| acks.delivered(tag)));
        for tag in [2, 3] {
            acks.answer(tag, Answer::Ack, now);
        }
        assert_eq!(frames_at(&mut acks, now), []);
        assert_eq!(acks.held_until(), Some(now + HOLD_TIME));

        acks.answer(1, Answer::Ack, now);

        let run = [Frame::Ack {
            tag: 3,
            multiple: true,
        }];
        assert_eq!(frames_at(&mut acks, now), run);
        assert_eq!(acks.held_until(), None);
    }

    #[test]
    fn acks_that_follow_one_another_go_together() {
        let (mut acks, now) = (Acks::new(), Instant::now());
        acks.hold(16);
        assert!((1..=8).all(|tag| acks.delivered(tag)));
        let first = frames_after(&mut acks, 1, now);
        assert_eq!(first.len(), 1);

        let soon = now + GATHER_TIME / 2;
        assert_eq!(frames_after(&mut acks, 2, soon), []);
        assert_eq!(frames_after(&mut acks, 3, soon), []);
        assert_eq!(acks.held_until(), Some(now + GATHER_TIME));

        let run = [Frame::Ack {
            tag: 3,
            multiple: true,
        }];
        assert_eq!(frames_at(&mut acks, now + GATHER_TIME), run);
    }

    fn frames_after(acks: &mut Acks, tag: u64, now: Instant) -> Vec<Frame> {
        acks.answer(tag, Answer::Ack, now);
        frames_at(acks, now)
    }

    #[test]
    fn acks_that_have_waited_or_are_many_go_singly() {
        let now = Instant::now();
        for (answered, later, gone) in [
            (2..=3, Duration::ZERO, 0),
            (2..=3, HOLD_TIME, 2),
            (2..=4, Duration::ZERO, 3),
        ] {
            let mut acks = Acks::new();
            acks.hold(8);
            assert!((1..=8).all(|tag| acks.delivered(tag)));
            answered.for_each(|tag| acks.answer(tag, Answer::Ack, now));

            assert_eq!(frames_at(&mut acks, now + later).len(), gone);
        }
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
            prefetch in 0_u16..100,
        ) {
            let (mut acks, now) = (Acks::new(), Instant::now());
            acks.hold(prefetch);
            let mut unacked: BTreeSet<u64> = (1..=40).collect();
            prop_assert!((1..=40).all(|tag| acks.delivered(tag)));
            let mut left: Vec<u64> = unacked.iter().copied().collect();
            let mut acked = BTreeSet::new();
            for (index, ack, flush) in answers {
                if left.is_empty() {
                    break;
                }
                let tag = left.remove(index.index(left.len()));
                acks.answer(tag, if ack { Answer::Ack } else { Answer::Requeue }, now);
                if ack {
                    acked.insert(tag);
                }
                if flush {
                    for frame in frames_at(&mut acks, now) {
                        let gone = apply(&mut unacked, frame).map_err(TestCaseError::fail)?;
                        prop_assert!(gone.iter().all(|tag| acked.contains(tag)));
                    }
                }
            }
            for frame in frames_at(&mut acks, now + HOLD_TIME) {
                let gone = apply(&mut unacked, frame).map_err(TestCaseError::fail)?;
                prop_assert!(gone.iter().all(|tag| acked.contains(tag)));
            }
            prop_assert_eq!(unacked.into_iter().collect::<Vec<_>>(), left.clone());
            prop_assert_eq!(acks.open(), left.len());
        }
    }
}
