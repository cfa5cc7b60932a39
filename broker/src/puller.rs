use tokio::sync::{mpsc, oneshot};

use crate::consumer::Delivery;

/// What the handle of a puller asks its link.
#[derive(Debug)]
pub(crate) enum Ask {
    /// How many messages wait.
    Waiting(oneshot::Sender<u64>),
    /// One of them.
    Pull(oneshot::Sender<Delivery>),
}

/// Takes from one queue, a message at a time and only when asked.
///
/// A [`Consumer`](crate::Consumer) holds a delivery before anybody is ready for
/// it, and the broker counts its return if the process dies meanwhile. What is
/// pulled is in use at once.
#[derive(Debug)]
pub struct Puller {
    asks: mpsc::UnboundedSender<Ask>,
    ended: oneshot::Receiver<()>,
}

impl Puller {
    /// The handle, what it asks, and what its link drops when it ends.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Ask>, oneshot::Sender<()>) {
        let (asks, asked) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        (Self { asks, ended }, asked, end)
    }

    /// How many messages wait, once every delivery from here is answered. `None`
    /// if there is no connection, or it broke over the question.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn waiting(&self) -> Option<u64> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Waiting(answer)).ok()?;
        answered.await.ok()
    }

    /// A message, once every delivery before it is answered. `None` if there is
    /// none, or no connection, or it broke over the question.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, the message goes back to its queue, and the
    /// broker counts that.
    pub async fn pull(&self) -> Option<Delivery> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Pull(answer)).ok()?;
        answered.await.ok()
    }

    /// Asks for nothing more, and waits until every delivery is answered and the
    /// broker has the answers.
    pub async fn close(self) {
        drop(self.asks);
        let _ended = self.ended.await;
    }
}
