//! The link behind an [`Inbox`](crate::Inbox).

use amqprs::FieldTable;
use amqprs::channel::{BasicConsumeArguments, QueueBindArguments, QueueDeclareArguments};
use tokio::sync::mpsc;

use super::consume::{gone, refused};
use super::convert::from_amqp;
use super::generation::{End, Generation};
use super::link::{Events, Serve, Up};
use crate::InboxEvent;

/// Receives replies in an exclusive queue bound to the exchange `replies`.
pub(super) struct InboxLink {
    pub(super) place: String,
    pub(super) user: String,
    pub(super) exchange: String,
    pub(super) address: String,
    pub(super) events: mpsc::UnboundedSender<InboxEvent>,
    /// Whether it stood before: replies since then are lost.
    pub(super) stood: bool,
}

impl InboxLink {
    async fn run(
        &mut self,
        generation: &Generation,
        mut said: Events,
        up: Up<'_>,
    ) -> Result<(), End> {
        let channel = generation.channel().await?;
        let declare = QueueDeclareArguments::new(&self.address)
            .exclusive(true)
            .auto_delete(true)
            .arguments(FieldTable::new())
            .finish();
        let bind = QueueBindArguments::new(&self.address, &self.exchange, &self.address);
        let consume = BasicConsumeArguments::new(&self.address, "")
            .manual_ack(false)
            .finish();
        let opened = async {
            generation.call(channel.queue_declare(declare)).await?;
            generation.call(channel.queue_bind(bind)).await?;
            generation.call(channel.basic_consume_rx(consume)).await
        };
        let (_, mut messages) = match opened.await {
            Ok(opened) => opened,
            Err(end) => {
                return Err(refused(
                    &self.place,
                    &self.user,
                    &self.address,
                    &mut said,
                    end,
                ));
            }
        };
        // A reply to a task submitted since the link broke may be lost as well.
        if std::mem::replace(&mut self.stood, true) {
            let _gone = self.events.send(InboxEvent::Gap);
        }
        up.done();
        loop {
            tokio::select! {
                biased;
                Some(event) = said.recv() => gone(event, false)?,
                message = messages.recv() => {
                    let Some(message) = message else {
                        return Err(End::Broken("the deliveries ended".to_owned()));
                    };
                    if let Some((_, received)) = from_amqp(message) {
                        let _gone = self.events.send(InboxEvent::Reply(received));
                    }
                }
                () = self.events.closed() => return Ok(()),
            }
        }
    }
}

impl Serve for InboxLink {
    async fn serve(&mut self, generation: &Generation, events: Events, up: Up<'_>) -> End {
        generation.probed(self.run(generation, events, up)).await
    }

    fn broke(&mut self) {
        if self.stood {
            let _gone = self.events.send(InboxEvent::Gap);
        }
    }

    async fn idle(&mut self) {
        self.events.closed().await;
    }
}
