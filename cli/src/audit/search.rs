//! Looks for missing tasks in the broker, until it can be said that they are in
//! none of its queues.
//!
//! A task that is not done is in a queue at every moment: what takes its place
//! is confirmed before it is acked, and an outcome is committed before it is
//! acked. So a missing task is lost if no queue holds it. But queues cannot be
//! looked at all at once, and a task may move behind one's back.
//!
//! There are two ways to look, and neither is enough alone:
//!
//! | | tells | how old |
//! |---|---|---|
//! | AMQP, a passive declare | what is ready | not at all |
//! | the management API | all that is in the queue: ready, unacked, and dead letters on their way out | up to `age` |
//!
//! # Why nothing is overlooked
//!
//! A task that moves in a circle passes a delay queue, and waits there, ready,
//! for a second at least. The delay queues are looked at by AMQP more often than
//! once a second, until a second after the last look by the management API. So
//! no task that moved in a circle before that look is overlooked.
//!
//! Without circles the way goes forward only: out of a delay queue as the search
//! begins, `dead` if its queue was not found, `tasks`, `tasks.suspect`, `dead`,
//! `quarantine`, `dead` again, then `results` or the store. (The way back from
//! `quarantine` is open once a collector has lived for a minute, longer than a
//! letter takes to come there again.) A look by the management API tells of each
//! queue how it was at some moment since the look before, since looks are `age`
//! apart. A task that one look overlooks has moved forward meanwhile. There are
//! seven moves from the first place to the last, so one of [`LOOKS`] looks sees it.
//!
//! What came to the store meanwhile is not missing: the caller reads the store
//! again after the search, and calls lost only what did not change.
//!
//! The embedded broker tells of all its queues at one moment, and of what is unacked
//! too: there one look is enough.
//!
//! # Failure
//!
//! What cannot be looked at, or not often enough, or is not `running`, makes
//! the answer [`Found::Unknown`], never [`Found::Nothing`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::management::Management;
use crate::settings::Link;

/// Looks by the management API: one more than a task can move forward.
pub(crate) const LOOKS: u32 = 8;

/// The shortest delay there is: the lowest level's time to live.
const DELAY_MIN: Duration = Duration::from_secs(1);

/// Between two looks by AMQP, which take a moment themselves.
const PAUSE: Duration = Duration::from_millis(250);

/// How often a search begins anew because two looks were too far apart.
const TRIES_MAX: u32 = 5;

/// What a search found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// These queues hold so many messages.
    Holding(BTreeMap<String, u64>),
    /// Every queue is empty.
    Nothing,
    /// It cannot be told, for this reason.
    Unknown(String),
}

/// Where to look.
pub(crate) struct Search<'a> {
    pub(crate) link: &'a Link,
    pub(crate) management: Option<&'a Management>,
    /// How old the management API's numbers may be.
    pub(crate) age: Duration,
}

/// One look was too late after the one before.
struct TooSlow;

