//! Which published messages the broker has confirmed.
//!
//! Pure. RabbitMQ numbers the messages of a channel from 1 and confirms them in
//! any order, singly or up to a number:
//! <https://www.rabbitmq.com/docs/confirms#publisher-confirms>. A message that
//! no queue takes comes back first, and is confirmed after.

use std::collections::BTreeMap;

/// What became of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// The broker has it.
    Confirmed,
    /// The broker refused it.
    Refused,
    /// No queue took it.
    Unroutable,
}

/// Messages on their way, each with what it was published for, by number.
///
/// Only those: one that is never answered, while thousands behind it are, costs
/// no more than itself.
#[derive(Debug)]
pub(super) struct Confirms<T> {
    /// The number of the last one published.
    last: u64,
    waiting: BTreeMap<u64, Slot<T>>,
}

#[derive(Debug)]
struct Slot<T> {
    item: T,
    returned: bool,
}

impl<T> Confirms<T> {
    pub(super) const fn new() -> Self {
        Self {
            last: 0,
            waiting: BTreeMap::new(),
        }
    }

    /// Takes note of the next message published.
    pub(super) fn published(&mut self, item: T) {
        let returned = false;
        self.last += 1;
        self.waiting.insert(self.last, Slot { item, returned });
    }

    /// How many have no answer.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The broker's `basic.ack` or `basic.nack` of `tag`, or of all up to it.
    pub(super) fn answered(
        &mut self,
        tag: u64,
        multiple: bool,
        confirmed: bool,
        mut each: impl FnMut(T, Verdict),
    ) {
        // A number that was never given answers nothing.
        if tag > self.last {
            return;
        }
        while let Some(entry) = self.waiting.first_entry() {
            let first = *entry.key();
            if !multiple || first > tag {
                break;
            }
            tell(entry.remove(), confirmed, &mut each);
        }
        if let Some(slot) = self.waiting.remove(&tag) {
            tell(slot, confirmed, &mut each);
        }
    }

    /// The broker's `basic.return` of the message that `is` knows again.
    pub(super) fn returned(&mut self, is: impl Fn(&T) -> bool) {
        let mut slots = self.waiting.values_mut();
        if let Some(slot) = slots.find(|slot| !slot.returned && is(&slot.item)) {
            slot.returned = true;
        }
    }

    /// Everything without an answer, in the order it was published.
    pub(super) fn into_waiting(self) -> impl Iterator<Item = T> {
        self.waiting.into_values().map(|slot| slot.item)
    }

    /// Those without an answer, in the order they were published.
    pub(super) fn waiting_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> {
        self.waiting.values_mut().map(|slot| &mut slot.item)
    }
}

fn tell<T>(slot: Slot<T>, confirmed: bool, each: &mut impl FnMut(T, Verdict)) {
    let verdict = match (slot.returned, confirmed) {
        (true, _) => Verdict::Unroutable,
        (false, true) => Verdict::Confirmed,
        (false, false) => Verdict::Refused,
    };
    each(slot.item, verdict);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answered(confirms: &mut Confirms<u64>, tag: u64, multiple: bool) -> Vec<u64> {
        let mut items = Vec::new();
        confirms.answered(tag, multiple, true, |item, _| items.push(item));
        items
    }

    #[test]
    fn confirms_out_of_order_are_matched_by_number() {
        let mut confirms = Confirms::new();
        (1..=6).for_each(|item| confirms.published(item));

        assert_eq!(answered(&mut confirms, 3, false), [3]);
        assert_eq!(answered(&mut confirms, 6, false), [6]);
        assert_eq!(answered(&mut confirms, 5, true), [1, 2, 4, 5]);
        assert_eq!(confirms.waiting(), 0);
    }

    #[test]
    fn a_returned_message_is_unroutable_although_it_is_confirmed() {
        let mut confirms = Confirms::new();
        (1..=2).for_each(|item| confirms.published(item));
        confirms.returned(|item| *item == 2);
        let mut verdicts = Vec::new();

        confirms.answered(2, true, true, |item, verdict| {
            verdicts.push((item, verdict))
        });

        assert_eq!(
            verdicts,
            [(1, Verdict::Confirmed), (2, Verdict::Unroutable)]
        );
    }

    #[test]
    fn a_number_that_was_never_published_changes_nothing() {
        let mut confirms = Confirms::new();
        confirms.published(1);

        assert_eq!(answered(&mut confirms, 0, false), [0; 0]);
        assert_eq!(answered(&mut confirms, 9, false), [0; 0]);
        assert_eq!(confirms.waiting(), 1);
    }

    #[test]
    fn one_that_is_never_answered_makes_those_behind_it_take_no_room() {
        let mut confirms = Confirms::new();
        for item in 1..=1_000 {
            confirms.published(item);
            if item > 1 {
                assert_eq!(answered(&mut confirms, item, false), [item]);
            }
        }

        assert_eq!((confirms.waiting(), confirms.waiting.len()), (1, 1));
    }

    proptest! {
        #[test]
        fn every_message_gets_one_verdict(
            answers in prop::collection::vec((1_u64..60, any::<bool>()), 0..100),
        ) {
            let mut confirms = Confirms::new();
            (1..=50).for_each(|item| confirms.published(item));
            let mut seen = Vec::new();
            for (tag, multiple) in answers {
                confirms.answered(tag, multiple, true, |item, _| seen.push(item));
            }
            let waiting = confirms.waiting();
            let left: Vec<_> = confirms.into_waiting().collect();
            prop_assert_eq!(left.len(), waiting);
            seen.extend(left);
            seen.sort_unstable();
            prop_assert_eq!(seen, (1..=50).collect::<Vec<_>>());
        }
    }
}
