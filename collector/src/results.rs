//! Receives from every queue of outcomes there is, and finds new ones.
//!
//! Outcomes may be spread over more queues while this works, and who does so
//! cannot tell it: it looks now and then. What is in a new queue waits there
//! until it is found, and is not lost.

use std::future::{pending, poll_fn};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use homing_broker::{Broker, BrokerError, Consumer, Delivery, Source};
use homing_protocol::ResultsQueues;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// The links to the queues of outcomes, in the order of their numbers.
pub(crate) struct Results {
    consumers: Vec<Consumer>,
    found: mpsc::Receiver<Consumer>,
    looking: JoinHandle<()>,
    is_held: bool,
    /// Whose turn it is.
    turn: usize,
}

impl Results {
    /// Receives from the first, and from the others once they are found, which is
    /// tried at once and again: what ails one of them is no reason to leave all.
    /// `prefetch` is shared out among them.
    ///
    /// # Errors
    ///
    /// [`BrokerError`]: the first cannot be received from.
    pub(crate) async fn open(
        broker: Arc<dyn Broker>,
        prefetch: NonZeroU16,
        look_every: Duration,
    ) -> Result<Self, BrokerError> {
        let there = broker.results_queues().await?;
        let first = broker.consumer(Source::Results(0), share(prefetch, there));
        let consumers = vec![first.await?];
        let (ready, found) = mpsc::channel(1);
        let look = Look {
            broker,
            prefetch,
            every: look_every,
            ready,
        };
        Ok(Self {
            consumers,
            found,
            // Ends once `found` is gone; `close` waits for it.
            looking: tokio::spawn(look.go_on()),
            is_held: false,
            turn: 0,
        })
    }

    /// How many queues it receives from.
    pub(crate) const fn count(&self) -> usize {
        self.consumers.len()
    }

    /// Waits for deliveries from any queue, each in its turn, and takes at most
    /// `max`.
    ///
    /// # Errors
    ///
    /// The number of a queue whose link has ended.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn recv_many(
        &mut self,
        deliveries: &mut Vec<Delivery>,
        max: usize,
    ) -> Result<(), u16> {
        loop {
            tokio::select! {
                biased;
                Some(consumer) = self.found.recv() => self.add(consumer),
                taken = poll_fn(|cx| {
                    poll(&mut self.consumers, &mut self.turn, deliveries, max, cx)
                }) => return taken,
            }
        }
    }

    /// Receives from a new queue too, once one is found. For as long as nothing is
    /// received: what a held link was sent is not to pile up unseen.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub(crate) async fn grow(&mut self) {
        match self.found.recv().await {
            Some(consumer) => self.add(consumer),
            None => pending().await,
        }
    }

    fn add(&mut self, consumer: Consumer) {
        if self.is_held {
            consumer.hold();
        }
        self.consumers.push(consumer);
    }

    /// Asks for nothing more until it resumes.
    pub(crate) fn hold(&mut self) {
        self.is_held = true;
        self.consumers.iter().for_each(Consumer::hold);
    }

    /// Receives again.
    pub(crate) fn resume(&mut self) {
        self.is_held = false;
        self.consumers.iter().for_each(Consumer::resume);
    }

    /// Receives no more; what was not taken goes back.
    pub(crate) fn stop(&mut self) {
        self.found.close();
        while self.found.try_recv().is_ok() {}
        self.consumers.iter_mut().for_each(Consumer::stop);
    }

    /// Waits until the broker has every answer.
    pub(crate) async fn close(mut self) {
        self.stop();
        let _panicked = self.looking.await;
        for consumer in self.consumers {
            consumer.close().await;
        }
    }
}

/// Takes from the first that has something, from `turn` on; the next one has the
/// next turn. Answers the number of one that has ended.
fn poll(
    consumers: &mut [Consumer],
    turn: &mut usize,
    deliveries: &mut Vec<Delivery>,
    max: usize,
    cx: &mut Context<'_>,
) -> Poll<Result<(), u16>> {
    let count = consumers.len();
    for at in (0..count).map(|step| (*turn + step) % count) {
        match consumers[at].poll_recv_many(cx, deliveries, max) {
            Poll::Ready(0) => return Poll::Ready(Err(u16::try_from(at).unwrap_or(u16::MAX))),
            Poll::Ready(_) => {
                *turn = at + 1;
                return Poll::Ready(Ok(()));
            }
            Poll::Pending => {}
        }
    }
    Poll::Pending
}

/// What each of so many queues has of the prefetch: what is held does not grow
/// with them.
fn share(prefetch: NonZeroU16, queues: ResultsQueues) -> NonZeroU16 {
    let share = prefetch.get().div_ceil(queues.get());
    NonZeroU16::new(share).unwrap_or(NonZeroU16::MIN)
}

/// Looks for new queues.
struct Look {
    broker: Arc<dyn Broker>,
    prefetch: NonZeroU16,
    every: Duration,
    ready: mpsc::Sender<Consumer>,
}

impl Look {
    async fn go_on(self) {
        let (mut known, mut said) = (ResultsQueues::ONE, false);
        let mut pause = Duration::ZERO;
        loop {
            let look = async {
                sleep(pause).await;
                self.look(&mut known).await
            };
            let looked = tokio::select! {
                looked = look => looked,
                () = self.ready.closed() => return,
            };
            if let (Err(error), false) = (&looked, said) {
                say_unread(error, known);
            }
            said = looked.is_err();
            pause = self.every;
        }
    }

    async fn look(&self, known: &mut ResultsQueues) -> Result<(), BrokerError> {
        let there = self.broker.results_queues().await?;
        for number in known.get()..there.get() {
            let source = Source::Results(number);
            let consumer = self.broker.consumer(source, share(self.prefetch, there));
            let consumer = consumer.await?;
            if self.ready.send(consumer).await.is_err() {
                return Ok(());
            }
            *known = ResultsQueues::new(number + 1).unwrap_or(there);
            say_found(&self.broker.topology().results_queue(number));
        }
        Ok(())
    }
}

fn say_found(queue: &str) {
    tracing::info!(queue.name = queue, "collecting from queue `{queue}` too");
}

fn say_unread(error: &BrokerError, known: ResultsQueues) {
    tracing::warn!(
        %error,
        "whether there are more queues of outcomes than {known} is not known, or they cannot be \
         read: {error}; outcomes wait there, and this collector looks again",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queues_share_the_prefetch_and_each_has_some() {
        for (prefetch, queues, each) in [(256, 1, 256), (256, 4, 64), (256, 3, 86), (3, 16, 1)] {
            let queues = ResultsQueues::new(queues).unwrap();

            let share = share(NonZeroU16::new(prefetch).unwrap(), queues);

            assert_eq!(share.get(), each);
        }
    }
}
