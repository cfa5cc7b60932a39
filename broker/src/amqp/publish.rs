//! The link behind a [`Publisher`](crate::Publisher).

use std::sync::Arc;
use std::time::Duration;

use amqprs::channel::{Channel, ConfirmSelectArguments};
use homing_faults::{Point, Sabotage, crash_point, is_broken};
use homing_protocol::topology::Topology;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::confirms::Verdict;
use super::convert::to_amqp;
use super::generation::{End, Event, Generation};
use super::link::{Events, Serve, Up};
use super::outgoing::{Answered, Outgoing};
use crate::error::PublishError;
use crate::publisher::{Barred, Confirmed, Request};

/// Without any answer for this long, the connection is given up and everything
/// is published again over the next. Long enough for a leader election.
const STALL_TIME: Duration = Duration::from_secs(30);

/// The same when it keeps happening: a broker short of memory or disk answers
/// nothing for hours, and each new connection may double what the old one
/// still holds.
const STALL_TIME_MAX: Duration = Duration::from_mins(10);

/// Without any answer for this long, it is said what may be the cause. A leader
/// election takes about as long.
const QUIET_TIME: Duration = Duration::from_secs(3);

/// Without a refusal for this long, a queue that was full is no longer.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// Refusals this far apart have nothing to do with each other. Longer than the
/// pause of whoever publishes a refused message again.
const REFUSAL_GAP: Duration = Duration::from_secs(20);

/// The longest that a connection is kept that goes on refusing.
const REFUSAL_TIME_MAX: Duration = Duration::from_mins(2);

/// Messages written before the broker's answers are looked at again.
const BURST: usize = 64;

/// What keeps messages from being confirmed. It is said once, and when it ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Trouble {
    None,
    Quiet,
    /// With the time of the last refusal.
    Refused(Instant),
}

impl Trouble {
    /// The broker has answered nothing for a while.
    fn quiet(&mut self) {
        if *self != Self::Quiet {
            *self = Self::Quiet;
            tracing::warn!(
                "the broker confirms nothing: it may have a memory or disk alarm; `rabbitmqctl \
                 status` tells. Waiting until it does"
            );
        }
    }

    /// The broker has confirmed something, or refused it.
    fn heard(&mut self, confirmed: bool) {
        match self {
            Self::None | Self::Refused(_) if confirmed => {}
            Self::Quiet if confirmed => self.end(),
            Self::Refused(last) => *last = Instant::now(),
            Self::None | Self::Quiet => {
                *self = Self::Refused(Instant::now());
                tracing::warn!(
                    "the broker refuses messages, as it does for a full queue; publishing them \
                     again until it has room"
                );
            }
        }
    }

    /// Nothing has to be published again now.
    fn refuses_nothing(&mut self) {
        // A full queue takes some, and is full again.
        if matches!(self, Self::Refused(last) if last.elapsed() > REFUSAL_TIME) {
            self.end();
        }
    }

    fn end(&mut self) {
        *self = Self::None;
        tracing::info!("the broker confirms messages again");
    }
}

pub(super) struct PublishLink {
    topology: Topology,
    requests: mpsc::UnboundedReceiver<Request>,
    deadline: Option<Duration>,
    outgoing: Outgoing<Request>,
    heard_at: Instant,
    /// The patience with the current connection.
    stall_time: Duration,
    trouble: Trouble,
    /// The first and the last refusal of those in a row.
    refusals: Option<(Instant, Instant)>,
    /// The patience with a connection that goes on refusing.
    refused_time: Duration,
    /// Whether all handles are gone.
    closed: bool,
    _running: OwnedSemaphorePermit,
}

