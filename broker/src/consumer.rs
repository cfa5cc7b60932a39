use std::mem;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use homing_protocol::{Proof, Received};
use tokio::sync::{mpsc, oneshot, watch};

/// An answer to a delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    /// It is settled.
    Ack,
    /// It is to be delivered again.
    Requeue,
}

/// What a consumer's handles say to its link.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Command {
    /// The answer to the delivery `tag` of one connection.
    Answer(u64, Answer),
    /// So many parts of it are done with.
    Parts(u64, usize),
}

/// A message from a broker, and the right to answer for it.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub received: Box<Received>,
    /// The right to answer for it.
    pub token: Token,
}

/// The right to answer for a delivery, or for parts of it.
///
/// Dropped, the delivery goes back to its queue.
#[derive(Debug)]
pub struct Token {
    lease: Arc<Lease>,
    settled: bool,
    /// How many parts it stands for; 0 if there are no others.
    parts: usize,
}

/// A delivery without an answer. The last token of it that goes gives the
/// answer: acked if all were.
#[derive(Debug)]
struct Lease {
    tag: u64,
    held_since: Instant,
    commands: mpsc::UnboundedSender<Command>,
    requeue: AtomicBool,
}

impl Token {
    pub(crate) fn new(tag: u64, commands: mpsc::UnboundedSender<Command>) -> Self {
        Self {
            lease: Arc::new(Lease {
                tag,
                held_since: Instant::now(),
                commands,
                requeue: AtomicBool::new(false),
            }),
            settled: false,
            parts: 0,
        }
    }

    /// Since when the delivery is here: the broker waits for its answer about as
    /// long.
    pub fn held_since(&self) -> Instant {
        self.lease.held_since
    }

    /// Whether the connection it came over is gone: an answer would go nowhere,
    /// since the broker delivers the message again.
    pub fn is_lost(&self) -> bool {
        self.lease.commands.is_closed()
    }

    /// Splits it into one for each of `parts` tasks of the delivery, which is
    /// acked once all are.
    ///
    /// # Panics
    ///
    /// Panics if `parts` is 0: there would be nobody to answer.
    pub fn split(mut self, parts: usize) -> Vec<Self> {
        assert!(parts > 0, "a delivery has at least one task");
        let each = usize::from(parts > 1);
        self.parts = each;
        let mut tokens: Vec<_> = (1..parts)
            .map(|_| Self {
                lease: Arc::clone(&self.lease),
                settled: false,
                parts: each,
            })
            .collect();
        tokens.push(self);
        tokens
    }

    /// Says that what takes its place is safe, which `proof` shows.
    ///
    /// ```
    /// # use homing_broker::{PublishError, Publisher, Token};
    /// # use homing_protocol::Message;
    /// async fn replace(publisher: Publisher, token: Token, message: Message) -> Result<(), PublishError> {
    ///     let confirmed = publisher.publish(message).await?.await?;
    ///     token.ack(&confirmed);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// An ack that loses the delivery if the process dies now does not compile.
    /// Without a proof:
    ///
    /// ```compile_fail,E0061
    /// # use homing_broker::Token;
    /// fn ack(token: Token) {
    ///     token.ack();
    /// }
    /// ```
    ///
    /// With a message that is on its way and not confirmed yet:
    ///
    /// ```compile_fail,E0277
    /// # use homing_broker::{PublishError, Publisher, Token};
    /// # use homing_protocol::Message;
    /// async fn replace(publisher: Publisher, token: Token, message: Message) -> Result<(), PublishError> {
    ///     let confirm = publisher.publish(message).await?;
    ///     token.ack(&confirm);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// With a proof of one's own making:
    ///
    /// ```compile_fail,E0423
    /// # use homing_broker::{Confirmed, Token};
    /// fn ack(token: Token) {
    ///     token.ack(&Confirmed(()));
    /// }
    /// ```
    ///
    /// A second time, for whatever has the tag by then:
    ///
    /// ```compile_fail,E0382
    /// # use homing_broker::{Confirmed, Token};
    /// fn ack(token: Token, confirmed: Confirmed) {
    ///     token.ack(&confirmed);
    ///     token.ack(&confirmed);
    /// }
    /// ```
    ///
    /// By a copy of it:
    ///
    /// ```compile_fail,E0599
    /// # use homing_broker::{Confirmed, Token};
    /// fn ack(token: Token, confirmed: Confirmed) {
    ///     token.clone().ack(&confirmed);
    /// }
    /// ```
    pub fn ack(mut self, _proof: &impl Proof) {
        self.settled = true;
    }

    /// Acks many: of parts of a delivery that stand together its link hears once.
    pub(crate) fn ack_all(tokens: Vec<Self>, proof: &impl Proof) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(mut token) = tokens.next() {
            while let Some(next) = tokens.next_if(|next| Arc::ptr_eq(&next.lease, &token.lease)) {
                token.join(next);
            }
            token.ack(proof);
        }
    }

    /// Makes another of the same delivery a part of this one.
    fn join(&mut self, mut other: Self) {
        self.parts += mem::take(&mut other.parts);
        other.settled = true;
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if !self.settled {
            self.lease.requeue.store(true, Ordering::Release);
        }
        if self.parts > 0 {
            let parts = Command::Parts(self.lease.tag, self.parts);
            // As below.
            let _gone = self.lease.commands.send(parts);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let answer = if self.requeue.load(Ordering::Acquire) {
            Answer::Requeue
        } else {
            Answer::Ack
        };
        // The link is gone: so is the connection the delivery came over, and
        // the broker has put it back.
        let _gone = self.commands.send(Command::Answer(self.tag, answer));
    }
}

