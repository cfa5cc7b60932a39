//! What is asked and changed once, over a connection of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amqprs::channel::{
    Channel, ExchangeBindArguments, ExchangeDeclareArguments, ExchangeDeleteArguments,
    QueueBindArguments, QueueDeclareArguments, QueueDeleteArguments,
};
use amqprs::{FieldTable, FieldValue, ShortStr};
use homing_protocol::ResultsQueues;
use homing_protocol::topology::{Argument, Binding, Exchange, Queue, Target, Topology};
use tokio::sync::oneshot;

use super::generation::{End, Event, Generation};
use super::link::{Events, Serve, Settings, Up, start};
use super::results;
use crate::error::BrokerError;
use crate::{About, Depth, Difference};

/// Asked for a queue whose leader does not answer within 250 ms, RabbitMQ says
/// that it is empty (`rabbit_quorum_queue:stat`): a 0 that took about as long is
/// not known.
const LEADER_TIME_MAX: Duration = Duration::from_millis(240);

/// AMQP's code for what another connection has for itself.
const LOCKED: u16 = 405;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Also spreads outcomes over so many queues, if it says how many.
    Apply(Option<ResultsQueues>),
    Check,
    Depths,
    Results,
    About,
    Delete,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) depths: Vec<Depth>,
    pub(super) differences: Vec<Difference>,
    pub(super) results: ResultsQueues,
    pub(super) about: About,
}

/// Does `job` and leaves.
pub(super) async fn ask(
    settings: &Arc<Settings>,
    topology: &Arc<Topology>,
    job: Job,
) -> Result<Found, BrokerError> {
    let (answer, found) = oneshot::channel();
    let link = AdminLink {
        place: settings.url.place(),
        user: settings.url.user.clone(),
        topology: Arc::clone(topology),
        job,
        answer: Some(answer),
    };
    let place = link.place.clone();
    start(Arc::clone(settings), "admin", link).await?;
    found.await.unwrap_or_else(|_| {
        Err(BrokerError::Unreachable {
            place,
            cause: "the connection ended".to_owned(),
        })
    })
}

struct AdminLink {
    place: String,
    user: String,
    topology: Arc<Topology>,
    job: Job,
    answer: Option<oneshot::Sender<Result<Found, BrokerError>>>,
}

/// A channel that is replaced when the broker closes it over a question.
pub(super) struct Desk<'a> {
    generation: &'a Generation,
    events: Events,
    channel: Channel,
}

/// The broker's refusal of one question.
pub(super) struct No {
    pub(super) code: u16,
    pub(super) text: String,
}

impl Desk<'_> {
    /// The answer to one call, or the broker's refusal of it.
    pub(super) async fn ask<T>(
        &mut self,
        call: impl AsyncFnOnce(&Channel) -> Result<T, amqprs::error::Error>,
    ) -> Result<Result<T, No>, End> {
        let end = match self.generation.call(call(&self.channel)).await {
            Ok(answer) => return Ok(Ok(answer)),
            Err(end) => end,
        };
        match self.events.try_recv() {
            Ok(Event::Closed { code, text }) => {
                self.channel = self.generation.channel().await?;
                Ok(Err(No { code, text }))
            }
            _ => Err(end),
        }
    }
}

impl AdminLink {
    async fn run(&self, desk: &mut Desk<'_>) -> Result<Result<Found, BrokerError>, End> {
        let told = desk.generation.connection.server_properties();
        let about = About {
            product: told.product().to_owned(),
            version: told.version().to_owned(),
            schema: None,
        };
        let there = match results::count(desk, &self.topology).await? {
            Ok(there) => there,
            Err(no) => return Ok(Err(self.error("queue `results`".to_owned(), no))),
        };
        let mut found = Found {
            depths: Vec::new(),
            differences: Vec::new(),
            results: there,
            about,
        };
        let refusal = match self.job {
            Job::Apply(None) => self.apply(desk).await?,
            Job::Apply(Some(wanted)) => match self.spread(desk, wanted).await? {
                Ok(there) => {
                    found.results = there;
                    None
                }
                Err(refusal) => Some(refusal),
            },
            Job::Delete => self.delete(desk, there).await?,
            Job::Check => {
                self.check(desk, there, &mut found.differences).await?;
                None
            }
            Job::Depths => {
                for queue in self.topology.queues_with(there) {
                    found.depths.push(depth(desk, queue.name).await?);
                }
                None
            }
            Job::Results | Job::About => None,
        };
        Ok(refusal.map_or(Ok(found), Err))
    }