impl Search<'_> {
    /// Looks once: what holds messages now, if anything does.
    pub(crate) async fn glance(&self) -> Found {
        if let Some(found) = self.snapshot().await {
            return found;
        }
        match (self.ready().await, self.all().await) {
            (Found::Holding(mut ready), Found::Holding(all)) => {
                // Newer, but only what is ready: the larger number is nearer.
                for (queue, messages) in all {
                    let known = ready.entry(queue).or_default();
                    *known = messages.max(*known);
                }
                Found::Holding(ready)
            }
            (holding @ Found::Holding(_), _) | (_, holding @ Found::Holding(_)) => holding,
            (unknown @ Found::Unknown(_), _) | (_, unknown @ Found::Unknown(_)) => unknown,
            (Found::Nothing, Found::Nothing) => Found::Nothing,
        }
    }

    /// Looks until it is sure that there is nothing, or finds something. Takes
    /// [`LOOKS`] times `age`, and a second.
    pub(crate) async fn exhaust(&self) -> Found {
        if let Some(found) = self.snapshot().await {
            return found;
        }
        for _ in 0..TRIES_MAX {
            if let Ok(found) = self.watch().await {
                return found;
            }
        }
        Found::Unknown("the broker answers too slowly to be sure".to_owned())
    }

    /// All that is in all queues at one moment, of a broker that tells what is
    /// unacked: the embedded one, which needs no second look.
    async fn snapshot(&self) -> Option<Found> {
        let depths = self.link.broker.depths().await.ok()?;
        let mut counts = Vec::with_capacity(depths.len());
        for depth in depths {
            counts.push((depth.queue, Some(depth.ready? + depth.unacked?)));
        }
        Some(found(counts, "is not counted"))
    }

    async fn watch(&self) -> Result<Found, TooSlow> {
        let mut began = Instant::now();
        for _ in 0..LOOKS {
            let found = self.poll(self.age, &mut began).await?;
            if found != Found::Nothing {
                return Ok(found);
            }
            let found = self.all().await;
            if found != Found::Nothing {
                return Ok(found);
            }
        }
        self.poll(DELAY_MIN, &mut began).await
    }

    /// Looks by AMQP again and again, for as long as `time`. `began` is when the
    /// look before began.
    async fn poll(&self, time: Duration, began: &mut Instant) -> Result<Found, TooSlow> {
        let end = Instant::now() + time;
        loop {
            let last = std::mem::replace(began, Instant::now());
            let found = self.ready().await;
            if found != Found::Nothing {
                return Ok(found);
            }
            if last.elapsed() >= DELAY_MIN {
                return Err(TooSlow);
            }
            let now = Instant::now();
            if now >= end {
                return Ok(Found::Nothing);
            }
            tokio::time::sleep(PAUSE.min(end - now)).await;
        }
    }

    /// What is ready, by AMQP.
    async fn ready(&self) -> Found {
        let depths = match self.link.broker.depths().await {
            Ok(depths) => depths,
            Err(error) => return Found::Unknown(error.to_string()),
        };
        found(
            depths.into_iter().map(|depth| (depth.queue, depth.ready)),
            "does not exist, or does not answer",
        )
    }

    /// All that is in the queues, by the management API: those it lists, which
    /// are more than this topology knows if there are more queues of tasks.
    async fn all(&self) -> Found {
        let Some(management) = self.management else {
            return Found::Unknown("--management-url tells what is unacked".to_owned());
        };
        let told = match management.queues().await {
            Ok(told) => told,
            Err(error) => return Found::Unknown(error.to_string()),
        };
        let results = match self.link.broker.results_queues().await {
            Ok(results) => results,
            Err(error) => return Found::Unknown(error.to_string()),
        };
        let topology = self.link.broker.topology();
        let (namespace, replies) = (topology.namespace(), topology.namespace().name("reply."));
        let mut queues: BTreeMap<_, _> = topology
            .queues_with(results)
            .into_iter()
            .map(|queue| (queue.name, None))
            .collect();
        for queue in told {
            if namespace.owns(&queue.name) && !queue.name.starts_with(&replies) {
                let running = queue.state.as_deref() == Some("running");
                // What is not running may hold more than it says, never less.
                let messages = queue.messages.filter(|count| running || *count > 0);
                queues.insert(queue.name, messages);
            }
        }
        found(
            queues,
            "is not counted by the management API, or not running",
        )
    }
}

/// What the counts say, of which one may not be known for the reason `why`.
fn found(counts: impl IntoIterator<Item = (String, Option<u64>)>, why: &str) -> Found {
    let (mut holding, mut unknown) = (BTreeMap::new(), None);
    for (queue, count) in counts {
        match count {
            Some(0) => {}
            Some(count) => {
                holding.insert(queue, count);
            }
            None => unknown = unknown.or(Some(format!("queue {queue} {why}"))),
        }
    }
    match unknown {
        _ if !holding.is_empty() => Found::Holding(holding),
        Some(reason) => Found::Unknown(reason),
        None => Found::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, Option<u64>)]) -> Found {
        let counts = counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        found(counts, "is away")
    }

    #[test]
    fn one_message_anywhere_is_enough_to_hold_what_is_missing() {
        let found = counts(&[("tasks", Some(0)), ("dead", None), ("results", Some(2))]);

        assert_eq!(found, Found::Holding([("results".to_owned(), 2)].into()));
    }

    #[test]
    fn a_queue_that_is_not_known_is_never_empty() {
        let found = counts(&[("tasks", Some(0)), ("dead", None)]);

        assert_eq!(found, Found::Unknown("queue dead is away".to_owned()));
        assert_eq!(counts(&[("tasks", Some(0))]), Found::Nothing);
    }
}
