//! The exchanges and queues, as data: what a broker implementation declares
//! and where it sends each [`Destination`].
//!
//! Queue arguments never change: another value for one is a 406 on a live
//! system. Why each is as it is stands in `docs/topology.md`.

use crate::message::Destination;
use crate::name::{Namespace, QueueName};
use crate::results::ResultsQueues;

/// Levels of delay, of 1, 2, 4 … 65,536 seconds: any delay up to 36 hours is a
/// path through some of them.
pub const DELAY_LEVELS: u32 = 17;

/// The longest delay the levels can hold: 131,071 seconds.
pub const DELAY_SECS_MAX: u32 = (1 << DELAY_LEVELS) - 1;

/// How many routing keys outcomes come with, so that they can be spread over
/// several queues by binding: [`ResultsQueues`].
pub const RESULT_KEYS: u16 = 256;

/// Returns of a task before RabbitMQ dead-letters it by itself. A net below the
/// workers, which move a task to the suspects at the third.
const TASKS_DELIVERY_LIMIT: i64 = 1_000;

/// Crashes alone before a suspect is dead.
pub const SUSPECT_DELIVERY_LIMIT: i64 = 10;

/// Returns of a dead letter before it goes to the quarantine: it kills even the
/// link of the collector.
const DEAD_DELIVERY_LIMIT: i64 = 10;

/// Practically none. No argument means 20 since RabbitMQ 4.0, after which an
/// outcome would be dropped in silence; -1 means dropped at the first return on
/// 3.10.
const NO_DELIVERY_LIMIT: i64 = 1_000_000;

/// The value of a queue argument.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Argument {
    /// Text that is the same in every namespace.
    Text(&'static str),
    /// A number.
    Int(i64),
}

/// How an exchange chooses among its bindings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExchangeKind {
    /// By the exact routing key.
    Direct,
    /// To all.
    Fanout,
    /// By a pattern of words.
    Topic,
}

impl ExchangeKind {
    /// AMQP's name for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
        }
    }
}

/// An exchange to declare, durable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exchange {
    /// Its full name.
    pub name: String,
    /// How it chooses.
    pub kind: ExchangeKind,
    /// Full name of the exchange that takes what no binding does.
    pub alternate: Option<String>,
}

/// A queue to declare: durable, of type quorum.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Queue {
    /// Its full name.
    pub name: String,
    /// Full name of the exchange its dead letters go to, at least once.
    pub dead_letter_exchange: Option<String>,
    /// Its other arguments.
    pub arguments: Vec<(&'static str, Argument)>,
}

/// A binding to declare.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    /// Full name of the exchange messages come through.
    pub source: String,
    /// The routing key or pattern.
    pub key: String,
    /// Where they go.
    pub target: Target,
}

/// Where a binding leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// The queue of this full name.
    Queue(String),
    /// The exchange of this full name.
    Exchange(String),
}

/// All that a pipeline needs in its broker.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topology {
    namespace: Namespace,
    queues: Vec<QueueName>,
}

impl Topology {
    /// The topology of `namespace` with these queues of tasks beside `tasks`
    /// and `tasks.suspect`, which are always there.
    pub fn new(namespace: Namespace, queues: impl IntoIterator<Item = QueueName>) -> Self {
        let mut all = vec![QueueName::tasks(), QueueName::suspect()];
        for queue in queues {
            if !all.contains(&queue) {
                all.push(queue);
            }
        }
        Self {
            namespace,
            queues: all,
        }
    }

    /// The namespace.
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The queues of tasks, `tasks` and `tasks.suspect` among them.
    pub fn task_queues(&self) -> &[QueueName] {
        &self.queues
    }

    /// The full name of a queue of tasks.
    pub fn queue(&self, queue: &QueueName) -> String {
        self.namespace.name(queue.as_str())
    }

    /// The full name of the exchange of outcomes, and of their first queue.
    pub fn results(&self) -> String {
        self.namespace.name("results")
    }

