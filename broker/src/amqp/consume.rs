//! The link behind a [`Consumer`](crate::Consumer).

use std::io;
use std::mem;
use std::num::NonZeroU16;
use std::sync::Arc;

use amqprs::channel::{
    BasicCancelArguments, BasicConsumeArguments, BasicQosArguments, Channel, ConsumerMessage,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::caution::Caution;
use super::convert::{from_amqp, from_plain};
use super::generation::{End, Event, Generation, plain};
use super::link::{Events, Serve, Settings, Up};
use super::plain::{Found, Plain, Read, read};
use super::session::{Session, passive};
use super::share::Share;
use crate::consumer::{Answer, Command, ConsumerEnd, Delivery, Token, Wish};
use crate::error::BrokerError;

/// `connection-forced`: an operator, or an orderly stop of the broker.
const FORCED: u16 = 320;

/// Deliveries or answers handled before the other is looked at.
const BURST: usize = 256;

/// Why a queue cannot be consumed, from the broker's reply code.
pub(super) fn refused(place: &str, user: &str, queue: &str, events: &mut Events, end: End) -> End {
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
    share: Share,
    /// The messages that the subscription asked for.
    asked: u16,
    settings: Arc<Settings>,
    remedy: Remedy,
    end: ConsumerEnd,
    /// Whether the handle is gone.
    dropped: bool,
    caution: Caution,
}

/// What is done with a message that amqprs cannot read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Remedy {
    /// The broker dead-letters it, as it is. For queues of tasks: a handler is to
    /// have what was sent or nothing.
    Reject,
    /// It is delivered as well as it can be read. For what a collector stores:
    /// from its queue there is no other way, or only one to where nobody looks.
    Deliver,
}

/// What the broker sends: the tag of the subscription, and the deliveries.
type Receiving = (String, mpsc::UnboundedReceiver<ConsumerMessage>);

impl ConsumeLink {
    pub(super) fn new(
        settings: &Arc<Settings>,
        queue: String,
        prefetch: NonZeroU16,
        remedy: Remedy,
    ) -> (crate::Consumer, Self) {
        let (consumer, end) = crate::Consumer::new(prefetch);
        let link = Self {
            place: settings.url.place(),
            user: settings.url.user.clone(),
            queue,
            share: Share::new(prefetch.get()),
            asked: 0,
            settings: Arc::clone(settings),
            remedy,
            end,
            dropped: false,
            caution: Caution::default(),
        };
        (consumer, link)
    }

    fn wish(&mut self) -> Wish {
        self.dropped |= self.end.wish.has_changed().is_err();
        let wish = *self.end.wish.borrow_and_update();
        if self.dropped { Wish::Stop } else { wish }
    }

    fn aim(&mut self) {
        self.share.aim(self.end.prefetch.borrow_and_update().get());
    }

    /// How many messages a subscription that begins now asks for.
    fn wanted(&self) -> u16 {
        self.caution.prefetch(self.share.messages())
    }

    /// Says whether nothing comes, of a link that has nothing open.
    fn rests(&mut self) {
        let held = self.wish() != Wish::Receive;
        self.end.quiet.send_replace(held);
    }

    /// Waits until something else is wished.
    async fn wish_changed(&mut self) {
        tokio::select! {
            changed = self.end.wish.changed() => self.dropped = changed.is_err(),
            Ok(()) = self.end.prefetch.changed() => {}
        }
    }

    async fn open(&self, generation: &Generation, events: &mut Events) -> Result<Channel, End> {
        let channel = generation.channel().await?;
        let there = channel.queue_declare(passive(&self.queue));
        match generation.call(there).await {
            Ok(_) => Ok(channel),
            Err(end) => Err(refused(&self.place, &self.user, &self.queue, events, end)),
        }
    }

    /// RabbitMQ gives a prefetch to the subscriptions that begin after it is set.
    async fn subscribe(
        &mut self,
        asked: u16,
        generation: &Generation,
        channel: &Channel,
        events: &mut Events,
    ) -> Result<Receiving, End> {
        self.asked = asked;
        self.share.subscribed();
        let qos = BasicQosArguments::new(0, self.asked, false);
        generation.call(channel.basic_qos(qos)).await?;
        let consume = BasicConsumeArguments::new(&self.queue, "")
            .manual_ack(true)
            .finish();
        let subscribed = generation.call(channel.basic_consume_rx(consume)).await;
        subscribed.map_err(|end| refused(&self.place, &self.user, &self.queue, events, end))
    }