    fn error(&self, what: String, no: No) -> BrokerError {
        let (place, user) = (self.place.clone(), self.user.clone());
        let No { code, text: detail } = no;
        match code {
            403 => BrokerError::Denied {
                place,
                user,
                detail,
            },
            404 => BrokerError::Missing { place, what },
            406 => BrokerError::Different {
                place,
                what,
                detail,
            },
            _ => BrokerError::Protocol { place, detail },
        }
    }

    async fn apply(&self, desk: &mut Desk<'_>) -> Result<Option<BrokerError>, End> {
        let (there, is_whole) = match results::survey(desk, &self.topology).await? {
            Ok(found) => found,
            Err(no) => return Ok(Some(self.error("queue `results`".to_owned(), no))),
        };
        for exchange in self.topology.exchanges() {
            if let Err(no) = declare_exchange(desk, &exchange, false).await? {
                return Ok(Some(
                    self.error(format!("exchange `{}`", exchange.name), no),
                ));
            }
        }
        for queue in self.topology.queues_with(there) {
            if let Err(no) = declare_queue(desk, &queue, false).await? {
                return Ok(Some(self.error(format!("queue `{}`", queue.name), no)));
            }
        }
        for binding in self.topology.bindings() {
            // Keys that are spread are bound, and not to be bound once more.
            let is_spread = is_whole && there > ResultsQueues::ONE;
            if is_spread && binding.source == self.topology.results() {
                continue;
            }
            if let Err(no) = bind(desk, &binding).await? {
                return Ok(Some(
                    self.error(format!("exchange `{}`", binding.source), no),
                ));
            }
        }
        Ok(None)
    }

    async fn spread(
        &self,
        desk: &mut Desk<'_>,
        wanted: ResultsQueues,
    ) -> Result<Result<ResultsQueues, BrokerError>, End> {
        if let Err(no) = results::lock(desk, &self.topology).await? {
            let place = self.place.clone();
            return Ok(Err(match no.code {
                LOCKED => BrokerError::Spreading { place },
                _ => self.error(format!("queue `{}`", self.topology.results_lock()), no),
            }));
        }
        if let Some(refusal) = self.apply(desk).await? {
            return Ok(Err(refusal));
        }
        let spread = results::spread(desk, &self.topology, wanted).await?;
        Ok(spread.map_err(|(queue, no)| self.error(format!("queue `{queue}`"), no)))
    }

    /// The last first: what is counted until one is not there is still counted if
    /// this ends in the middle.
    async fn delete(
        &self,
        desk: &mut Desk<'_>,
        there: ResultsQueues,
    ) -> Result<Option<BrokerError>, End> {
        for queue in self.topology.queues_with(there).into_iter().rev() {
            let delete = async |channel: &Channel| {
                channel
                    .queue_delete(QueueDeleteArguments::new(&queue.name))
                    .await
            };
            if let Err(no) = desk.ask(delete).await? {
                return Ok(Some(self.error(format!("queue `{}`", queue.name), no)));
            }
        }
        for exchange in self.topology.exchanges() {
            let delete = async |channel: &Channel| {
                let arguments = ExchangeDeleteArguments::new(&exchange.name);
                channel.exchange_delete(arguments).await
            };
            if let Err(no) = desk.ask(delete).await? {
                return Ok(Some(
                    self.error(format!("exchange `{}`", exchange.name), no),
                ));
            }
        }
        Ok(None)
    }

    /// Asks for each by name, which needs no permission, then declares what is
    /// there once more, which changes nothing but makes the broker name every
    /// difference. Without the permission for that, a difference stays unseen.
    async fn check(
        &self,
        desk: &mut Desk<'_>,
        there: ResultsQueues,
        differences: &mut Vec<Difference>,
    ) -> Result<(), End> {
        for exchange in self.topology.exchanges() {
            let mut answer = declare_exchange(desk, &exchange, true).await?;
            if answer.is_ok() {
                answer = declare_exchange(desk, &exchange, false).await?;
            }
            note(differences, format!("exchange `{}`", exchange.name), answer);
        }
        for queue in self.topology.queues_with(there) {
            let mut answer = declare_queue(desk, &queue, true).await?;
            if answer.is_ok() {
                answer = declare_queue(desk, &queue, false).await?;
            }
            note(differences, format!("queue `{}`", queue.name), answer);
        }
        Ok(())
    }
}

fn note(differences: &mut Vec<Difference>, what: String, answer: Result<(), No>) {
    let detail = match answer {
        Ok(()) | Err(No { code: 403, .. }) => return,
        Err(No { code: 404, .. }) => Difference::MISSING.to_owned(),
        Err(no) => no.text,
    };
    differences.push(Difference { what, detail });
}

