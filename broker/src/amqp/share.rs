//! How many messages a consumer asks for, so that its prefetch counts tasks
//! although a message may carry many.
//!
//! Pure. RabbitMQ counts messages, and a subscription keeps the number it began
//! with. So what is asked for follows the mean of what messages carried, by a new
//! subscription once the number is off by a factor of two. Nothing is known at
//! first, so the first message is asked for alone.

/// Messages that are asked for at least, once it is known what they carry: the
/// next is there when the one before is done.
const MESSAGES_MIN: u16 = 2;

/// The weight of a message in the mean: a few dozen of other size and it is
/// theirs.
const WEIGHT: f64 = 1.0 / 16.0;

/// What a consumer may hold.
#[derive(Debug)]
pub(super) struct Share {
    /// In tasks.
    prefetch: u16,
    /// Tasks in a message, on average; unknown before the first.
    mean: Option<f64>,
}

impl Share {
    pub(super) const fn new(prefetch: u16) -> Self {
        Self {
            prefetch,
            mean: None,
        }
    }

    /// Takes note of a message with so many tasks.
    pub(super) fn delivered(&mut self, tasks: usize) {
        let tasks = tasks.max(1) as f64;
        let mean = self.mean.get_or_insert(tasks);
        *mean += (tasks - *mean) * WEIGHT;
    }

    /// How many messages are that many tasks.
    pub(super) fn messages(&self) -> u16 {
        let Some(mean) = self.mean else {
            return 1;
        };
        let messages = (f64::from(self.prefetch) / mean) as u16;
        messages.max(MESSAGES_MIN.min(self.prefetch))
    }
}

/// Whether a subscription that asked for so many messages had better begin anew.
pub(super) const fn is_off(asked: u16, wanted: u16) -> bool {
    wanted >= asked.saturating_mul(2) || wanted <= asked / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for after messages that carry these.
    fn asked(prefetch: u16, messages: impl IntoIterator<Item = usize>) -> Vec<u16> {
        let mut share = Share::new(prefetch);
        let mut asked = vec![share.messages()];
        for tasks in messages {
            share.delivered(tasks);
            let wanted = share.messages();
            if asked.last().is_some_and(|last| is_off(*last, wanted)) {
                asked.push(wanted);
            }
        }
        asked
    }

    #[test]
    fn of_single_tasks_as_many_messages_are_asked_for_as_tasks() {
        assert_eq!(asked(1_000, [1; 100]), [1, 1_000]);
        assert_eq!(asked(2, [1; 100]), [1, 2]);
        assert_eq!(asked(1, [1; 100]), [1]);
    }

    #[test]
    fn of_bundles_so_many_that_their_tasks_are_no_more() {
        assert_eq!(asked(1_000, [100; 100]), [1, 10]);
    }

    #[test]
    fn of_bundles_larger_than_the_prefetch_two_are_asked_for() {
        assert_eq!(asked(32, [128; 100]), [1, 2]);
    }

    #[test]
    fn what_is_asked_for_follows_what_comes_in_a_few_steps() {
        let changing = [1; 100].into_iter().chain([100; 200]).chain([1; 200]);

        let asked = asked(1_000, changing);

        assert_eq!((asked[1], *asked.last().unwrap() > 500), (1_000, true));
        assert!(asked.contains(&10) || asked.contains(&11), "{asked:?}");
        assert!(asked.len() < 20, "{asked:?}");
    }

    #[test]
    fn one_large_bundle_among_many_single_tasks_changes_nothing() {
        let mixed = (0..1_000).map(|n| if n % 100 == 99 { 16 } else { 1 });

        assert_eq!(asked(1_000, mixed), [1, 1_000]);
    }
}