impl PublishLink {
    pub(super) fn new(
        topology: Topology,
        requests: mpsc::UnboundedReceiver<Request>,
        deadline: Option<Duration>,
        running: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            topology,
            requests,
            deadline,
            outgoing: Outgoing::new(),
            heard_at: Instant::now(),
            stall_time: STALL_TIME,
            trouble: Trouble::None,
            refusals: None,
            refused_time: REFUSAL_TIME,
            closed: false,
            _running: running,
        }
    }

    fn is_done(&self) -> bool {
        self.closed && self.outgoing.is_empty()
    }

    fn take(&mut self, taken: usize, requests: &mut Vec<Request>) {
        self.closed |= taken == 0;
        let now = Instant::now();
        for request in requests.drain(..) {
            self.outgoing.take(request, now);
        }
    }

    /// Publishes what waits, a burst at most.
    async fn publish(&mut self, generation: &Generation, channel: &Channel) -> Result<(), End> {
        if self.outgoing.unconfirmed() == 0 {
            self.heard_at = Instant::now();
        }
        for _ in 0..BURST {
            let Some(Request { message, .. }) = self.outgoing.publish() else {
                return Ok(());
            };
            let route = self.topology.route(&message.destination);
            let (properties, body, arguments) = to_amqp(message, &route);
            crash_point(Point::LinkBeforeWrite);
            let publish = channel.basic_publish(properties, body, arguments);
            generation.call(publish).await?;
            crash_point(Point::LinkWritten);
        }
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<(), End> {
        self.heard_at = Instant::now();
        match event {
            Event::Answered {
                tag,
                multiple,
                confirmed,
            } => {
                crash_point(Point::LinkConfirmed);
                self.stall_time = STALL_TIME;
                let answered = Answered::new(tag, multiple, confirmed);
                // Whoever sets no deadline decides about a refusal himself.
                let again = self.deadline.map(|_| Instant::now());
                let topology = &self.topology;
                let each = |request, verdict, before| tell(topology, request, &verdict, before);
                self.outgoing.answered(answered, again, each);
                self.trouble.heard(confirmed || again.is_none());
                if confirmed {
                    return Ok(());
                }
                self.refused()
            }
            Event::Returned { message_id } => {
                let is = |request: &Request| request.message.properties.message_id == message_id;
                self.outgoing.returned(is);
                Ok(())
            }
            Event::Closed { code, text } => {
                self.barred(code, &text);
                Err(End::Broken(text))
            }
            Event::Cancelled => Ok(()),
        }
    }

    /// Hears what was said until the connection ended, for the reason.
    fn hear_last(&mut self, events: &mut Events) {
        while let Ok(event) = events.try_recv() {
            // It has ended already.
            let _ended = self.hear(event);
        }
    }

    /// The broker closed the channel over a message, and would again: whoever
    /// published it is told, and decides. The others are published again.
    fn barred(&mut self, code: u16, text: &str) {
        match code {
            403 | 404 => self.exchange_barred(code, text),
            406 => self.too_large(text),
            _ => {}
        }
    }

    /// Each body beyond the limit that this broker was given would end the next
    /// channel the same way, and stop all others.
    fn too_large(&mut self, text: &str) {
        let Some(bytes_max) = size_max(text) else {
            return;
        };
        self.outgoing.give_up(Instant::now(), |request, _| {
            let bytes = request.message.body.len();
            if bytes <= bytes_max {
                return false;
            }
            let error = PublishError::TooLarge {
                what: "a body",
                bytes,
                bytes_max,
            };
            give_up(request, error);
            true
        });
    }

    /// An exchange is not there, or not for this user. That is believed once a
    /// further connection says so too: RabbitMQ 4.3 forgets its exchanges, and
    /// lets nobody in, while its disk is full. Of several messages to it any may
    /// be the one that was refused, and those before it are stored.
    fn exchange_barred(&mut self, code: u16, text: &str) {
        let topology = &self.topology;
        let route = |request: &Request| topology.route(&request.message.destination);
        let is_to_it =
            |request: &Request| text.contains(&format!("exchange '{}'", route(request).0));
        let alone = self.outgoing.written(is_to_it) == 1;
        self.outgoing.give_up(Instant::now(), |request, waited| {
            if !waited.written || !is_to_it(request) {
                return false;
            }
            let barred = request.barred.again(alone, waited.unanswered);
            if std::mem::replace(&mut request.barred, barred) == Barred::Never {
                return false;
            }
            let (exchange, routing_key) = route(request);
            let error = match (barred, code) {
                (Barred::Alone, 404) => PublishError::Unroutable {
                    exchange,
                    routing_key,
                },
                (Barred::Alone, _) => PublishError::Denied {
                    detail: text.to_owned(),
                },
                _ => PublishError::Unconfirmed {
                    waited: waited.time,
                },
            };
            give_up(request, error);
            true
        });
    }

    /// A message was refused. That some still are after a while may be the
    /// channel's fault, whatever else it has confirmed meanwhile: RabbitMQ 3.10
    /// goes on to refuse what it publishes to one queue after the limit of that
    /// was taken away, or for ever if its first message to it fell between two
    /// leaders. A new channel does not.
    fn refused(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let lasting = self.refusals.filter(|(_, last)| now - *last < REFUSAL_GAP);
        if lasting.is_none() {
            self.refused_time = REFUSAL_TIME;
        }
        let since = lasting.map_or(now, |(since, _)| since);
        self.refusals = Some((since, now));
        if now - since <= self.refused_time {
            return Ok(());
        }
        self.refusals = Some((now, now));
        self.refused_time = (self.refused_time * 2).min(REFUSAL_TIME_MAX);
        Err(End::Broken("it goes on refusing messages".to_owned()))
    }

    /// Tells those whose deadline has passed; checks that the broker answers.
    fn tick(&mut self) -> Result<(), End> {
        self.expire();
        self.outgoing.retry(Instant::now());
        if !self.outgoing.has_refused() {
            self.trouble.refuses_nothing();
        }
        if self.outgoing.unconfirmed() > 0 && self.heard_at.elapsed() > QUIET_TIME {
            self.trouble.quiet();
        }
        if self.outgoing.unconfirmed() > 0 && self.heard_at.elapsed() > self.stall_time {
            self.stall_time = (self.stall_time * 2).min(STALL_TIME_MAX);
            return Err(End::Broken(
                "it confirms nothing; it may be short of memory or disk".to_owned(),
            ));
        }
        Ok(())
    }

    fn expire(&mut self) {
        let Some(deadline) = self.deadline else {
            return;
        };
        self.outgoing.give_up(Instant::now(), |request, waited| {
            let is_late = waited.time > deadline;
            if is_late {
                let error = match waited.refused && waited.unanswered == 0 {
                    true => PublishError::Refused,
                    false => PublishError::Unconfirmed { waited: deadline },
                };
                give_up(request, error);
            }
            is_late
        });
    }
}

