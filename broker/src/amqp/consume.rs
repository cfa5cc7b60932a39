//! The links behind a [`Consumer`](crate::Consumer) and an [`Inbox`](crate::Inbox).

use std::num::NonZeroU16;

use amqprs::FieldTable;
use amqprs::channel::{
    BasicAckArguments, BasicCancelArguments, BasicConsumeArguments, BasicNackArguments,
    BasicQosArguments, Channel, ConsumerMessage, QueueBindArguments, QueueDeclareArguments,
};
use homing_faults::{Point, crash_point};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::acks::{Acks, Frame};
use super::caution::Caution;
use super::convert::from_amqp;
use super::generation::{End, Event, Generation};
use super::link::{Events, Serve, Up};
use crate::InboxEvent;
use crate::consumer::{Answer, Command, Delivery, Token};
use crate::error::BrokerError;

/// Deliveries or answers handled before the other is looked at.
const BURST: usize = 256;

/// Why a queue cannot be consumed, from the broker's reply code.
fn refused(place: &str, user: &str, queue: &str, events: &mut Events, end: End) -> End {
    let place = place.to_owned();
    match events.try_recv() {
        Ok(Event::Closed { code: 404, .. }) => End::Fatal(BrokerError::Missing {
            place,
            what: format!("queue `{queue}`"),
        }),
        Ok(Event::Closed { code: 403, text }) => End::Fatal(BrokerError::Denied {
            place,
            user: user.to_owned(),
            detail: text,
        }),
        Ok(Event::Closed { text, .. }) => End::Broken(text),
        _ => end,
    }
}

pub(super) struct ConsumeLink {
    place: String,
    user: String,
    queue: String,
    prefetch: NonZeroU16,
    deliveries: mpsc::UnboundedSender<Delivery>,
    stop: oneshot::Receiver<()>,
    stopping: bool,
    /// Dropped with the link, which tells the handle that it ended.
    _ended: oneshot::Sender<()>,
    caution: Caution,
}

/// The state of one connection.
struct Session {
    channel: Channel,
    acks: Acks,
    frames: Vec<Frame>,
    commands: mpsc::UnboundedSender<Command>,
}

impl ConsumeLink {
    pub(super) fn new(
        (place, user): (String, String),
        queue: String,
        prefetch: NonZeroU16,
    ) -> (crate::Consumer, Self) {
        let (deliveries, rx) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let link = Self {
            place,
            user,
            queue,
            prefetch,
            deliveries,
            stop: stopped,
            stopping: false,
            _ended: end,
            caution: Caution::default(),
        };
        (crate::Consumer::new(rx, stop, ended), link)
    }

    async fn consume(
        &self,
        generation: &Generation,
        events: &mut Events,
    ) -> Result<(Channel, String, mpsc::UnboundedReceiver<ConsumerMessage>), End> {
        let channel = generation.channel().await?;
        let prefetch = self.caution.prefetch(self.prefetch.get());
        let passive = QueueDeclareArguments::new(&self.queue)
            .passive(true)
            .finish();
        let consume = BasicConsumeArguments::new(&self.queue, "")
            .manual_ack(true)
            .finish();
        let opened = async {
            generation.call(channel.queue_declare(passive)).await?;
            let qos = BasicQosArguments::new(0, prefetch, false);
            generation.call(channel.basic_qos(qos)).await?;
            generation.call(channel.basic_consume_rx(consume)).await
        };
        match opened.await {
            Ok((tag, messages)) => Ok((channel, tag, messages)),
            Err(end) => Err(refused(&self.place, &self.user, &self.queue, events, end)),
        }
    }

    fn deliver(&mut self, session: &mut Session, message: ConsumerMessage) -> Result<(), End> {
        let delivery = from_amqp(message).filter(|(tag, _)| session.acks.delivered(*tag));
        let Some((tag, received)) = delivery else {
            return Err(End::Broken("a delivery came out of order".to_owned()));
        };
        self.caution.delivered(Instant::now());
        let token = Token::new(tag, session.commands.clone());
        // Without its handle the delivery is dropped, and so goes back.
        let _returned = self.deliveries.send(Delivery { received, token });
        Ok(())
    }

