//! The link behind a [`Puller`].

use amqprs::channel::{BasicGetArguments, QueueDeclareArguments};
use tokio::sync::{mpsc, oneshot};

use super::consume::{gone, refused};
use super::convert::from_get;
use super::generation::{End, Generation};
use super::link::{Events, Serve, Up};
use super::session::{Session, passive};
use crate::consumer::Delivery;
use crate::puller::{Ask, Puller};

pub(super) struct PullLink {
    place: String,
    user: String,
    queue: String,
    asks: mpsc::UnboundedReceiver<Ask>,
    /// Whether the handle is gone.
    dropped: bool,
    /// Dropped with the link, which tells the handle that it ended.
    _ended: oneshot::Sender<()>,
}

impl PullLink {
    pub(super) fn new((place, user): (String, String), queue: String) -> (Puller, Self) {
        let (puller, asks, end) = Puller::new();
        let link = Self {
            place,
            user,
            queue,
            asks,
            dropped: false,
            _ended: end,
        };
        (puller, link)
    }

    fn passive(&self) -> QueueDeclareArguments {
        passive(&self.queue)
    }

    async fn answer(
        &self,
        generation: &Generation,
        session: &mut Session,
        ask: Ask,
    ) -> Result<(), End> {
        // Whoever asked may have gone: a delivery goes back then.
        match ask {
            Ask::Waiting(answer) => {
                let declared = session.channel.queue_declare(self.passive());
                let found = generation.call(declared).await?;
                let waiting = found.map_or(0, |(_, waiting, _)| u64::from(waiting));
                let _gone = answer.send(waiting);
            }
            Ask::Pull(answer) => {
                let get = BasicGetArguments::new(&self.queue);
                let found = generation.call(session.channel.basic_get(get)).await?;
                let Some(message) = found else {
                    return Ok(());
                };
                let (tag, received) = from_get(message);
                if !session.delivered(tag) {
                    return Err(End::Broken("a delivery came out of order".to_owned()));
                }
                let token = session.token(tag);
                let _gone = answer.send(Delivery { received, token });
            }
        }
        Ok(())
    }

    async fn run(
        &mut self,
        generation: &Generation,
        mut events: Events,
        up: Up<'_>,
    ) -> Result<(), End> {
        let channel = generation.channel().await?;
        let there = generation.call(channel.queue_declare(self.passive())).await;
        if let Err(end) = there {
            let (place, user) = (&self.place, &self.user);
            return Err(refused(place, user, &self.queue, &mut events, end));
        }
        up.done();
        let (mut session, mut said) = Session::new(channel);
        let mut answers = Vec::new();
        loop {
            if self.dropped && session.open() == 0 && said.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                Some(event) = events.recv() => gone(event, true)?,
                _ = said.recv_many(&mut answers, usize::MAX) => {
                    session.answer(generation, &mut answers).await?;
                }
                ask = self.asks.recv(), if !self.dropped && session.open() == 0 => match ask {
                    Some(ask) => self.answer(generation, &mut session, ask).await?,
                    None => self.dropped = true,
                },
            }
        }
    }
}

impl Serve for PullLink {
    async fn serve(&mut self, generation: &Generation, events: Events, up: Up<'_>) -> End {
        generation.probed(self.run(generation, events, up)).await
    }

    async fn idle(&mut self) {
        // Whoever asks is not kept waiting for a connection.
        while self.asks.recv().await.is_some() {}
        self.dropped = true;
    }
}