    /// The full name of the queue of outcomes with this number.
    pub fn results_queue(&self, number: u16) -> String {
        match number {
            0 => self.results(),
            _ => self.namespace.name(&format!("results.{number}")),
        }
    }

    /// The queues of outcomes, if there are so many.
    pub fn results_queues(&self, queues: ResultsQueues) -> Vec<Queue> {
        let numbers = queues.numbers();
        numbers
            .map(|number| Queue {
                name: self.results_queue(number),
                dead_letter_exchange: None,
                arguments: limit(NO_DELIVERY_LIMIT),
            })
            .collect()
    }

    /// The binding by which outcomes with the routing key `key` reach the queue of
    /// this number.
    pub fn results_binding(&self, key: u16, number: u16) -> Binding {
        Binding {
            source: self.results(),
            key: key.to_string(),
            target: Target::Queue(self.results_queue(number)),
        }
    }

    /// The full name of what only one process at a time may have: whoever spreads
    /// outcomes over queues.
    pub fn results_lock(&self) -> String {
        self.namespace.name("results.lock")
    }

    /// The full name of the queue of dead letters.
    pub fn dead(&self) -> String {
        self.namespace.name("dead")
    }

    /// The full name of the queue nobody consumes.
    pub fn quarantine(&self) -> String {
        self.namespace.name("quarantine")
    }

    /// The full name of the exchange that replies go through.
    pub fn replies(&self) -> String {
        self.namespace.name("replies")
    }

    /// The full names of the delay queues, from 1 second up.
    pub fn delays(&self) -> Vec<String> {
        (0..DELAY_LEVELS).map(|level| self.delay(level)).collect()
    }

    fn delay(&self, level: u32) -> String {
        self.namespace.name(&format!("delay.{level}"))
    }

    /// The full name of the exchange that delayed tasks come out of.
    pub fn due(&self) -> String {
        self.namespace.name("due")
    }

    /// The exchange and routing key that lead to `destination`.
    pub fn route(&self, destination: &Destination) -> (String, String) {
        match destination {
            Destination::Queue(queue) => (self.namespace.name("tasks"), self.queue(queue)),
            Destination::Delayed { queue, secs } => {
                let level = (*secs).clamp(1, DELAY_SECS_MAX).ilog2();
                (self.delay(level), delay_key(*secs, &self.queue(queue)))
            }
            Destination::Results { key } => (self.results(), key.to_string()),
            Destination::Batches => (self.namespace.name("batches"), String::new()),
            Destination::Dead => (self.dead(), String::new()),
            Destination::Reply { address } => (self.replies(), address.clone()),
            Destination::Foreign { queue } => (String::new(), queue.clone()),
        }
    }

    /// The queue that a delayed task with this routing key is meant for; `None` if
    /// that is no queue of tasks in this namespace.
    pub fn delayed_to(&self, routing_key: &str) -> Option<QueueName> {
        let levels = DELAY_LEVELS as usize;
        let queue = routing_key.splitn(levels + 1, '.').nth(levels)?;
        self.namespace.strip(queue)?.parse().ok()
    }

    /// The exchanges, in an order in which they can be declared.
    pub fn exchanges(&self) -> Vec<Exchange> {
        let plain = |name: &str, kind| Exchange {
            name: self.namespace.name(name),
            kind,
            alternate: None,
        };
        let mut exchanges = vec![
            plain("tasks", ExchangeKind::Direct),
            plain("results", ExchangeKind::Direct),
            plain("batches", ExchangeKind::Fanout),
            plain("replies", ExchangeKind::Direct),
            plain("dead", ExchangeKind::Fanout),
            plain("quarantine", ExchangeKind::Fanout),
            Exchange {
                alternate: Some(self.dead()),
                ..plain("due", ExchangeKind::Topic)
            },
        ];
        let delays = self.delays().into_iter().map(|name| Exchange {
            name,
            kind: ExchangeKind::Topic,
            alternate: None,
        });
        exchanges.extend(delays);
        exchanges
    }

