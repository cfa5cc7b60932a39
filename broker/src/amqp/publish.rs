//! The link behind a [`Publisher`](crate::Publisher).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use amqprs::channel::{Channel, ConfirmSelectArguments};
use homing_protocol::topology::Topology;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::confirms::{Confirms, Verdict};
use super::convert::to_amqp;
use super::generation::{End, Event, Generation};
use super::link::{Events, Serve, Up};
use crate::error::PublishError;
use crate::publisher::{Confirmed, Request};

/// Without any answer for this long, the connection is given up and everything
/// is published again over the next. Long enough for a leader election.
const STALL_TIME: Duration = Duration::from_secs(30);

/// The same when it keeps happening: a broker short of memory or disk answers
/// nothing for hours, and each new connection may double what the old one
/// still holds.
const STALL_TIME_MAX: Duration = Duration::from_mins(10);

/// Messages written before the broker's answers are looked at again.
const BURST: usize = 64;

/// A message and what became of it so far.
#[derive(Debug)]
struct Pending {
    request: Request,
    since: Instant,
    /// Given up: only here so that the numbers fit.
    silent: bool,
}

pub(super) struct PublishLink {
    topology: Topology,
    requests: mpsc::UnboundedReceiver<Request>,
    deadline: Option<Duration>,
    /// To be published next: taken from `requests`, or from a connection that
    /// broke.
    waiting: VecDeque<Pending>,
    /// On the current connection.
    confirms: Confirms<Pending>,
    heard_at: Instant,
    /// The patience with the current connection.
    stall_time: Duration,
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
            waiting: VecDeque::new(),
            confirms: Confirms::new(),
            heard_at: Instant::now(),
            stall_time: STALL_TIME,
            closed: false,
            _running: running,
        }
    }

    fn is_done(&self) -> bool {
        self.closed && self.waiting.is_empty() && self.confirms.waiting() == 0
    }

    fn take(&mut self, taken: usize, requests: &mut Vec<Request>) {
        self.closed |= taken == 0;
        let since = Instant::now();
        let pending = requests.drain(..).map(|request| Pending {
            request,
            since,
            silent: false,
        });
        self.waiting.extend(pending);
    }

    /// Publishes what waits, a burst at most.
    async fn publish(&mut self, generation: &Generation, channel: &Channel) -> Result<(), End> {
        if self.confirms.waiting() == 0 {
            self.heard_at = Instant::now();
        }
        for _ in 0..BURST {
            let Some(pending) = self.waiting.pop_front() else {
                return Ok(());
            };
            let message = &pending.request.message;
            let route = self.topology.route(&message.destination);
            let (properties, body, arguments) = to_amqp(message, &route);
            // Counted before it is written: its answer may be here first.
            self.confirms.published(pending);
            let publish = channel.basic_publish(properties, body, arguments);
            generation.call(publish).await?;
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
                self.stall_time = STALL_TIME;
                let topology = &self.topology;
                self.confirms
                    .answered(tag, multiple, confirmed, |pending, verdict| {
                        tell(topology, pending, &verdict);
                    });
                Ok(())
            }
            Event::Returned { message_id } => {
                let is =
                    |pending: &Pending| pending.request.message.properties.message_id == message_id;
                self.confirms.returned(is);
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

    /// The broker closed the channel over an exchange that is not there, or not
    /// for this user. Whoever publishes to it is told, and decides; the others
    /// are published again. Of several the first is the one that was refused;
    /// one that was written before may be stored.
    fn barred(&mut self, code: u16, text: &str) {
        if !matches!(code, 403 | 404) {
            return;
        }
        let mut refused = false;
        let pendings = self.confirms.waiting_mut().chain(&mut self.waiting);
        for pending in pendings.filter(|pending| !pending.silent) {
            let destination = &pending.request.message.destination;
            let (exchange, routing_key) = self.topology.route(destination);
            if !text.contains(&format!("exchange '{exchange}'")) {
                continue;
            }
            let error = match code {
                _ if refused => PublishError::Unconfirmed {
                    waited: pending.since.elapsed(),
                },
                404 => PublishError::Unroutable {
                    exchange,
                    routing_key,
                },
                _ => PublishError::Denied {
                    detail: text.to_owned(),
                },
            };
            refused = true;
            pending.silent = true;
            give_up(&mut pending.request, error);
        }
        self.waiting.retain(|pending| !pending.silent);
    }

    /// Tells those whose deadline has passed; checks that the broker answers.
    fn tick(&mut self) -> Result<(), End> {
        self.expire();
        if self.confirms.waiting() > 0 && self.heard_at.elapsed() > self.stall_time {
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
        let late = |pending: &Pending| !pending.silent && pending.since.elapsed() > deadline;
        while self.waiting.front().is_some_and(late) {
            if let Some(pending) = self.waiting.pop_front() {
                let mut request = pending.request;
                give_up(&mut request, PublishError::Unconfirmed { waited: deadline });
            }
        }
        for pending in self
            .confirms
            .waiting_mut()
            .take_while(|p| p.silent || late(p))
        {
            if !pending.silent {
                pending.silent = true;
                let error = PublishError::Unconfirmed { waited: deadline };
                give_up(&mut pending.request, error);
            }
        }
    }
}

fn tell(topology: &Topology, pending: Pending, verdict: &Verdict) {
    let answer = match verdict {
        Verdict::Confirmed => Ok(Confirmed::new()),
        Verdict::Refused => Err(PublishError::Refused),
        Verdict::Unroutable => {
            let (exchange, routing_key) = topology.route(&pending.request.message.destination);
            Err(PublishError::Unroutable {
                exchange,
                routing_key,
            })
        }
    };
    let Request { confirm, room, .. } = pending.request;
    drop(room);
    // Whoever published it does not wait for the answer.
    let _dropped = confirm.send(answer);
}

/// Tells the publisher without an answer of the broker's to this message.
fn give_up(request: &mut Request, error: PublishError) {
    let (nobody, _) = tokio::sync::oneshot::channel();
    let confirm = std::mem::replace(&mut request.confirm, nobody);
    let _dropped = confirm.send(Err(error));
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
                () = std::future::ready(()), if !self.waiting.is_empty() => Ok(()),
                _ = tick.tick() => self.tick(),
            };
            let step = match step {
                Ok(()) if !self.waiting.is_empty() => self.publish(generation, &channel).await,
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
        let confirms = std::mem::replace(&mut self.confirms, Confirms::new());
        let again: VecDeque<_> = confirms.into_waiting().filter(|p| !p.silent).collect();
        let later = std::mem::replace(&mut self.waiting, again);
        self.waiting.extend(later);
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
