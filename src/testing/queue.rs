use homing_protocol::{Envelope, Timestamp};

use super::faults::Faults;

/// What is to be run, and when.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Vec<(Timestamp, Envelope)>,
}

impl Queue {
    pub(super) fn add(&mut self, due: Timestamp, task: Envelope) {
        self.waiting.push((due, task));
    }

    /// The next one: the oldest of those that are due first, or under faults any of
    /// those that are due by then.
    pub(super) fn next(
        &mut self,
        now: Timestamp,
        faults: &mut Faults,
    ) -> Option<(Timestamp, Envelope)> {
        let first = self.waiting.iter().map(|(due, _)| *due).min()?;
        let by_then = first.max(now);
        let due = |(at, _): &(usize, &(Timestamp, Envelope))| *at;
        let ready = self.waiting.iter().enumerate();
        let ready = ready.filter(|(_, (at, _))| *at <= by_then);
        let ready: Vec<_> = ready.map(|one| due(&one)).collect();
        let oldest = |at: &usize| self.waiting[*at].0;
        let next = match faults.pick(ready.len()) {
            Some(any) => ready[any],
            None => ready.into_iter().min_by_key(oldest)?,
        };
        Some(self.waiting.remove(next))
    }
}
