//! How many messages a consumer asks for, so that it holds about as many tasks
//! as its prefetch says, although a message may carry many.
//!
//! Pure. RabbitMQ counts messages, and a subscription keeps the number that it
//! began with; what came over an earlier one does not count. So the number is
//! changed by another subscription, after what is left to do of what is here: with
//! more than twice the tasks nothing comes until they are few enough, then fewer
//! messages; with all messages here and room for more tasks, more messages. A large
//! prefetch begins with few, since each of the first may carry a thousand tasks. As
//! long as each carries one nothing else is ever changed.

use std::collections::HashMap;

/// Messages that are asked for at least: the next is there when the one before
/// is done.
const MESSAGES_MIN: u16 = 2;

/// A larger prefetch than this begins with [`MESSAGES_FIRST`]. The broker does not
/// count what came over an earlier subscription, so that such a worker holds these
/// as well at first; a smaller prefetch is worth more than what bundles may bring.
const PREFETCH_AT_ONCE: u16 = 256;

/// Messages that are asked for before it is known what they carry: with a thousand, a
/// queue of bundles of 128 filled half a gigabyte.
const MESSAGES_FIRST: u16 = 64;

/// By how much the number grows at most, at a time, where bundles come: the next may
/// carry more than what is here.
const GROWTH_MAX: u16 = 4;

/// What a consumer may hold, and holds.
#[derive(Debug)]
pub(super) struct Share {
    /// In tasks.
    prefetch: u16,
    /// That a subscription asks for.
    messages: u16,
    /// Whether nothing is to come until fewer tasks are held.
    paused: bool,
    /// The last delivery, and the last one before the subscription, by tag.
    last: u64,
    before: u64,
    /// Deliveries without an answer, and those of them before the subscription.
    open: usize,
    open_before: usize,
    /// Of each of them that came with more than one task: how many, and how many
    /// are left.
    bundles: HashMap<u64, (usize, usize)>,
    /// What they came with, and what is left, but one of each.
    came: usize,
    left: usize,
}

/// How many messages are asked for at first.
const fn first(prefetch: u16) -> u16 {
    if prefetch <= PREFETCH_AT_ONCE {
        prefetch
    } else {
        MESSAGES_FIRST
    }
}

impl Share {
    pub(super) fn new(prefetch: u16) -> Self {
        Self {
            prefetch,
            messages: first(prefetch),
            paused: false,
            last: 0,
            before: 0,
            open: 0,
            open_before: 0,
            bundles: HashMap::new(),
            came: 0,
            left: 0,
        }
    }

    /// How many messages a subscription is to ask for.
    pub(super) const fn messages(&self) -> u16 {
        self.messages
    }

    /// Whether there is to be none now.
    pub(super) const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Takes note of another prefetch. A smaller one holds at once.
    pub(super) fn aim(&mut self, prefetch: u16) {
        if prefetch < self.prefetch {
            self.messages = self.messages.min(prefetch);
            self.paused = self.open > 1 && self.tasks() > usize::from(prefetch);
        }
        self.prefetch = prefetch;
    }

    /// Takes note of a new connection, which holds nothing.
    pub(super) fn connected(&mut self) {
        let messages = self.messages;
        *self = Self {
            messages,
            ..Self::new(self.prefetch)
        };
    }

    /// Takes note of a new subscription.
    pub(super) const fn subscribed(&mut self) {
        self.before = self.last;
        self.open_before = self.open;
    }

    /// Takes note of a delivery with so many tasks.
    pub(super) fn delivered(&mut self, tag: u64, tasks: usize) {
        self.last = tag;
        self.open += 1;
        if tasks > 1 {
            self.came += tasks - 1;
            self.left += tasks - 1;
            self.bundles.insert(tag, (tasks, tasks));
        }
    }

    /// Takes note that so many tasks of a delivery are done with.
    pub(super) fn lessened(&mut self, tag: u64, tasks: usize) {
        if let Some((_, left)) = self.bundles.get_mut(&tag) {
            // The last one is done with once there is an answer.
            let less = tasks.min(*left - 1);
            *left -= less;
            self.left -= less;
        }
    }

    /// Takes note of the answer for a delivery.
    pub(super) fn answered(&mut self, tag: u64) {
        self.open -= 1;
        self.open_before -= usize::from(tag <= self.before);
        if let Some((came, left)) = self.bundles.remove(&tag) {
            self.came -= came - 1;
            self.left -= left - 1;
        }
    }

