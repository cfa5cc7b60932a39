//! How many deliveries to ask for after a connection that may have died of one.
//!
//! Pure; time comes from the caller. A message that kills the link while it is
//! decoded takes all others in the prefetch with it, again and again. So after
//! a connection that died right after its first delivery, the next one asks
//! for one at a time until it is past the bad one.

use std::time::Duration;

use tokio::time::Instant;

/// A connection that dies this soon after its first delivery may have died of
/// it.
const QUICK_DEATH: Duration = Duration::from_secs(1);

/// Answers with one delivery at a time before more are asked for.
const ANSWERS: u32 = 50;

#[derive(Debug, Default)]
pub(super) struct Caution {
    first_delivery: Option<Instant>,
    /// Answers still to come with one delivery at a time.
    answers: u32,
}

impl Caution {
    /// The prefetch for the next connection.
    pub(super) const fn prefetch(&self, wanted: u16) -> u16 {
        if self.answers > 0 { 1 } else { wanted }
    }

    pub(super) fn delivered(&mut self, now: Instant) {
        self.first_delivery.get_or_insert(now);
    }

    /// Takes note of an ack. Answers whether the connection is past it, and is
    /// to be replaced by one with the full prefetch: RabbitMQ gives a new
    /// prefetch to new consumers only.
    pub(super) const fn acked(&mut self) -> bool {
        if self.answers == 0 {
            return false;
        }
        self.answers -= 1;
        if self.answers == 0 {
            // This connection ends well, however short it was.
            self.first_delivery = None;
        }
        self.answers == 0
    }

    pub(super) fn broke(&mut self, now: Instant) {
        let first = self.first_delivery.take();
        if first.is_some_and(|first| now.duration_since(first) < QUICK_DEATH) {
            self.answers = ANSWERS;
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

        let past: Vec<_> = (0..ANSWERS).map(|_| caution.acked()).collect();
        caution.broke(now);

        assert_eq!(
            past.iter().position(|past| *past),
            Some(ANSWERS as usize - 1)
        );
        assert_eq!(caution.prefetch(100), 100);
    }

    #[test]
    fn a_second_quick_death_begins_it_again() {
        let (mut caution, now) = died_at_once();
        (1..ANSWERS).for_each(|_| assert!(!caution.acked()));
        caution.delivered(now);
        caution.broke(now);

        (1..ANSWERS).for_each(|_| assert!(!caution.acked()));
        assert!(caution.acked());
    }
}
