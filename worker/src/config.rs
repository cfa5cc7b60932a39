use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use homing_protocol::{QueueName, SchemaError, TaskKind};

/// What a worker runs on.
///
/// Made with [`Default`] and changed field by field. Checked as a whole when the
/// worker starts.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The queues to take tasks from; `tasks` by default. `tasks.suspect` is
    /// always taken from as well.
    pub queues: Vec<QueueName>,
    /// Attempts that may run at once; 16 by default. Low values leave a handler
    /// that waits for others idle, high ones need memory for each.
    pub concurrency: u16,
    /// Tasks the broker may send ahead of their answers, from each queue; at
    /// least the concurrency. High values hide the way to the broker, low ones
    /// share few tasks among many workers evenly. Of bundles two may come at any
    /// time, and as many as this, up to 256, when they begin to come. More than 256
    /// begins with 64, which a worker may hold besides until they are done.
    ///
    /// `None`, the default: twice the concurrency, and up to 256 in all queues
    /// (less if payloads are large: 16 MiB of such as were done last) while that
    /// many are done within a tenth of a second. If they turn out to be long, those
    /// that would wait for more than a second go back to their queue, each once,
    /// which RabbitMQ up to 4.2 counts as a delivery; not those of bundles. Then it
    /// stays with the least for ten seconds at first, ten minutes at most. At most
    /// 256 messages are here before it is known how large they are.
    pub prefetch: Option<u16>,
    /// How long running attempts may go on once the worker is to stop, and a
    /// blocking handler beyond its timeout; 30 s by default.
    pub grace: Duration,
    /// The kind of a message that names none; without it, such a message is a
    /// dead letter.
    pub default_kind: Option<TaskKind>,
    /// How long the broker waits for the answer to a delivery before it takes it
    /// back, which ends the connection: `consumer_timeout` of RabbitMQ 3.10 to
    /// 4.x, 30 min by default there and here. AMQP does not tell it, so whoever
    /// changes it there says so here. An attempt has to fit: its timeout and the
    /// grace, and what its delivery waited in this process.
    pub consumer_timeout: Duration,
    /// How long a task waits for a worker that has a handler for its kind, or reads
    /// its wire version, before it is a dead letter: 24 h by default. It waits in
    /// the broker, away from this worker for a second at first, then for up to a
    /// minute at a time, and no attempt is spent; without a second here, it is
    /// dead at once. Where workers of several groups share a broker, a queue for
    /// each is the better way.
    pub unknown_grace: Duration,
    /// Whether outcomes also go to the `reply_to` of foreign clients; no by
    /// default, since whoever may submit a task then chooses a queue that this
    /// worker writes to.
    pub foreign_replies: bool,
    /// The most attempts, where they differ from the handlers' own policies.
    pub attempts: Vec<PerKind<u32>>,
    /// The longest an attempt may take, where it differs from the handlers' own
    /// policies.
    pub timeouts: Vec<PerKind<Duration>>,
}

impl WorkerConfig {
    /// Attempts at once: enough to hide short waits, few enough for any handler.
    pub const CONCURRENCY: u16 = 16;

    /// The longest grace by default: what most supervisors wait before they
    /// kill (Kubernetes: 30 s).
    pub const GRACE: Duration = Duration::from_secs(30);

    /// What it takes to notice, by day, that no worker of a kind was deployed.
    pub const UNKNOWN_GRACE: Duration = Duration::from_hours(24);

    /// What RabbitMQ waits for an ack by default:
    /// <https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout>.
    pub const CONSUMER_TIMEOUT: Duration = Duration::from_mins(30);
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            queues: vec![QueueName::tasks()],
            concurrency: Self::CONCURRENCY,
            prefetch: None,
            grace: Self::GRACE,
            default_kind: None,
            consumer_timeout: Self::CONSUMER_TIMEOUT,
            unknown_grace: Self::UNKNOWN_GRACE,
            foreign_replies: false,
            attempts: Vec::new(),
            timeouts: Vec::new(),
        }
    }
}

/// A value for one kind of task, or for those whose names begin alike.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PerKind<V> {
    /// The kind; with `*` at its end, every kind that begins so.
    pub kind: String,
    /// The value.
    pub value: V,
}