    /// The queues, with `results` as the only one of outcomes.
    pub fn queues(&self) -> Vec<Queue> {
        self.queues_with(ResultsQueues::ONE)
    }

    /// The queues, with so many of outcomes.
    pub fn queues_with(&self, results: ResultsQueues) -> Vec<Queue> {
        let mut queues: Vec<_> = self
            .queues
            .iter()
            .map(|queue| {
                let suspect = *queue == QueueName::suspect();
                Queue {
                    name: self.queue(queue),
                    dead_letter_exchange: Some(self.dead()),
                    arguments: limit(if suspect {
                        SUSPECT_DELIVERY_LIMIT
                    } else {
                        TASKS_DELIVERY_LIMIT
                    }),
                }
            })
            .collect();
        queues.extend(self.results_queues(results));
        queues.push(Queue {
            name: self.dead(),
            dead_letter_exchange: Some(self.quarantine()),
            arguments: limit(DEAD_DELIVERY_LIMIT),
        });
        queues.push(Queue {
            name: self.quarantine(),
            dead_letter_exchange: None,
            arguments: limit(NO_DELIVERY_LIMIT),
        });
        queues.extend((0..DELAY_LEVELS).map(|level| self.delay_queue(level)));
        queues
    }

    fn delay_queue(&self, level: u32) -> Queue {
        let next = match level.checked_sub(1) {
            Some(below) => self.delay(below),
            None => self.due(),
        };
        Queue {
            name: self.delay(level),
            dead_letter_exchange: Some(next),
            arguments: vec![("x-message-ttl", Argument::Int(1_000 << level))],
        }
    }

    /// The bindings, with `results` as the only queue of outcomes.
    pub fn bindings(&self) -> Vec<Binding> {
        let to_queue = |source: &str, key: String, queue: String| Binding {
            source: self.namespace.name(source),
            key,
            target: Target::Queue(queue),
        };
        let mut bindings = vec![
            to_queue("batches", String::new(), self.results()),
            to_queue("dead", String::new(), self.dead()),
            to_queue("quarantine", String::new(), self.quarantine()),
        ];
        for queue in &self.queues {
            let name = self.queue(queue);
            let after_delay = format!("{}{name}", "*.".repeat(DELAY_LEVELS as usize));
            bindings.push(to_queue("tasks", name.clone(), name.clone()));
            bindings.push(to_queue("due", after_delay, name));
        }
        bindings.extend((0..RESULT_KEYS).map(|key| self.results_binding(key, 0)));
        for level in 0..DELAY_LEVELS {
            bindings.extend(self.delay_bindings(level));
        }
        bindings
    }

    /// A key whose bit of this level is set waits in the level's queue; any
    /// other goes on to the level below.
    fn delay_bindings(&self, level: u32) -> [Binding; 2] {
        let stars = "*.".repeat((DELAY_LEVELS - 1 - level) as usize);
        let below = match level.checked_sub(1) {
            Some(below) => self.delay(below),
            None => self.due(),
        };
        let bind = |bit, target| Binding {
            source: self.delay(level),
            key: format!("{stars}{bit}.#"),
            target,
        };
        [
            bind(1, Target::Queue(self.delay(level))),
            bind(0, Target::Exchange(below)),
        ]
    }
}

/// The argument that states a queue's delivery limit.
fn limit(limit: i64) -> Vec<(&'static str, Argument)> {
    vec![("x-delivery-limit", Argument::Int(limit))]
}