    fn deliver(&mut self, session: &mut Session, message: ConsumerMessage) -> Result<(), End> {
        let delivery = from_amqp(message).filter(|(tag, _)| session.delivered(*tag));
        let Some((tag, received)) = delivery else {
            return Err(End::Broken("a delivery came out of order".to_owned()));
        };
        self.caution.delivered(Instant::now());
        self.share.delivered(tag, received.tasks());
        let token = session.token(tag);
        // Without its handle the delivery is dropped, and so goes back.
        let _returned = self.end.deliveries.send(Delivery { received, token });
        Ok(())
    }

    /// Sends the answers given since the last time.
    async fn answer(
        &mut self,
        generation: &Generation,
        session: &mut Session,
        commands: &mut Vec<Command>,
    ) -> Result<(), End> {
        for command in &*commands {
            match command {
                Command::Parts(tag, parts) => self.share.lessened(*tag, *parts),
                Command::Answer(tag, answer) => {
                    self.share.answered(*tag);
                    if *answer == Answer::Ack {
                        self.caution.acked();
                    }
                }
            }
        }
        session.answer(generation, commands).await
    }

    /// Subscribes, or ends the subscription, as is wished now; or begins it anew,
    /// with another prefetch. Answers with the wish that it followed.
    async fn follow(
        &mut self,
        generation: &Generation,
        session: &mut Session,
        receiving: &mut Option<Receiving>,
        events: &mut Events,
    ) -> Result<Wish, End> {
        self.aim();
        self.share.weigh();
        let mut wish = self.wish();
        let anew = self.asked != self.wanted();
        if (!self.receives(wish) || anew)
            && let Some((subscription, mut messages)) = receiving.take()
        {
            let cancel = BasicCancelArguments::new(&subscription);
            generation
                .call(session.channel.basic_cancel(cancel))
                .await?;
            session.heard();
            messages.close();
            while let Ok(message) = messages.try_recv() {
                self.deliver(session, message)?;
            }
            // It may have changed meanwhile.
            wish = self.wish();
        }
        if self.receives(wish) && receiving.is_none() {
            self.end.quiet.send_replace(false);
            // The first delivery may end it before the broker's answer is read.
            self.caution.receives(Instant::now());
            let (asked, channel) = (self.wanted(), &session.channel);
            let subscribed = self.subscribe(asked, generation, channel, events);
            *receiving = Some(subscribed.await?);
        }
        Ok(wish)
    }

    /// Whether the connection may end now that everything is answered. Acks that the
    /// channel keeps die with it, and their tasks run twice. Another subscription is
    /// confirmed after those that the queue has, and its end after the rest. What
    /// comes over it goes back, and counts as delivered: so not without need, and not
    /// for outcomes, of which acks may be lost.
    fn may_end(&self, session: &Session) -> bool {
        self.remedy == Remedy::Deliver || session.is_sure()
    }

    fn receives(&self, wish: Wish) -> bool {
        wish == Wish::Receive && !self.share.is_paused()
    }

    /// Takes the first messages of the queue with a client that reads them all,
    /// up to one that amqprs reads as well.
    async fn look(&mut self, generation: &Generation) -> io::Result<()> {
        let mut plain = Plain::open(&self.settings.url, generation.address).await?;
        // Whoever is not wished to receive returns what it gets.
        while self.wish() == Wish::Receive
            && let Some(found) = plain.get(&self.queue).await?
        {
            let (tag, read) = (found.tag, read(&found.properties));
            let Some(problem) = read.problem.clone() else {
                self.deliver_plain(&mut plain, found, read).await?;
                break;
            };
            let becomes = match self.remedy {
                Remedy::Reject => "it is dead-lettered",
                Remedy::Deliver => "it is stored with its properties as they are",
            };
            tracing::error!(
                error = problem,
                "a message on `{}` ends every connection that receives it: {problem}; {becomes}",
                self.queue,
            );
            match self.remedy {
                Remedy::Reject => plain.reject(tag).await?,
                Remedy::Deliver => self.deliver_plain(&mut plain, found, read).await?,
            }
        }
        plain.close().await
    }

    /// Delivers a message and waits for its answer.
    async fn deliver_plain(
        &mut self,
        plain: &mut Plain,
        found: Found,
        read: Read,
    ) -> io::Result<()> {
        let tag = found.tag;
        let (commands, mut said) = mpsc::unbounded_channel();
        let delivery = Delivery {
            received: from_plain(found, read),
            token: Token::new(tag, commands),
        };
        // Without its handle the delivery is dropped here, which is its answer.
        drop(self.end.deliveries.send(delivery));
        let answer = tokio::select! {
            Some(answer) = last_answer(&mut said) => answer,
            error = plain.ended() => return Err(error),
        };
        match answer {
            Answer::Ack => plain.ack(tag).await,
            Answer::Requeue => plain.requeue(tag).await,
        }
    }

