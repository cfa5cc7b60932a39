//! Takes what is in quarantine: dead letters that were delivered ten times and
//! never stored.
//!
//! RabbitMQ counts each time a collector died while it held a letter, whatever it
//! died of, so most of them are innocent. One of them may not be. So a collector
//! that has worked well for a while takes them one at a time, and one that has
//! ended collectors three times from here stays where it is, with those behind
//! it, for an operator to look at.

use std::future::pending;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use homing_broker::{Broker, BrokerError, Consumer, Delivery, Source};
use homing_protocol::topology::Topology;
use tokio::time::{Instant, sleep_until};

/// Returns from which a letter may be what ends collectors.
const RETURNS_MAX: u32 = 3;

/// The link to the quarantine, from the time on that there is one.
pub(crate) struct Quarantine {
    broker: Arc<dyn Broker>,
    opens_at: Instant,
    state: State,
}

enum State {
    /// It is not time yet.
    Waiting,
    Open(Consumer),
    /// Not permitted, or what comes first there is not to be touched; its delivery
    /// is held, so that nothing else comes.
    Closed {
        _held: Option<Box<(Consumer, Delivery)>>,
    },
}

impl Quarantine {
    pub(crate) fn new(broker: Arc<dyn Broker>, after: Duration) -> Self {
        Self {
            broker,
            opens_at: Instant::now() + after,
            state: State::Waiting,
        }
    }

    /// The next letter, as it was before it came here.
    pub(crate) async fn recv(&mut self, topology: &Topology) -> Delivery {
        loop {
            let received = match &mut self.state {
                State::Closed { .. } => pending().await,
                State::Open(consumer) => consumer.recv().await,
                State::Waiting => {
                    sleep_until(self.opens_at).await;
                    self.open().await;
                    continue;
                }
            };
            let Some(mut delivery) = received else {
                self.state = State::Closed { _held: None };
                continue;
            };
            if delivery.received.delivery_count >= RETURNS_MAX {
                self.leave(delivery);
                continue;
            }
            let dead = topology.dead();
            delivery.received.deaths.retain(|death| death.queue != dead);
            return delivery;
        }
    }

    async fn open(&mut self) {
        let opened = self
            .broker
            .consumer(Source::Quarantine, NonZeroU16::MIN)
            .await;
        self.state = match opened {
            Ok(consumer) => State::Open(consumer),
            Err(error) => {
                say_unopened(&error);
                State::Closed { _held: None }
            }
        };
    }

    fn leave(&mut self, delivery: Delivery) {
        tracing::error!(
            message.id = delivery.received.properties.message_id,
            "a dead letter in quarantine may end the collectors that take it: it was returned {} \
             times from there, so it stays, and so does what is behind it; look at it with \
             RabbitMQ's own tools, and remove it",
            delivery.received.delivery_count,
        );
        let state = std::mem::replace(&mut self.state, State::Closed { _held: None });
        if let State::Open(consumer) = state {
            let _held = Some(Box::new((consumer, delivery)));
            self.state = State::Closed { _held };
        }
    }

    /// What receives, to be held while the store cannot be written.
    pub(crate) const fn consumer(&self) -> Option<&Consumer> {
        match &self.state {
            State::Open(consumer) => Some(consumer),
            State::Waiting | State::Closed { .. } => None,
        }
    }

    /// Receives no more.
    pub(crate) fn stop(&mut self) {
        if let State::Open(consumer) = &mut self.state {
            consumer.stop();
        }
    }

    /// Waits until the broker has every answer.
    pub(crate) async fn close(self) {
        if let State::Open(consumer) = self.state {
            consumer.close().await;
        }
    }
}

fn say_unopened(error: &BrokerError) {
    tracing::warn!(
        %error,
        "what is in quarantine stays there: {error}; `read` on it lets this collector store it",
    );
}