    /// Decides by what is held now.
    pub(super) fn weigh(&mut self) {
        let (tasks, all) = (self.tasks(), usize::from(self.prefetch));
        if self.paused {
            self.paused = tasks > all && self.open > 1;
            return;
        }
        let are_all_here = self.open - self.open_before >= usize::from(self.messages);
        let least = MESSAGES_MIN.min(self.prefetch);
        if tasks > 2 * all && self.messages > least {
            self.paused = true;
            self.messages = self.fitting(all).clamp(least, self.messages);
        } else if are_all_here {
            self.messages = self.more(tasks).unwrap_or(self.messages);
        }
    }

    const fn tasks(&self) -> usize {
        self.open + self.left
    }

    /// A larger number, if it is worth a subscription: for the room there is, and
    /// for one more at least where most is done of what is here.
    fn more(&self, tasks: usize) -> Option<u16> {
        let (now, room) = (
            self.messages,
            usize::from(self.prefetch).checked_sub(tasks)?,
        );
        let wanted = now.saturating_add(self.fitting(room).max(u16::from(room > tasks)));
        let pays = wanted >= self.prefetch || wanted > now.saturating_add(now / 4);
        let step = match self.came {
            0 => wanted,
            _ => now.saturating_mul(GROWTH_MAX),
        };
        let more = wanted.min(self.prefetch).min(step);
        (pays && more > now).then_some(more)
    }

