//! What is to be published, and what was and has no answer yet.
//!
//! Pure; time comes from the caller. A message is in here from the moment it is
//! taken until the broker has answered for it, over as many connections as that
//! takes.
//!
//! # Invariants
//!
//! What a connection left without an answer is published again over the next,
//! before anything that was not published yet, in the same order. What was given
//! up is not: it only keeps its number until its connection is gone.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::confirms::{Confirms, Verdict};

/// The pause before a refused message is published again, doubled each time: a
/// full queue has room as soon as something is taken from it.
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// The longest pause: a window of refused messages each two seconds is little
/// work, and what is taken from a full queue makes room soon.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A message and what became of it so far.
#[derive(Debug)]
struct Pending<T> {
    item: T,
    since: Instant,
    /// Given up: only here so that the numbers fit.
    silent: bool,
    /// How often the broker refused it.
    refusals: u32,
    /// Connections that were gone before they answered for it.
    unanswered: u32,
}

/// The broker's answer for a number, or for all up to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    tag: u64,
    multiple: bool,
    confirmed: bool,
}

impl Answered {
    pub(super) const fn new(tag: u64, multiple: bool, confirmed: bool) -> Self {
        Self {
            tag,
            multiple,
            confirmed,
        }
    }
}

/// How it went with a message so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Waited {
    /// Since it was taken.
    pub(super) time: Duration,
    /// Whether the broker refused it.
    pub(super) refused: bool,
    /// Whether it is on the current connection.
    pub(super) written: bool,
    /// Connections that were gone before they answered for it: each may have
    /// stored it.
    pub(super) unanswered: u32,
}

/// The messages of a publisher.
#[derive(Debug)]
pub(super) struct Outgoing<T> {
    /// To be published next: new, or from a connection that broke.
    waiting: VecDeque<Pending<T>>,
    /// On the current connection.
    confirms: Confirms<Pending<T>>,
    /// Refused by the broker, each with the time to try again.
    refused: Vec<(Instant, Pending<T>)>,
}

