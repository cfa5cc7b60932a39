use std::time::Duration;

use homing_broker::{PublishError, Publisher, Replaced, Token};
use homing_protocol::Message;
use tokio_util::sync::CancellationToken;

use super::ending::{Cause, Ending};

/// The pause before a refused message is published again, doubled each time.
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// The longest pause: an operator who has repaired the topology sees it work
/// within this.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// Publishes what takes the place of deliveries, until the broker has it.
#[derive(Clone, Debug)]
pub(super) struct Publishing {
    publisher: Publisher,
    ending: Ending,
    /// Cancelled when nothing more is to be waited for.
    pub(super) abandoned: CancellationToken,
}

/// Why nothing was published in the place of deliveries.
#[derive(Debug)]
pub(super) enum Unpublished {
    /// A message is too large and always will be; the deliveries are still held.
    TooLarge(PublishError, Vec<Token>),
    /// The worker ends; the deliveries have gone back.
    Abandoned,
}

impl Publishing {
    pub(super) fn new(publisher: Publisher, ending: Ending) -> Self {
        Self {
            publisher,
            ending,
            abandoned: CancellationToken::new(),
        }
    }

    /// Publishes what `messages` makes, again and again until all of it is
    /// confirmed. Each time it makes new ones, since a message id is unique.
    pub(super) async fn replace(
        &self,
        tokens: Vec<Token>,
        messages: impl Fn() -> Vec<Message>,
    ) -> Result<Replaced, Unpublished> {
        tokio::select! {
            biased;
            replaced = self.insist(tokens, messages) => replaced,
            () = self.abandoned.cancelled() => Err(Unpublished::Abandoned),
        }
    }

    async fn insist(
        &self,
        mut tokens: Vec<Token>,
        messages: impl Fn() -> Vec<Message>,
    ) -> Result<Replaced, Unpublished> {
        let mut pause = PAUSE_FIRST;
        loop {
            let (error, back) = match self.publisher.replace(tokens, messages()).await {
                Ok(replaced) => return Ok(replaced),
                Err(failed) => failed,
            };
            tokens = back;
            match error {
                PublishError::TooLarge { .. } => {
                    return Err(Unpublished::TooLarge(error, tokens));
                }
                PublishError::Closed => {
                    self.ending.begin(Cause::Publisher);
                    return Err(Unpublished::Abandoned);
                }
                _ => {}
            }
            if pause == PAUSE_FIRST {
                tracing::error!(%error, tasks = tokens.len(), "cannot publish what takes the place of a task; trying on");
            }
            tokio::time::sleep(pause.mul_f64(1.0 - rand::random::<f64>() / 2.0)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Waits until the link is closed.
    pub(super) async fn close(self) {
        self.publisher.close().await;
    }
}