    /// How many messages would carry so many tasks, if all came with as many as
    /// those that are here.
    fn fitting(&self, tasks: usize) -> u16 {
        let messages = tasks * self.open / (self.open + self.came).max(1);
        u16::try_from(messages).unwrap_or(self.prefetch)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A consumer before a queue that always has more.
    struct Consumer {
        share: Share,
        asked: Option<u16>,
        subscriptions: usize,
        /// Of the subscription, and of all before it: tag and tasks.
        held: Vec<(u64, usize)>,
        before: Vec<(u64, usize)>,
        tag: u64,
    }

    impl Consumer {
        fn new(prefetch: u16) -> Self {
            Self {
                share: Share::new(prefetch),
                asked: None,
                subscriptions: 0,
                held: Vec::new(),
                before: Vec::new(),
                tag: 0,
            }
        }

        /// Receives all that it asks for, each message with as many tasks.
        fn fill(&mut self, mut tasks: impl FnMut() -> usize) {
            loop {
                self.share.weigh();
                let wanted = (!self.share.is_paused()).then(|| self.share.messages());
                if wanted != self.asked {
                    self.asked = wanted;
                    self.before.append(&mut self.held);
                    if wanted.is_some() {
                        self.share.subscribed();
                        self.subscriptions += 1;
                    }
                }
                if self.held.len() >= usize::from(self.asked.unwrap_or(0)) {
                    return;
                }
                let carried = tasks();
                self.tag += 1;
                self.share.delivered(self.tag, carried);
                self.held.push((self.tag, carried));
            }
        }

        /// Answers the oldest.
        fn answer(&mut self) {
            let from = if self.before.is_empty() {
                &mut self.held
            } else {
                &mut self.before
            };
            if !from.is_empty() {
                let (tag, _) = from.remove(0);
                self.share.answered(tag);
            }
        }

        fn work(&mut self, messages: usize, mut tasks: impl FnMut() -> usize) {
            for _ in 0..messages {
                self.fill(&mut tasks);
                self.answer();
            }
            self.fill(tasks);
        }

        fn carried(&self) -> impl Iterator<Item = usize> {
            let held = self.held.iter().chain(&self.before);
            held.map(|(_, tasks)| *tasks)
        }

        fn tasks(&self) -> usize {
            self.carried().sum()
        }

        fn largest(&self) -> usize {
            self.carried().max().unwrap_or(0)
        }
    }

    #[test]
    fn of_single_tasks_as_many_messages_are_asked_for_as_tasks_and_once() {
        for prefetch in [1, 2, 65, 256] {
            let mut consumer = Consumer::new(prefetch);

            consumer.work(100, || 1);

            assert_eq!(consumer.asked, Some(prefetch));
            assert_eq!(consumer.tasks(), usize::from(prefetch));
            assert_eq!(consumer.subscriptions, 1);
        }
    }

    #[test]
    fn a_large_prefetch_begins_with_few_messages_and_then_holds_only_these_beside_it() {
        for prefetch in [257, 1_000, 4_000] {
            let mut consumer = Consumer::new(prefetch);
            assert_eq!(consumer.share.messages(), 64);
            let mut most = 0;

            for _ in 0..2 * usize::from(prefetch) {
                consumer.fill(|| 1);
                most = most.max(consumer.tasks());
                consumer.answer();
            }

            assert_eq!(consumer.asked, Some(prefetch));
            assert!(most <= usize::from(prefetch) + 64, "{most} of {prefetch}");
            assert_eq!(consumer.subscriptions, 2);
        }
    }

    #[test]
    fn another_prefetch_holds_from_then_on() {
        let mut consumer = Consumer::new(32);
        consumer.work(100, || 1);

        consumer.share.aim(64);
        consumer.work(100, || 1);
        assert_eq!((consumer.asked, consumer.tasks()), (Some(64), 64));

        consumer.share.aim(8);
        consumer.work(100, || 1);
        assert_eq!((consumer.asked, consumer.tasks()), (Some(8), 8));
    }

    #[test]
    fn a_smaller_prefetch_holds_at_once_whatever_is_here() {
        let mut idle = Consumer::new(256);
        idle.share.aim(32);
        idle.fill(|| 1);
        assert_eq!((idle.asked, idle.tasks()), (Some(32), 32));

        let mut busy = Consumer::new(64);
        busy.fill(|| 1);
        busy.share.aim(32);
        busy.fill(|| 1);
        assert_eq!((busy.asked, busy.tasks()), (None, 64));
        (0..32).for_each(|_| busy.answer());
        busy.fill(|| 1);
        assert_eq!(busy.asked, Some(32));
    }

    #[test]
    fn of_bundles_so_many_that_their_tasks_are_no_more() {
        let mut consumer = Consumer::new(1_000);

        consumer.work(2_000, || 100);

        assert_eq!((consumer.asked, consumer.tasks()), (Some(10), 1_000));
        assert_eq!(consumer.subscriptions, 2);
    }

    #[test]
    fn of_bundles_larger_than_the_prefetch_two_are_asked_for() {
        let mut consumer = Consumer::new(32);

        consumer.work(100, || 128);

        assert_eq!((consumer.asked, consumer.held.len()), (Some(2), 2));
    }

    #[test]
    fn single_tasks_fill_the_prefetch_as_soon_as_the_bundles_before_them_are_answered() {
        for prefetch in [2, 8, 32, 1_000, u16::MAX] {
            let mut consumer = Consumer::new(prefetch);
            consumer.work(200, || 128);

            while consumer.largest() > 1 {
                consumer.answer();
                consumer.fill(|| 1);
            }

            // The rest of the room is not worth a subscription.
            assert!(4 * consumer.tasks() >= 3 * usize::from(prefetch));
        }
    }

    #[test]
    fn bundles_of_which_one_task_is_left_do_not_keep_others_away() {
        let mut share = Share::new(32);
        (1..=32).for_each(|tag| share.delivered(tag, 100));
        share.weigh();
        assert!(share.is_paused());
        (3..=32).for_each(|tag| share.answered(tag));
        for tag in 1..=2 {
            share.lessened(tag, 99);
        }

        share.weigh();

        assert!(!share.is_paused());
        share.subscribed();
        assert_eq!(share.messages(), 2);
        // Two others come, and of them one task is left as well.
        (33..=34).for_each(|tag| share.delivered(tag, 100));
        (33..=34).for_each(|tag| (1..100).for_each(|_| share.lessened(tag, 1)));
        share.weigh();
        assert!(share.messages() > 2);
    }

    #[test]
    fn a_large_bundle_among_single_tasks_costs_few_subscriptions() {
        let mut consumer = Consumer::new(1_000);
        let mut count = 0;

        consumer.work(10_000, || {
            count += 1;
            if count % 2_000 == 0 { 1_024 } else { 1 }
        });

        assert_eq!(consumer.asked, Some(1_000));
        assert!(consumer.subscriptions <= 1 + 3 * 5);
    }

    proptest! {
        #[test]
        fn it_never_stops_for_good_and_holds_no_more_than_three_times_its_prefetch_for_long(
            prefetch in 1_u16..200,
            sizes in prop::collection::vec(1_usize..200, 1..8),
        ) {
            let mut consumer = Consumer::new(prefetch);
            let mut sizes = sizes.iter().cycle();
            let mut largest = || *sizes.next().unwrap();
            // The first are asked for before it is known what they carry.
            consumer.work(2_000, &mut largest);

            for _ in 0..500 {
                consumer.answer();
                consumer.fill(&mut largest);
                prop_assert!(!consumer.held.is_empty() || !consumer.before.is_empty());
                let room = 3 * usize::from(prefetch).max(200) + 200;
                prop_assert!(consumer.tasks() <= room, "{} tasks", consumer.tasks());
            }
        }
    }
}
