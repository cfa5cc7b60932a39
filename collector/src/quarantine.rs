//! Takes what is in quarantine: dead letters that were delivered ten times and
//! never stored.
//!
//! RabbitMQ counts each time a collector died while it held a letter, whatever it
//! died of, so most of them are innocent. One of them may not be. So a collector
//! that has worked well for a while takes them one at a time, and notes in the
//! store that it does before anything else is done with one: what RabbitMQ counts
//! goes on from queue to queue on some versions and begins anew on others. One
//! that was taken ten times stays where it is, with those behind it, for an
//! operator to look at.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use homing_broker::{Broker, BrokerError, Consumer, Delivery, Source};
use homing_protocol::{Digest, Received};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::write::{Tries, Try};

/// Tries from which a letter may be what ends collectors.
const TRIES_MAX: u32 = 10;

/// The pause after a try that could not be noted.
const PAUSE: Duration = Duration::from_mins(1);

/// Receives from the quarantine. What waits for something there is a task of its
/// own, so that whoever waits for a letter may cease to, without a try.
pub(crate) struct Quarantine {
    letters: mpsc::Receiver<Delivery>,
    taking: JoinHandle<()>,
}

impl Quarantine {
    /// Takes letters `after` a while.
    pub(crate) fn start(broker: Arc<dyn Broker>, after: Duration, tries: Tries) -> Self {
        let (ready, letters) = mpsc::channel(1);
        // Ends once `letters` is gone; `close` waits for it.
        let taking = tokio::spawn(take(broker, after, tries, ready));
        Self { letters, taking }
    }

    /// The next letter; `None` if there will be none.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost, and no try is counted.
    pub(crate) async fn recv(&mut self) -> Option<Delivery> {
        self.letters.recv().await
    }

    /// Receives no more; what was not taken goes back.
    pub(crate) fn stop(&mut self) {
        self.letters.close();
        while self.letters.try_recv().is_ok() {}
    }

    /// Waits until the broker has every answer.
    pub(crate) async fn close(mut self) {
        self.stop();
        let _panicked = self.taking.await;
    }
}

async fn take(
    broker: Arc<dyn Broker>,
    after: Duration,
    tries: Tries,
    ready: mpsc::Sender<Delivery>,
) {
    let open = async {
        sleep(after).await;
        broker.consumer(Source::Quarantine, NonZeroU16::MIN).await
    };
    let opened = tokio::select! {
        opened = open => opened,
        () = ready.closed() => return,
    };
    match opened {
        Ok(mut consumer) => {
            tokio::select! {
                () = pass_on(&mut consumer, &tries, &ready) => {}
                () = ready.closed() => {}
            }
            consumer.close().await;
        }
        Err(error) => say_unopened(&error),
    }
}

/// Passes letters on, until one comes that is to stay.
async fn pass_on(consumer: &mut Consumer, tries: &Tries, ready: &mpsc::Sender<Delivery>) {
    let mut before = None;
    while let Some(delivery) = consumer.recv().await {
        let letter = identity(&delivery.received);
        // Letters may be alike. Of the one before this process did not die.
        let taken = Try { letter, before };
        before = Some(letter);
        let tries = loop {
            match tries.note(taken).await {
                Some(tries) => break tries,
                None => sleep(PAUSE).await,
            }
        };
        if tries > TRIES_MAX {
            return say_left(&delivery.received);
        }
        if ready.send(delivery).await.is_err() {
            return;
        }
    }
}

/// Tells one letter from another by what nothing can go wrong with.
fn identity(letter: &Received) -> Digest {
    let id = letter.properties.message_id.as_deref().unwrap_or_default();
    Digest::of(&[id.as_bytes(), &letter.body].concat())
}

fn say_left(letter: &Received) {
    tracing::error!(
        message.id = letter.properties.message_id,
        "a dead letter in quarantine may end the collectors that take it: it was taken \
         {TRIES_MAX} times and never stored, so it stays, and so does what is behind it; look at \
         it with RabbitMQ's own tools, and remove it",
    );
}

fn say_unopened(error: &BrokerError) {
    tracing::warn!(
        %error,
        "what is in quarantine stays there: {error}; `read` on it lets this collector store it",
    );
}