    async fn run(
        &mut self,
        generation: &Generation,
        mut events: Events,
        up: Up<'_>,
    ) -> Result<(), End> {
        self.rests();
        if self.caution.is_stuck() && self.wish() == Wish::Receive {
            up.done();
            let looked = self.look(generation).await;
            self.caution.looked();
            return Err(looked.map_or_else(|error| End::Broken(plain(&error)), |()| End::Again));
        }
        let channel = self.open(generation, &mut events).await?;
        self.aim();
        self.share.connected();
        let (mut session, mut said) = Session::new(channel);
        let (mut receiving, mut up) = (None, Some(up));
        let mut is_settled = false;
        let (mut buffer, mut answers) = (Vec::with_capacity(BURST), Vec::with_capacity(BURST));
        loop {
            let followed = self.follow(generation, &mut session, &mut receiving, &mut events);
            let wish = followed.await?;
            if let Some(up) = up.take() {
                up.done();
            }
            if receiving.is_none() && session.open() == 0 && said.is_empty() {
                if wish == Wish::Stop {
                    if self.may_end(&session) || mem::replace(&mut is_settled, true) {
                        return Ok(());
                    }
                    let subscribed = self.subscribe(1, generation, &session.channel, &mut events);
                    receiving = Some(subscribed.await?);
                    continue;
                }
                self.end.quiet.send_replace(true);
            }
            let lasting = until(self.caution.lasting_at());
            tokio::select! {
                biased;
                Some(event) = events.recv() => {
                    if matches!(event, Event::Closed { code: FORCED, .. }) {
                        self.caution.refused();
                    }
                    gone(event, receiving.is_none())?;
                }
                // Before answers, so that what goes back does not come here again.
                () = self.wish_changed(), if !self.dropped => {}
                _ = said.recv_many(&mut answers, BURST) => {
                    self.answer(generation, &mut session, &mut answers).await?;
                }
                taken = recv_some(&mut receiving, &mut buffer) => {
                    if taken == 0 {
                        return Err(End::Broken("the deliveries ended".to_owned()));
                    }
                    for message in buffer.drain(..) {
                        self.deliver(&mut session, message)?;
                    }
                }
                () = lasting => self.caution.lasts(),
            }
        }
    }
}

/// The answer of a delivery, after its parts.
async fn last_answer(said: &mut mpsc::UnboundedReceiver<Command>) -> Option<Answer> {
    loop {
        if let Command::Answer(_, answer) = said.recv().await? {
            return Some(answer);
        }
    }
}

/// Waits until then; for ever if there is no such time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Waits for deliveries; for ever if there is no subscription.
async fn recv_some(receiving: &mut Option<Receiving>, buffer: &mut Vec<ConsumerMessage>) -> usize {
    match receiving {
        Some((_, messages)) => messages.recv_many(buffer, BURST).await,
        None => std::future::pending().await,
    }
}

/// How RabbitMQ up to 4.2 says that it took back what was not answered in time.
const TIMED_OUT: &str = "delivery acknowledgement";

pub(super) fn gone(event: Event, cancelled: bool) -> Result<(), End> {
    match event {
        Event::Closed { code: 406, text } if text.contains(TIMED_OUT) => Err(End::Broken(format!(
            "a task was held longer than its consumer_timeout, so it took back all that this \
             worker holds, and runs it again; raise consumer_timeout in rabbitmq.conf, or \
             shorten the timeouts of the kinds ({text})"
        ))),
        Event::Closed { text, .. } => Err(End::Broken(text)),
        // RabbitMQ from 4.3 on says no more when it is the timeout.
        Event::Cancelled if !cancelled => Err(End::Broken(
            "it ended the consumer: the queue is gone, or a task was held longer than its \
             consumer_timeout, and runs again; then raise consumer_timeout in rabbitmq.conf, or \
             shorten the timeouts of the kinds"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

impl Serve for ConsumeLink {
    async fn serve(&mut self, generation: &Generation, events: Events, up: Up<'_>) -> End {
        let end = generation.probed(self.run(generation, events, up)).await;
        if matches!(end, End::Fatal(_)) {
            self.caution.refused();
        }
        end
    }

    fn broke(&mut self) {
        self.caution.broke(Instant::now());
    }

    async fn idle(&mut self) {
        loop {
            self.rests();
            if self.wish() == Wish::Stop {
                return;
            }
            self.wish_changed().await;
        }
    }
}