/// What the handle of a consumer wants of its link.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wish {
    /// Deliveries.
    Receive,
    /// None for now.
    Hold,
    /// No more.
    Stop,
}

/// Receives from one queue.
///
/// Receives again by itself after the connection broke; the deliveries of the
/// old one come again, maybe to another consumer.
#[derive(Debug)]
pub struct Consumer {
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    wish: watch::Sender<Wish>,
    prefetch: watch::Sender<NonZeroU16>,
    quiet: watch::Receiver<bool>,
    ended: oneshot::Receiver<()>,
}

/// The link's end of a [`Consumer`].
#[derive(Debug)]
pub(crate) struct ConsumerEnd {
    pub(crate) deliveries: mpsc::UnboundedSender<Delivery>,
    pub(crate) wish: watch::Receiver<Wish>,
    /// In tasks.
    pub(crate) prefetch: watch::Receiver<NonZeroU16>,
    /// Whether nothing is received and nothing is open.
    pub(crate) quiet: watch::Sender<bool>,
    /// Dropped with the link, which tells the handle that it ended.
    pub(crate) _ended: oneshot::Sender<()>,
}

/// Tells when a [held](Consumer::hold) consumer has nothing open.
#[derive(Clone, Debug)]
pub struct Quiet(watch::Receiver<bool>);

impl Quiet {
    /// Waits until the consumer is held and all that it received is answered;
    /// or until it has ended, which is quiet too.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn reached(&mut self) {
        let _ended = self.0.wait_for(|quiet| *quiet).await;
    }
}

/// Changes how many tasks a consumer holds.
#[derive(Clone, Debug)]
pub struct SetPrefetch(watch::Sender<NonZeroU16>);

impl SetPrefetch {
    /// Holds about as many tasks as this from now on. What is here stays.
    ///
    /// A larger number is asked for once all is here that was asked for before, a
    /// smaller one at once; the broker does not count what came before, so that for
    /// a while twice as much may be held.
    pub fn to(&self, prefetch: NonZeroU16) {
        self.0.send_replace(prefetch);
    }
}

impl Consumer {
    pub(crate) fn new(prefetch: NonZeroU16) -> (Self, ConsumerEnd) {
        let (deliveries, rx) = mpsc::unbounded_channel();
        let (wish, wished) = watch::channel(Wish::Receive);
        let (prefetch, aimed) = watch::channel(prefetch);
        let (quiet, is_quiet) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let consumer = Self {
            deliveries: rx,
            wish,
            prefetch,
            quiet: is_quiet,
            ended,
        };
        let end = ConsumerEnd {
            deliveries,
            wish: wished,
            prefetch: aimed,
            quiet,
            _ended: end,
        };
        (consumer, end)
    }

    /// The next delivery; `None` once it was stopped and none are left.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, nothing is lost.
    pub async fn recv(&mut self) -> Option<Delivery> {
        self.deliveries.recv().await
    }

    /// Waits for a delivery and takes it and those behind it, at most `max`.
    /// Answers how many; 0 once it was stopped and none are left.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it answers, nothing is lost.
    pub async fn recv_many(&mut self, deliveries: &mut Vec<Delivery>, max: usize) -> usize {
        self.deliveries.recv_many(deliveries, max).await
    }

    /// [`recv_many`](Self::recv_many) for whoever polls several consumers.
    pub fn poll_recv_many(
        &mut self,
        cx: &mut Context<'_>,
        deliveries: &mut Vec<Delivery>,
        max: usize,
    ) -> Poll<usize> {
        self.deliveries.poll_recv_many(cx, deliveries, max)
    }

    /// Asks for nothing more until it [resumes](Self::resume). What is on its way
    /// already still comes, so go on receiving.
    pub fn hold(&self) {
        self.wish.send_replace(Wish::Hold);
    }

    /// Receives again after a [`hold`](Self::hold).
    pub fn resume(&self) {
        self.wish.send_replace(Wish::Receive);
    }

    /// What changes its prefetch.
    pub fn set_prefetch(&self) -> SetPrefetch {
        SetPrefetch(self.prefetch.clone())
    }

    /// What tells when a hold is complete.
    pub fn quiet(&self) -> Quiet {
        Quiet(self.quiet.clone())
    }

    /// Receives no more; what was not taken yet goes back to the queue at once.
    pub fn stop(&mut self) {
        self.wish.send_replace(Wish::Stop);
        self.deliveries.close();
        while self.deliveries.try_recv().is_ok() {}
    }

    /// [Stops](Self::stop), and waits until every delivery is answered and the
    /// broker has the answers.
    pub async fn close(mut self) {
        self.stop();
        let _ended = (&mut self.ended).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shown;

    impl Proof for Shown {}

    fn said(commands: &mut mpsc::UnboundedReceiver<Command>) -> Vec<Command> {
        std::iter::from_fn(|| commands.try_recv().ok()).collect()
    }

    #[test]
    fn parts_that_are_acked_together_are_told_together() {
        let (link, mut commands) = mpsc::unbounded_channel();
        let mut of_one = Token::new(1, link.clone()).split(3);
        let mut of_two = Token::new(2, link.clone()).split(2);
        let left = of_one.pop().unwrap();
        of_one.push(Token::new(3, link));
        of_one.append(&mut of_two);

        Token::ack_all(of_one, &Shown);

        let told = [
            Command::Parts(1, 2),
            Command::Answer(3, Answer::Ack),
            Command::Parts(2, 2),
            Command::Answer(2, Answer::Ack),
        ];
        assert_eq!(said(&mut commands), told);
        drop(left);
        let told = [Command::Parts(1, 1), Command::Answer(1, Answer::Requeue)];
        assert_eq!(said(&mut commands), told);
    }
}
