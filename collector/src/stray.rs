//! Sends on tasks that only lost their way: their delay ended while the broker
//! could not find the queue they were meant for.
//!
//! RabbitMQ 3.10 forwards delayed tasks while it is still reading its bindings
//! after a restart, and what it finds no queue for then goes to the dead letters.
//! The queue is there; so the task is published to it. Whatever keeps that from
//! being confirmed leaves the task a dead letter, which somebody can replay.

use std::sync::Arc;
use std::time::Duration;

use homing_broker::{Broker, PublishError, Publisher, Token, Window};
use homing_faults::{Point, crash_point};
use homing_protocol::topology::Topology;
use homing_protocol::{DeadLetter, Destination, Message, Reason};
use tokio::time::{Instant, timeout};

/// How long one may take; outcomes wait meanwhile.
const TIME_MAX: Duration = Duration::from_secs(5);

/// How long none is tried after one that failed.
const REST: Duration = Duration::from_mins(1);

/// Publishes them, over a link that is opened with the first.
pub(crate) struct Strays {
    broker: Arc<dyn Broker>,
    publisher: Option<Publisher>,
    rests_until: Option<Instant>,
}

impl Strays {
    pub(crate) fn new(broker: Arc<dyn Broker>) -> Self {
        Self {
            broker,
            publisher: None,
            rests_until: None,
        }
    }

    /// Publishes the task in `letter`, if it only lost its way, and acks it. The
    /// token comes back if the letter is to be stored.
    pub(crate) async fn send_on(&mut self, letter: &DeadLetter, token: Token) -> Option<Token> {
        let Some(message) = way(letter, self.broker.topology()) else {
            return Some(token);
        };
        if self.rests_until.is_some_and(|until| Instant::now() < until) {
            return Some(token);
        }
        let publisher = match self.publisher().await {
            Ok(publisher) => publisher,
            Err(error) => {
                self.rest(&error);
                return Some(token);
            }
        };
        match publisher.replace(vec![token], vec![message]).await {
            Ok(replaced) => {
                crash_point(Point::CollectorStraySent);
                tracing::info!(
                    "a task whose delay ended while its queue could not be found is in it now"
                );
                replaced.ack();
                None
            }
            Err((error, mut tokens)) => {
                // There is no such queue: that is what the letter says.
                if !matches!(error, PublishError::Unroutable { .. }) {
                    self.rest(&error.to_string());
                }
                tokens.pop()
            }
        }
    }

    async fn publisher(&mut self) -> Result<Publisher, String> {
        if let Some(publisher) = &self.publisher {
            return Ok(publisher.clone());
        }
        let window = Window {
            deadline: Some(TIME_MAX),
            ..Window::DEFAULT
        };
        let opened = timeout(TIME_MAX, self.broker.publisher(window)).await;
        let opened = opened.map_err(|_| "the broker does not answer in time".to_owned())?;
        let publisher = opened.map_err(|error| error.to_string())?;
        Ok(self.publisher.insert(publisher).clone())
    }

    fn rest(&mut self, error: &str) {
        self.rests_until = Some(Instant::now() + REST);
        tracing::warn!(
            error,
            "tasks whose delay ended while their queue could not be found cannot be put into it: \
             they are kept as dead letters, and `homing replay` runs them: {error}",
        );
    }

    /// Closes the link, if there is one.
    pub(crate) async fn close(self) {
        if let Some(publisher) = self.publisher {
            publisher.close().await;
        }
    }
}

/// The message that puts the task in `letter` where it was to be when its delay
/// ended; `None` of any other letter.
fn way(letter: &DeadLetter, topology: &Topology) -> Option<Message> {
    let delayed = letter.reason == Reason::Unroutable && !letter.received.deaths.is_empty();
    let queue = topology.delayed_to(&letter.received.routing_key);
    let queue = queue.filter(|_| delayed)?;
    // A foreign client's id may be all that tells which task it is.
    let id = letter.received.properties.message_id.clone();
    let mut message = letter
        .received
        .again(Destination::Queue(queue), String::new());
    message.properties.message_id = id;
    Some(message)
}

#[cfg(test)]
mod tests {
    use homing_protocol::{Death, Properties, QueueName, Received, Timestamp};

    use super::*;

    fn topology() -> Topology {
        Topology::new("ns".parse().unwrap(), [])
    }

    /// What comes to the queue of dead letters after it died in `queue`.
    fn letter(died_in: &str, routing_key: &str) -> DeadLetter {
        let received = Received {
            properties: Properties {
                message_id: Some("m".to_owned()),
                ..Properties::default()
            },
            body: (&b"1"[..]).into(),
            exchange: "ns.delay.0".to_owned(),
            routing_key: routing_key.to_owned(),
            redelivered: false,
            delivery_count: 0,
            deaths: vec![Death {
                reason: "expired".to_owned(),
                queue: died_in.to_owned(),
                count: 1,
                time: None,
            }],
        };
        let strip = |name: &str| name.strip_prefix("ns.").unwrap_or(name).to_owned();
        DeadLetter::decode(received, strip, Timestamp::from_ms(0))
    }

    fn delayed(queue: &str) -> String {
        let queue = queue.parse::<QueueName>().unwrap();
        let (_, key) = topology().route(&Destination::Delayed { queue, secs: 5 });
        key
    }

    #[test]
    fn a_delayed_task_goes_to_the_queue_it_was_meant_for() {
        for queue in ["tasks", "tasks.big", "tasks.suspect"] {
            let message = way(&letter("ns.delay.0", &delayed(queue)), &topology()).unwrap();

            let expected = Destination::Queue(queue.parse().unwrap());
            assert_eq!(message.destination, expected);
            assert_eq!(message.properties.message_id.as_deref(), Some("m"));
            assert_eq!(&message.body[..], b"1");
        }
    }

    #[test]
    fn whatever_else_is_dead_stays_so() {
        let key = delayed("tasks");
        let others = [
            ("ns.tasks", key.as_str()),
            ("ns.delay.0", "ns.tasks"),
            ("ns.delay.0", &key.replace("ns.tasks", "other.tasks")),
            ("ns.delay.0", &key.replace("ns.tasks", "ns.results")),
            ("ns.delay.0", ""),
        ];

        for (died_in, routing_key) in others {
            assert_eq!(
                way(&letter(died_in, routing_key), &topology()),
                None,
                "{routing_key}"
            );
        }
    }
}