impl<V> PerKind<V> {
    /// Whether it is meant for `kind`.
    pub(crate) fn covers(&self, kind: &TaskKind) -> bool {
        match self.kind.strip_suffix('*') {
            Some(start) => kind.as_str().starts_with(start),
            None => kind.as_str() == self.kind,
        }
    }
}

/// The settings of a worker cannot be, each named with its values.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", list(problems))]
pub struct ConfigError {
    /// All that is wrong, at least one.
    pub problems: Vec<ConfigProblem>,
}

fn list(problems: &[ConfigProblem]) -> String {
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// A setting that cannot be.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ConfigProblem {
    /// A number that must not be 0 is.
    Zero {
        /// The setting.
        field: &'static str,
    },
    /// Fewer deliveries ahead than attempts at once: some would never run.
    PrefetchBelowConcurrency {
        /// Deliveries ahead.
        prefetch: u16,
        /// Attempts at once.
        concurrency: u16,
    },
    /// There is nothing to take tasks from.
    NoQueues,
    /// A queue is named twice, or is `tasks.suspect`, which every worker takes
    /// from anyway.
    QueueTwice {
        /// The queue.
        queue: QueueName,
    },
    /// An attempt may take longer than the broker waits for the answer to its
    /// delivery.
    TimeoutBeyondBroker {
        /// The kind.
        kind: TaskKind,
        /// The longest an attempt may take.
        timeout: Duration,
        /// How much longer a handler that blocks may go on.
        grace: Duration,
        /// How long the broker waits.
        consumer_timeout: Duration,
    },
    /// A kind has two handlers.
    TwoHandlers {
        /// The kind.
        kind: TaskKind,
    },
    /// What a kind is said to have as its JSON Schema cannot be one.
    Schema {
        /// The kind.
        kind: TaskKind,
        /// What is wrong with it.
        source: SchemaError,
    },
    /// A setting is for a kind that has no handler here.
    NoHandler {
        /// The setting.
        field: &'static str,
        /// The kind as it was given.
        kind: String,
    },
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { field } => write!(f, "{field} is 0"),
            Self::PrefetchBelowConcurrency {
                prefetch,
                concurrency,
            } => write!(
                f,
                "prefetch ({prefetch}) is below concurrency ({concurrency})"
            ),
            Self::NoQueues => f.write_str("queues is empty"),
            Self::QueueTwice { queue } => write!(f, "queues has `{queue}` twice"),
            Self::TimeoutBeyondBroker {
                kind,
                timeout,
                grace,
                consumer_timeout,
            } => write!(
                f,
                "timeout of kind `{kind}` ({}) with the grace ({}) reaches the broker's consumer timeout ({}): \
                 lower `timeout`, or raise `consumer_timeout` in rabbitmq.conf and here alike",
                in_words(*timeout),
                in_words(*grace),
                in_words(*consumer_timeout),
            ),
            Self::TwoHandlers { kind } => write!(f, "kind `{kind}` has two handlers"),
            Self::Schema { kind, source } => {
                write!(f, "schema of kind `{kind}` cannot be: {source}")
            }
            Self::NoHandler { field, kind } => {
                write!(f, "{field} is for kind `{kind}`, which has no handler here")
            }
        }
    }
}

/// `90 s`, `5 min`, `24 h`, `20 ms`.
pub(crate) fn in_words(duration: Duration) -> String {
    let secs = duration.as_secs();
    match (secs, duration.subsec_millis()) {
        (7_200.., 0) if secs.is_multiple_of(3_600) => format!("{} h", secs / 3_600),
        (60.., 0) if secs.is_multiple_of(60) => format!("{} min", secs / 60),
        (_, 0) => format!("{secs} s"),
        _ => format!("{} ms", duration.as_millis()),
    }
}

impl WorkerConfig {
    /// How long a delivery may have been here when an attempt of `timeout` is
    /// started, so that it is answered before the broker takes it back; `None`
    /// if it never can be.
    ///
    /// A sixtieth is left for the outcome to be published: of RabbitMQ's 30 min
    /// 30 s, which outlast a change of a queue's leader.
    pub(crate) fn held_max(&self, timeout: Duration) -> Option<Duration> {
        let taken = timeout
            .checked_add(self.grace)?
            .checked_add(self.consumer_timeout / 60)?;
        let held = self.consumer_timeout.checked_sub(taken)?;
        (!held.is_zero()).then_some(held)
    }