async fn depth(desk: &mut Desk<'_>, queue: String) -> Result<Depth, End> {
    let passive = async |channel: &Channel| {
        let arguments = QueueDeclareArguments::new(&queue).passive(true).finish();
        channel.queue_declare(arguments).await
    };
    let asked = Instant::now();
    let counts = desk.ask(passive).await?.ok().flatten();
    let in_time = asked.elapsed() < LEADER_TIME_MAX;
    let (ready, consumers) = match counts {
        Some((_, 0, _)) if !in_time => (None, None),
        Some((_, ready, consumers)) => (Some(u64::from(ready)), Some(u64::from(consumers))),
        None => (None, None),
    };
    Ok(Depth {
        queue,
        ready,
        unacked: None,
        consumers,
    })
}

pub(super) async fn declare_exchange(
    desk: &mut Desk<'_>,
    exchange: &Exchange,
    passive: bool,
) -> Result<Result<(), No>, End> {
    let mut arguments = FieldTable::new();
    if let Some(alternate) = &exchange.alternate {
        insert(&mut arguments, "alternate-exchange", text(alternate));
    }
    let declare = ExchangeDeclareArguments::new(&exchange.name, exchange.kind.as_str())
        .durable(true)
        .passive(passive)
        .arguments(arguments)
        .finish();
    desk.ask(async |channel: &Channel| channel.exchange_declare(declare).await)
        .await
}

pub(super) async fn declare_queue(
    desk: &mut Desk<'_>,
    queue: &Queue,
    passive: bool,
) -> Result<Result<(), No>, End> {
    let mut arguments = FieldTable::new();
    insert(&mut arguments, "x-queue-type", text("quorum"));
    if let Some(exchange) = &queue.dead_letter_exchange {
        insert(&mut arguments, "x-dead-letter-exchange", text(exchange));
        // At least once needs both: https://www.rabbitmq.com/docs/quorum-queues#dead-lettering
        insert(
            &mut arguments,
            "x-dead-letter-strategy",
            text("at-least-once"),
        );
        insert(&mut arguments, "x-overflow", text("reject-publish"));
    }
    for (name, argument) in &queue.arguments {
        let value = match argument {
            Argument::Text(value) => text(value),
            Argument::Int(number) => FieldValue::l(*number),
        };
        insert(&mut arguments, name, value);
    }
    let declare = QueueDeclareArguments::new(&queue.name)
        .durable(true)
        .passive(passive)
        .arguments(arguments)
        .finish();
    let declared = desk
        .ask(async |channel: &Channel| channel.queue_declare(declare).await)
        .await?;
    Ok(declared.map(|_| ()))
}

pub(super) async fn bind(desk: &mut Desk<'_>, binding: &Binding) -> Result<Result<(), No>, End> {
    desk.ask(async |channel: &Channel| match &binding.target {
        Target::Queue(queue) => {
            let arguments = QueueBindArguments::new(queue, &binding.source, &binding.key);
            channel.queue_bind(arguments).await
        }
        Target::Exchange(exchange) => {
            let arguments = ExchangeBindArguments::new(exchange, &binding.source, &binding.key);
            channel.exchange_bind(arguments).await
        }
    })
    .await
}

/// Names and texts here are ours and short.
fn insert(table: &mut FieldTable, name: &str, value: FieldValue) {
    if let Ok(name) = ShortStr::try_from(name) {
        table.insert(name, value);
    }
}

fn text(text: &str) -> FieldValue {
    FieldValue::S(text.try_into().unwrap_or_default())
}

impl Serve for AdminLink {
    async fn serve(&mut self, generation: &Generation, events: Events, up: Up<'_>) -> End {
        let channel = match generation.channel().await {
            Ok(channel) => channel,
            Err(end) => return end,
        };
        let mut desk = Desk {
            generation,
            events,
            channel,
        };
        let mut up = Some(up);
        if matches!(self.job, Job::Apply(Some(_)))
            && let Some(up) = up.take()
        {
            // Hundreds of calls, on a broker at work: who waits has patience for the
            // connection, and this takes as long as it takes.
            up.done();
        }
        match self.run(&mut desk).await {
            Ok(found) => {
                if let Some(answer) = self.answer.take() {
                    let _gone = answer.send(found);
                }
                if let Some(up) = up {
                    up.done();
                }
                End::Done
            }
            Err(end) => end,
        }
    }

    async fn idle(&mut self) {
        if let Some(answer) = &mut self.answer {
            answer.closed().await;
        }
    }
}