/// `before` is since when a connection may have stored it that never answered.
fn tell(topology: &Topology, request: Request, verdict: &Verdict, before: Option<Instant>) {
    let answer = match (verdict, before) {
        (Verdict::Confirmed, _) => Ok(Confirmed::new()),
        (_, Some(since)) => Err(PublishError::Unconfirmed {
            waited: since.elapsed(),
        }),
        (Verdict::Refused, None) => Err(PublishError::Refused),
        (Verdict::Unroutable, None) => {
            let (exchange, routing_key) = topology.route(&request.message.destination);
            Err(PublishError::Unroutable {
                exchange,
                routing_key,
            })
        }
    };
    let Request { confirm, room, .. } = request;
    drop(room);
    // Whoever published it does not wait for the answer.
    let _dropped = confirm.send(answer);
}

/// The limit in `message size 5 is larger than configured max size 4`, which
/// older and newer versions word alike but for `configured`.
fn size_max(text: &str) -> Option<usize> {
    let (_, limits) = text.split_once("message size ")?;
    let (_, limit) = limits.split_once("max size ")?;
    let digits = limit.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Tells the publisher without an answer of the broker's to this message.
fn give_up(request: &mut Request, error: PublishError) {
    answer(request, Err(error));
}

fn answer(request: &mut Request, answer: Result<Confirmed, PublishError>) {
    let (nobody, _) = tokio::sync::oneshot::channel();
    let confirm = std::mem::replace(&mut request.confirm, nobody);
    let _dropped = confirm.send(answer);
}

impl Serve for PublishLink {
    async fn serve(&mut self, generation: &Generation, mut events: Events, up: Up<'_>) -> End {
        let opened = async {
            let channel = generation.channel().await?;
            let select = channel.confirm_select(ConfirmSelectArguments::default());
            generation.call(select).await?;
            Ok::<_, End>(channel)
        };
        let channel = match opened.await {
            Ok(channel) => channel,
            Err(end) => return end,
        };
        self.heard_at = Instant::now();
        up.done();
        let mut tick = interval(Duration::from_millis(500));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut requests = Vec::with_capacity(BURST);
        while !self.is_done() {
            let step = tokio::select! {
                biased;
                Some(event) = events.recv() => self.hear(event),
                taken = self.requests.recv_many(&mut requests, BURST), if !self.closed => {
                    self.take(taken, &mut requests);
                    Ok(())
                }
                () = std::future::ready(()), if self.outgoing.is_waiting() => Ok(()),
                _ = tick.tick() => self.tick(),
            };
            let step = match step {
                Ok(()) if self.outgoing.is_waiting() => self.publish(generation, &channel).await,
                step => step,
            };
            if let Err(end) = step {
                self.hear_last(&mut events);
                return end;
            }
        }
        End::Done
    }

    fn broke(&mut self) {
        if is_broken(Sabotage::LostConfirmIgnored) {
            self.outgoing.give_up(Instant::now(), |request, _| {
                answer(request, Ok(Confirmed::new()));
                true
            });
        }
        self.outgoing.broke();
    }

    async fn idle(&mut self) {
        let mut requests = Vec::new();
        while !self.is_done() {
            tokio::select! {
                taken = self.requests.recv_many(&mut requests, BURST), if !self.closed => {
                    self.take(taken, &mut requests);
                }
                () = sleep(Duration::from_millis(500)) => {}
            }
            self.expire();
        }
    }
}

/// The link of a publisher, and its handle.
pub(super) fn publisher(
    topology: &Arc<Topology>,
    window: crate::Window,
) -> (crate::Publisher, PublishLink) {
    let (publisher, requests, running) = crate::Publisher::new(window);
    let topology = Topology::clone(topology);
    let link = PublishLink::new(topology, requests, window.deadline, running);
    (publisher, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_broker_is_read_from_its_words() {
        for (text, limit) in [
            (
                "PRECONDITION_FAILED - message size 200000 is larger than configured max size 100000",
                Some(100_000),
            ),
            (
                "PRECONDITION_FAILED - message size 134217729 is larger than max size 134217728",
                Some(134_217_728),
            ),
            ("PRECONDITION_FAILED - unknown delivery tag 5", None),
            ("message size 5 is larger than max size ", None),
        ] {
            assert_eq!(size_max(text), limit, "{text}");
        }
    }
}