    /// What each consumer asks for at least.
    pub(crate) fn prefetch_least(&self) -> NonZeroU16 {
        let twice = self.concurrency.saturating_mul(2);
        NonZeroU16::new(self.prefetch.unwrap_or(twice)).unwrap_or(NonZeroU16::MIN)
    }

    /// All that is wrong with the settings, `kinds` being those with a handler.
    pub(crate) fn problems(&self, kinds: &[&TaskKind]) -> Vec<ConfigProblem> {
        let zeros = [
            ("concurrency", self.concurrency == 0),
            ("prefetch", self.prefetch == Some(0)),
            ("attempts", self.attempts.iter().any(|set| set.value == 0)),
            (
                "timeout",
                self.timeouts.iter().any(|set| set.value.is_zero()),
            ),
        ];
        let zeros = zeros.into_iter().filter(|(_, is_zero)| *is_zero);
        let mut problems: Vec<_> = zeros
            .map(|(field, _)| ConfigProblem::Zero { field })
            .collect();
        if let Some(prefetch) = self.prefetch
            && prefetch < self.concurrency
        {
            problems.push(ConfigProblem::PrefetchBelowConcurrency {
                prefetch,
                concurrency: self.concurrency,
            });
        }
        problems.extend(self.queue_problems());
        problems.extend(without_handler("attempts", &self.attempts, kinds));
        problems.extend(without_handler("timeout", &self.timeouts, kinds));
        problems
    }

    fn queue_problems(&self) -> Vec<ConfigProblem> {
        if self.queues.is_empty() {
            return vec![ConfigProblem::NoQueues];
        }
        let mut seen = BTreeSet::from([QueueName::suspect()]);
        let twice = self
            .queues
            .iter()
            .filter(|queue| !seen.insert((*queue).clone()));
        twice
            .map(|queue| ConfigProblem::QueueTwice {
                queue: queue.clone(),
            })
            .collect()
    }
}

fn without_handler<V>(
    field: &'static str,
    settings: &[PerKind<V>],
    kinds: &[&TaskKind],
) -> Vec<ConfigProblem> {
    let unused = settings
        .iter()
        .filter(|set| !kinds.iter().any(|kind| set.covers(kind)));
    unused
        .map(|set| ConfigProblem::NoHandler {
            field,
            kind: set.kind.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(config: &WorkerConfig) -> Vec<String> {
        let kind = "demo.echo".parse().unwrap();
        let problems = config.problems(&[&kind]);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_defaults_can_be() {
        assert!(problems(&WorkerConfig::default()).is_empty());
    }

    #[test]
    fn the_prefetch_follows_the_concurrency_unless_it_is_given() {
        let least = |concurrency, prefetch| {
            let config = WorkerConfig {
                concurrency,
                prefetch,
                ..WorkerConfig::default()
            };
            config.prefetch_least().get()
        };

        assert_eq!(least(8, None), 16);
        assert_eq!(least(8, Some(9)), 9);
        assert_eq!(least(u16::MAX, None), u16::MAX);
    }

    #[test]
    fn all_that_cannot_be_is_listed_at_once() {
        let config = WorkerConfig {
            queues: vec![QueueName::tasks(), QueueName::suspect(), QueueName::tasks()],
            concurrency: 8,
            prefetch: Some(4),
            attempts: vec![PerKind {
                kind: "demo.ehco".to_owned(),
                value: 0,
            }],
            ..WorkerConfig::default()
        };

        assert_eq!(
            problems(&config),
            [
                "attempts is 0",
                "prefetch (4) is below concurrency (8)",
                "queues has `tasks.suspect` twice",
                "queues has `tasks` twice",
                "attempts is for kind `demo.ehco`, which has no handler here",
            ]
        );
    }

    #[test]
    fn a_star_stands_for_the_rest_of_a_kind() {
        let covers = |pattern: &str, kind: &str| {
            let set = PerKind {
                kind: pattern.to_owned(),
                value: (),
            };
            set.covers(&kind.parse().unwrap())
        };

        assert!(covers("demo.*", "demo.echo") && covers("*", "x") && covers("x", "x"));
        assert!(!covers("demo", "demo.echo") && !covers("demo.*", "demo"));
    }
}