    /// Sends the answers given since the last time.
    async fn answer(
        &mut self,
        generation: &Generation,
        session: &mut Session,
        commands: &mut Vec<Command>,
    ) -> Result<(), End> {
        let mut past_it = false;
        for Command::Answer(tag, answer) in commands.drain(..) {
            session.acks.answer(tag, answer);
            if answer == Answer::Ack {
                past_it |= self.caution.acked();
            }
        }
        session.acks.frames(&mut session.frames);
        crash_point(Point::LinkBeforeAck);
        let channel = &session.channel;
        for frame in session.frames.drain(..) {
            match frame {
                Frame::Ack { tag, multiple } => {
                    let ack = BasicAckArguments::new(tag, multiple);
                    generation.call(channel.basic_ack(ack)).await?;
                }
                Frame::Requeue { tag } => {
                    let nack = BasicNackArguments::new(tag, false, true);
                    generation.call(channel.basic_nack(nack)).await?;
                }
            }
        }
        crash_point(Point::LinkAcked);
        if past_it {
            return Err(End::Again);
        }
        Ok(())
    }

    async fn run(
        &mut self,
        generation: &Generation,
        mut events: Events,
        up: Up<'_>,
    ) -> Result<(), End> {
        let (channel, consumer, mut messages) = self.consume(generation, &mut events).await?;
        let (commands, mut said) = mpsc::unbounded_channel();
        let mut session = Session {
            channel,
            acks: Acks::new(),
            frames: Vec::new(),
            commands,
        };
        up.done();
        let (mut buffer, mut answers) = (Vec::with_capacity(BURST), Vec::with_capacity(BURST));
        let mut cancelled = false;
        loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => gone(event, cancelled)?,
                _ = said.recv_many(&mut answers, BURST) => {
                    self.answer(generation, &mut session, &mut answers).await?;
                }
                taken = messages.recv_many(&mut buffer, BURST), if !cancelled => {
                    if taken == 0 {
                        return Err(End::Broken("the deliveries ended".to_owned()));
                    }
                    for message in buffer.drain(..) {
                        self.deliver(&mut session, message)?;
                    }
                }
                _ = &mut self.stop, if !self.stopping => self.stopping = true,
            }
            if self.stopping && !cancelled {
                cancelled = true;
                let cancel = BasicCancelArguments::new(&consumer);
                generation
                    .call(session.channel.basic_cancel(cancel))
                    .await?;
                messages.close();
                while let Ok(message) = messages.try_recv() {
                    self.deliver(&mut session, message)?;
                }
            }
            if cancelled && session.acks.open() == 0 && said.is_empty() {
                return Ok(());
            }
        }
    }
}

/// How RabbitMQ up to 4.2 says that it took back what was not answered in time.
const TIMED_OUT: &str = "delivery acknowledgement";

fn gone(event: Event, cancelled: bool) -> Result<(), End> {
    match event {
        Event::Closed { code: 406, text } if text.contains(TIMED_OUT) => {
            Err(End::Broken(format!(
                "a task was held longer than its consumer_timeout, so it took back all that this \
                 worker holds, and runs it again; raise consumer_timeout in rabbitmq.conf, or \
                 shorten the timeouts of the kinds ({text})"
            )))
        }
        Event::Closed { text, .. } => Err(End::Broken(text)),
        // RabbitMQ from 4.3 on says no more when it is the timeout.
        Event::Cancelled if !cancelled => Err(End::Broken(
            "it ended the consumer: the queue is gone, or a task was held longer than its \
             consumer_timeout; then raise that in rabbitmq.conf, or shorten the timeouts of the kinds"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

impl Serve for ConsumeLink {
    async fn serve(&mut self, generation: &Generation, events: Events, up: Up<'_>) -> End {
        let ended = tokio::select! {
            ended = self.run(generation, events, up) => ended,
            end = generation.probe() => Err(end),
        };
        match ended {
            Ok(()) => End::Done,
            Err(end) => end,
        }
    }

    fn broke(&mut self) {
        self.caution.broke(Instant::now());
    }

    async fn idle(&mut self) {
        if !self.stopping {
            let _told = (&mut self.stop).await;
            self.stopping = true;
        }
    }
}

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
                        let _gone = self.events.send(InboxEvent::Reply(Box::new(received)));
                    }
                }
                () = self.events.closed() => return Ok(()),
            }
        }
    }
}

impl Serve for InboxLink {
    async fn serve(&mut self, generation: &Generation, events: Events, up: Up<'_>) -> End {
        let ended = tokio::select! {
            ended = self.run(generation, events, up) => ended,
            end = generation.probe() => Err(end),
        };
        match ended {
            Ok(()) => End::Done,
            Err(end) => end,
        }
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
