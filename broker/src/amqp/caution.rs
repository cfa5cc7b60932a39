//! How to go on after a connection that may have died of what it received.
//!
//! Pure; time comes from the caller. A message that ends the connection while
//! it is decoded takes all others in the prefetch with it, again and again, and
//! the broker counts their returns. So after a connection that died right after
//! it began to receive, the next one asks for one delivery at a time until it
//! is past the bad one, or has lived for a while; and if some have died in a
//! row, the first messages of the queue are looked at in another way.

use std::time::Duration;

use tokio::time::Instant;

/// A connection that dies this soon after it began to receive, or after its
/// first delivery, may have died of it.
const QUICK_DEATH: Duration = Duration::from_secs(1);

/// A connection that lives this long with one delivery at a time asks for more,
/// however few it has answered: handlers may take hours.
const LASTING: Duration = Duration::from_secs(10);

/// Answers with one delivery at a time before more are asked for.
const ANSWERS: u32 = 50;

/// Quick deaths in a row that no outage of a broker explains.
const DEATHS: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Caution {
    /// When the connection began to receive, or when its first delivery came.
    began: Option<Instant>,
    delivered: bool,
    /// Quick deaths without as much as one answer in between.
    deaths: u32,
    /// Answers still to come with one delivery at a time.
    answers: u32,
}

impl Caution {
    /// The prefetch for the next connection.
    pub(super) const fn prefetch(&self, wanted: u16) -> u16 {
        if self.answers > 0 { 1 } else { wanted }
    }

    /// Whether the first messages are to be looked at in another way.
    pub(super) const fn is_stuck(&self) -> bool {
        self.deaths >= DEATHS
    }

    /// Takes note that they were. Should the next connection die of another one,
    /// that is enough.
    pub(super) const fn looked(&mut self) {
        self.deaths = DEATHS - 1;
        self.began = None;
    }

    /// Takes note that the broker said why it ended the connection, which was no
    /// message's fault.
    pub(super) const fn refused(&mut self) {
        self.began = None;
    }

    pub(super) fn receives(&mut self, now: Instant) {
        self.began = Some(now);
        self.delivered = false;
    }

    pub(super) fn delivered(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.delivered, true) {
            self.began = Some(now);
        }
    }

    /// Takes note of an ack.
    pub(super) const fn acked(&mut self) {
        self.deaths = 0;
        if self.answers == 1 {
            // This connection ends well, however short it was.
            self.began = None;
        }
        self.answers = self.answers.saturating_sub(1);
    }

    /// When the connection will have lived long enough, if it is a careful one
    /// that receives.
    pub(super) fn lasting_at(&self) -> Option<Instant> {
        let careful = self.delivered && self.answers > 0;
        self.began.filter(|_| careful).map(|began| began + LASTING)
    }

    /// Takes note that it has.
    pub(super) const fn lasts(&mut self) {
        self.answers = 0;
    }

    pub(super) fn broke(&mut self, now: Instant) {
        let began = self.began.take();
        self.delivered = false;
        if began.is_some_and(|began| now.duration_since(began) < QUICK_DEATH) {
            self.answers = ANSWERS;
            self.deaths = self.deaths.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died_at_once() -> (Caution, Instant) {
        let (mut caution, now) = (Caution::default(), Instant::now());
        caution.delivered(now);
        caution.broke(now);
        (caution, now)
    }

    #[test]
    fn after_a_quick_death_one_delivery_is_asked_for() {
        let (caution, _) = died_at_once();

        assert_eq!(caution.prefetch(100), 1);
    }

    #[test]
    fn a_connection_that_dies_before_its_first_delivery_may_have_died_of_it() {
        let (mut caution, now) = (Caution::default(), Instant::now());
        caution.receives(now);
        caution.broke(now);

        assert_eq!(caution.prefetch(100), 1);
    }

    #[test]
    fn after_three_quick_deaths_in_a_row_it_is_stuck_and_then_after_each() {
        let (mut caution, now) = died_at_once();
        let die = |caution: &mut Caution| {
            caution.receives(now);
            caution.broke(now);
            caution.is_stuck()
        };

        assert_eq!([die(&mut caution), die(&mut caution)], [false, true]);
        caution.looked();
        assert!(!caution.is_stuck());
        assert!(die(&mut caution));
        caution.acked();
        assert_eq!([die(&mut caution), die(&mut caution)], [false, false]);
    }

    #[test]
    fn after_a_long_life_all_are_asked_for() {
        let (mut caution, now) = (Caution::default(), Instant::now());
        caution.delivered(now);
        caution.broke(now + QUICK_DEATH);

        assert_eq!(caution.prefetch(100), 100);
    }

    #[test]
    fn fast_answers_end_the_caution_for_good() {
        let (mut caution, now) = died_at_once();
        caution.delivered(now);

        (1..ANSWERS).for_each(|_| caution.acked());
        assert_eq!(caution.prefetch(100), 1);
        caution.acked();
        caution.broke(now);

        assert_eq!(caution.prefetch(100), 100);
    }

    #[test]
    fn a_long_life_with_few_answers_ends_the_caution() {
        let (mut caution, now) = died_at_once();
        assert_eq!(caution.lasting_at(), None);
        caution.delivered(now);
        assert_eq!(caution.lasting_at(), Some(now + LASTING));

        caution.lasts();

        assert_eq!(caution.prefetch(100), 100);
        assert_eq!(caution.lasting_at(), None);
    }

    #[test]
    fn a_second_quick_death_begins_it_again() {
        let (mut caution, now) = died_at_once();
        (1..ANSWERS).for_each(|_| caution.acked());
        caution.delivered(now);
        caution.broke(now);

        (1..ANSWERS).for_each(|_| caution.acked());
        assert_eq!(caution.prefetch(100), 1);
    }
}
