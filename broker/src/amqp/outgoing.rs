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

/// A message and what became of it so far.
#[derive(Debug)]
struct Pending<T> {
    item: T,
    since: Instant,
    /// Given up: only here so that the numbers fit.
    silent: bool,
}

/// The messages of a publisher.
#[derive(Debug)]
pub(super) struct Outgoing<T> {
    /// To be published next: new, or from a connection that broke.
    waiting: VecDeque<Pending<T>>,
    /// On the current connection.
    confirms: Confirms<Pending<T>>,
}

impl<T> Outgoing<T> {
    pub(super) const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            confirms: Confirms::new(),
        }
    }

    /// Takes a message that is to be published.
    pub(super) fn take(&mut self, item: T, now: Instant) {
        self.waiting.push_back(Pending {
            item,
            since: now,
            silent: false,
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

    /// Whether nothing is in here.
    pub(super) fn is_empty(&self) -> bool {
        !self.is_waiting() && self.unconfirmed() == 0
    }

    /// The broker's answer for `tag`, or for all up to it. `each` is told of
    /// those that are not given up.
    pub(super) fn answered(
        &mut self,
        tag: u64,
        multiple: bool,
        confirmed: bool,
        mut each: impl FnMut(T, Verdict),
    ) {
        let tell = |pending: Pending<T>, verdict| {
            if !pending.silent {
                each(pending.item, verdict);
            }
        };
        self.confirms.answered(tag, multiple, confirmed, tell);
    }

    /// The broker gave back the message that `is` knows again.
    pub(super) fn returned(&mut self, is: impl Fn(&T) -> bool) {
        self.confirms.returned(|pending| is(&pending.item));
    }

    /// Gives up those of which `gives_up` says so. It is told of each, the oldest
    /// first, and for how long it has been in here.
    pub(super) fn give_up(
        &mut self,
        now: Instant,
        mut gives_up: impl FnMut(&mut T, Duration) -> bool,
    ) {
        let pendings = self.confirms.waiting_mut().chain(&mut self.waiting);
        for pending in pendings.filter(|pending| !pending.silent) {
            let waited = now.saturating_duration_since(pending.since);
            pending.silent = gives_up(&mut pending.item, waited);
        }
        self.waiting.retain(|pending| !pending.silent);
    }

    /// The connection is gone.
    pub(super) fn broke(&mut self) {
        let confirms = std::mem::replace(&mut self.confirms, Confirms::new());
        let again: VecDeque<_> = confirms.into_waiting().filter(|p| !p.silent).collect();
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
        outgoing.answered(2, false, true, |item, _| assert_eq!(item, 2));

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

        outgoing.answered(1, false, true, |item, verdict| told.push((item, verdict)));

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
        outgoing.answered(1, false, true, |item, _| told.push(item));
        assert_eq!((told.as_slice(), outgoing.unconfirmed()), (&[][..], 1));
        outgoing.broke();
        assert_eq!(publish_all(&mut outgoing), [2]);
    }

    #[test]
    fn it_is_said_how_long_a_message_has_waited_over_all_connections() {
        let (mut outgoing, now) = outgoing([1]);
        publish_all(&mut outgoing);
        outgoing.broke();
        let mut told = None;

        outgoing.give_up(now + Duration::from_secs(9), |_, waited| {
            told = Some(waited);
            true
        });

        assert_eq!(told, Some(Duration::from_secs(9)));
        assert!(outgoing.is_empty());
    }
}