/// The bits of the delay as words, the highest first, then the queue.
fn delay_key(secs: u32, queue: &str) -> String {
    let secs = secs.clamp(1, DELAY_SECS_MAX);
    let mut key = String::with_capacity(2 * DELAY_LEVELS as usize + queue.len());
    for level in (0..DELAY_LEVELS).rev() {
        key.push(if secs >> level & 1 == 1 { '1' } else { '0' });
        key.push('.');
    }
    key.push_str(queue);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{NAME_BYTES_MAX, NAMESPACE_BYTES_MAX, QUEUE_NAME_BYTES_MAX};

    fn topology(namespace: &str) -> Topology {
        Topology::new(namespace.parse().unwrap(), [])
    }

    /// Follows the topic bindings as RabbitMQ would, adding up the queues' time
    /// to live.
    fn walk(topology: &Topology, destination: &Destination) -> (u64, String) {
        let (mut at, key) = topology.route(destination);
        let words: Vec<_> = key.split('.').collect();
        let (mut bindings, queues) = (topology.bindings(), topology.queues());
        bindings.retain(|binding| matches(&binding.key, &words));
        let mut secs = 0;
        loop {
            let hit: Vec<_> = bindings.iter().filter(|b| b.source == at).collect();
            assert_eq!(hit.len(), 1, "{at} {key}");
            match &hit[0].target {
                Target::Exchange(name) => at = name.clone(),
                Target::Queue(name) => {
                    let queue = queues.iter().find(|q| q.name == *name).unwrap();
                    let ttl = queue
                        .arguments
                        .iter()
                        .find(|(name, _)| *name == "x-message-ttl");
                    let Some((_, Argument::Int(ms))) = ttl else {
                        return (secs, name.clone());
                    };
                    secs += ms.unsigned_abs() / 1_000;
                    at = queue.dead_letter_exchange.clone().unwrap();
                }
            }
        }
    }

    fn matches(pattern: &str, words: &[&str]) -> bool {
        let mut words = words.iter();
        for part in pattern.split('.') {
            match part {
                "#" => return true,
                "*" if words.next().is_some() => {}
                part if words.next() == Some(&part) => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }

    #[test]
    fn every_delay_adds_up_and_ends_in_its_queue() {
        let topology = topology("ns");
        for secs in [1, 2, 3, 4, 7, 59, 60, 3_600, 65_536, 99_999, DELAY_SECS_MAX] {
            let queue = QueueName::tasks();

            let walked = walk(&topology, &Destination::Delayed { queue, secs });

            assert_eq!(walked, (u64::from(secs), "ns.tasks".to_owned()));
        }
    }

    #[test]
    fn every_consumed_queue_states_a_delivery_limit() {
        for queue in topology("").queues() {
            let delay = queue.name.starts_with("delay.");
            let limit = queue.arguments.iter().any(|(name, value)| {
                *name == "x-delivery-limit" && matches!(value, Argument::Int(1..))
            });
            assert!(delay || limit, "{}", queue.name);
        }
    }

    #[test]
    fn the_longest_names_fit_a_routing_key() {
        let namespace = "n".repeat(NAMESPACE_BYTES_MAX);
        let queue = format!("tasks.{}", "q".repeat(QUEUE_NAME_BYTES_MAX - 6));
        let destination = Destination::Delayed {
            queue: queue.parse().unwrap(),
            secs: 5,
        };

        let (exchange, key) = topology(&namespace).route(&destination);

        assert!(exchange.len() <= NAME_BYTES_MAX && key.len() <= NAME_BYTES_MAX);
    }

    #[test]
    fn every_binding_joins_declared_ends() {
        let topology = Topology::new("a".parse().unwrap(), ["tasks.big".parse().unwrap()]);
        let exchanges: Vec<_> = topology.exchanges().into_iter().map(|e| e.name).collect();
        let queues: Vec<_> = topology.queues().into_iter().map(|q| q.name).collect();

        for binding in topology.bindings() {
            assert!(exchanges.contains(&binding.source), "{binding:?}");
            match &binding.target {
                Target::Queue(name) => assert!(queues.contains(name), "{binding:?}"),
                Target::Exchange(name) => assert!(exchanges.contains(name), "{binding:?}"),
            }
        }
    }
}