impl<T> Outgoing<T> {
    pub(super) const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            confirms: Confirms::new(),
            refused: Vec::new(),
        }
    }

    /// Takes a message that is to be published.
    pub(super) fn take(&mut self, item: T, now: Instant) {
        self.waiting.push_back(Pending {
            item,
            since: now,
            silent: false,
            refusals: 0,
            unanswered: 0,
        });
    }

    /// The next message to write to the current connection. It counts as
    /// published from here on: its answer may be here before it is written.
    pub(super) fn publish(&mut self) -> Option<&T> {
        let pending = self.waiting.pop_front()?;
        self.confirms.published(pending);
        let last = self.confirms.waiting_mut().next_back();
        last.map(|pending| &pending.item)
    }

    /// Whether anything is to be published.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many are published and have no answer.
    pub(super) fn unconfirmed(&self) -> usize {
        self.confirms.waiting()
    }

    /// How many on the current connection, and not given up, are such.
    pub(super) fn written(&mut self, is: impl Fn(&T) -> bool) -> usize {
        let pendings = self.confirms.waiting_mut();
        let pendings = pendings.filter(|pending| !pending.silent && is(&pending.item));
        pendings.count()
    }

    /// Whether nothing is in here.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_waiting() && self.unconfirmed() == 0 && self.refused.is_empty()
    }

    /// Whether the broker refused any that are still to be published.
    pub(super) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Lets those be published again that were refused a while ago.
    pub(super) fn retry(&mut self, now: Instant) {
        let (due, later) = std::mem::take(&mut self.refused)
            .into_iter()
            .partition(|(due, _)| *due <= now);
        self.refused = later;
        let due: Vec<(Instant, Pending<T>)> = due;
        self.waiting
            .extend(due.into_iter().map(|(_, pending)| pending));
    }

    /// The broker's answer for `tag`, or for all up to it. `each` is told of
    /// those that are not given up, and not of refused ones if they are to be
    /// published `again`; with the time a message was taken if a connection
    /// before may have stored it, whatever this one says.
    pub(super) fn answered(
        &mut self,
        Answered {
            tag,
            multiple,
            confirmed,
        }: Answered,
        again: Option<Instant>,
        mut each: impl FnMut(T, Verdict, Option<Instant>),
    ) {
        let refused = &mut self.refused;
        let tell = |mut pending: Pending<T>, verdict| {
            if pending.silent {
                return;
            }
            match (again, &verdict) {
                (Some(now), Verdict::Refused) => {
                    let pause = PAUSE_FIRST * 2_u32.saturating_pow(pending.refusals);
                    pending.refusals += 1;
                    refused.push((now + pause.min(PAUSE_MAX), pending));
                }
                _ => {
                    let before = (pending.unanswered > 0).then_some(pending.since);
                    each(pending.item, verdict, before);
                }
            }
        };
        self.confirms.answered(tag, multiple, confirmed, tell);
    }

    /// The broker gave back the message that `is` knows again.
    pub(super) fn returned(&mut self, is: impl Fn(&T) -> bool) {
        self.confirms.returned(|pending| is(&pending.item));
    }

    /// Gives up those of which `gives_up` says so. It is told of each, the oldest
    /// first but refused ones last, and for how long it has been in here.
    pub(super) fn give_up(
        &mut self,
        now: Instant,
        mut gives_up: impl FnMut(&mut T, Waited) -> bool,
    ) {
        let written = self.confirms.waiting_mut().map(|pending| (true, pending));
        let refused = self.refused.iter_mut().map(|(_, pending)| pending);
        let others = self.waiting.iter_mut().chain(refused);
        let pendings = written.chain(others.map(|pending| (false, pending)));
        for (written, pending) in pendings.filter(|(_, pending)| !pending.silent) {
            let waited = Waited {
                time: now.saturating_duration_since(pending.since),
                refused: pending.refusals > 0,
                written,
                unanswered: pending.unanswered,
            };
            pending.silent = gives_up(&mut pending.item, waited);
        }
        self.waiting.retain(|pending| !pending.silent);
        self.refused.retain(|(_, pending)| !pending.silent);
    }

    /// The connection is gone.
    pub(super) fn broke(&mut self) {
        let confirms = std::mem::replace(&mut self.confirms, Confirms::new());
        let again = confirms.into_waiting().filter(|pending| !pending.silent);
        let again = again.map(|pending| Pending {
            unanswered: pending.unanswered + 1,
            ..pending
        });
        let again: VecDeque<_> = again.collect();
        let later = std::mem::replace(&mut self.waiting, again);
        self.waiting.extend(later);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(items: impl IntoIterator<Item = u8>) -> (Outgoing<u8>, Instant) {
        let (mut outgoing, now) = (Outgoing::new(), Instant::now());
        items.into_iter().for_each(|item| outgoing.take(item, now));
        (outgoing, now)
    }

    fn publish_all(outgoing: &mut Outgoing<u8>) -> Vec<u8> {
        std::iter::from_fn(|| outgoing.publish().copied()).collect()
    }

    #[test]
    fn what_has_no_answer_is_published_again_before_the_rest() {
        let (mut outgoing, _) = outgoing(1..=4);
        assert_eq!(
            [0; 3].map(|_| outgoing.publish().copied()),
            [1, 2, 3].map(Some)
        );
        outgoing.answered(Answered::new(2, false, true), None, |item, _, _| {
            assert_eq!(item, 2)
        });

        outgoing.broke();

        assert_eq!(publish_all(&mut outgoing), [1, 3, 4]);
    }

    #[test]
    fn numbers_begin_anew_on_the_next_connection() {
        let (mut outgoing, _) = outgoing(1..=2);
        publish_all(&mut outgoing);
        outgoing.broke();
        publish_all(&mut outgoing);
        let mut told = Vec::new();

        outgoing.answered(Answered::new(1, false, true), None, |item, verdict, _| {
            told.push((item, verdict))
        });

        assert_eq!(told, [(1, Verdict::Confirmed)]);
    }

    #[test]
    fn what_is_given_up_keeps_its_number_but_is_not_published_again() {
        let (mut outgoing, now) = outgoing(1..=3);
        assert_eq!(
            [0; 2].map(|_| outgoing.publish().copied()),
            [1, 2].map(Some)
        );

        outgoing.give_up(now, |item, _| *item != 2);

        let mut told = Vec::new();
        assert_eq!(publish_all(&mut outgoing), [0; 0]);
        outgoing.answered(Answered::new(1, false, true), None, |item, _, _| {
            told.push(item)
        });
        assert_eq!((told.as_slice(), outgoing.unconfirmed()), (&[][..], 1));
        outgoing.broke();
        assert_eq!(publish_all(&mut outgoing), [2]);
    }

    #[test]
    fn what_waits_or_is_given_up_does_not_count_as_written() {
        let (mut outgoing, now) = outgoing(1..=4);
        assert_eq!(
            [0; 3].map(|_| outgoing.publish().copied()),
            [1, 2, 3].map(Some)
        );

        outgoing.give_up(now, |item, _| *item == 2);

        assert_eq!(outgoing.written(|item| *item != 3), 1);
    }

    #[test]
    fn it_is_told_of_an_answer_if_a_connection_before_gave_none() {
        for again in [false, true] {
            let (mut outgoing, now) = outgoing([1]);
            publish_all(&mut outgoing);
            if again {
                outgoing.broke();
                publish_all(&mut outgoing);
            }
            let mut told = None;

            outgoing.answered(Answered::new(1, false, false), None, |_, _, before| {
                told = Some(before)
            });

            assert_eq!(told, Some(again.then_some(now)));
        }
    }

    #[test]
    fn it_is_said_how_long_a_message_has_waited_over_all_connections() {
        let (mut outgoing, now) = outgoing([1]);
        publish_all(&mut outgoing);
        outgoing.broke();
        let mut told = None;

        outgoing.give_up(now + Duration::from_secs(9), |_, waited| {
            told = Some(waited.time);
            true
        });

        assert_eq!(told, Some(Duration::from_secs(9)));
        assert!(outgoing.is_empty());
    }

    #[test]
    fn what_is_refused_is_published_again_after_a_pause_that_grows() {
        let (mut outgoing, now) = outgoing(1..=2);
        publish_all(&mut outgoing);
        outgoing.answered(Answered::new(2, false, true), Some(now), |item, _, _| {
            assert_eq!(item, 2)
        });

        outgoing.answered(Answered::new(1, false, false), Some(now), |_, _, _| {
            panic!("it is not told yet")
        });

        outgoing.retry(now);
        assert!(outgoing.has_refused() && !outgoing.is_empty());
        assert_eq!(publish_all(&mut outgoing), [0; 0]);
        outgoing.retry(now + PAUSE_FIRST);
        assert_eq!(publish_all(&mut outgoing), [1]);
        outgoing.answered(Answered::new(3, false, false), Some(now), |_, _, _| {});
        outgoing.retry(now + PAUSE_FIRST);
        assert_eq!(publish_all(&mut outgoing), [0; 0]);
        outgoing.retry(now + PAUSE_FIRST * 2);
        assert_eq!(publish_all(&mut outgoing), [1]);
    }

    #[test]
    fn what_is_refused_too_long_is_given_up_as_that() {
        let (mut outgoing, now) = outgoing([1]);
        publish_all(&mut outgoing);
        outgoing.answered(Answered::new(1, false, false), Some(now), |_, _, _| {});
        let mut told = None;

        outgoing.give_up(now + PAUSE_MAX, |_, waited| {
            told = Some(waited);
            true
        });

        let time = PAUSE_MAX;
        assert_eq!(
            told,
            Some(Waited {
                time,
                refused: true,
                written: false,
                unanswered: 0,
            })
        );
        assert!(outgoing.is_empty());
    }
}
