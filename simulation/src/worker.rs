//! A worker: what `worker/src/engine` does, around the real triage, settlement
//! and tokens.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use homing_protocol::{
    AttemptId, Destination, Envelope, Identity, Policy, Proof, Properties, QueueName, Reason,
    Received, Retry, Run, Status, TaskId, Timestamp,
};
use uuid::Uuid;

use crate::Sabotage;
use crate::agenda::{MS, Micros, SECOND};
use crate::broker::{Purpose, Who};
use crate::confirms::Verdict;
use crate::consumer::Token;
use crate::fold::State;
use crate::handler::{AttemptFailure, Ended};
use crate::lane::Lane;
use crate::links::{ConsumeLink, PublishLink, Request};
use crate::message::{Body, Message, Place, To, Word, number};
use crate::oracle::{ATTEMPTS_MAX, Fate};
use crate::settle::{Settlement, settle};
use crate::triage::{self, Sight, Triage, Whole};
use crate::world::{Event, WorkerEvent, World};

/// How long a task waits for a worker that knows its kind: a few times.
const UNKNOWN_GRACE: Duration = Duration::from_secs(10);

/// Messages of outcomes on their way at once, and outcomes in one; smaller than
/// the real ones, so that few tasks fill them.
const MESSAGES_MAX: usize = 2;
const REPORTS_MAX: usize = 4;

/// How long a task waits for room here, before it goes to the end of its queue.
const HELD_MAX: Micros = 15 * SECOND;

/// The model's word that the broker has what was published.
#[derive(Debug)]
pub(crate) struct ModelConfirm;

impl Proof for ModelConfirm {}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) life: u32,
    pub(crate) up: bool,
    pub(crate) draining: bool,
    pub(crate) publisher: PublishLink,
    pub(crate) links: [ConsumeLink; 2],
    concurrency: usize,
    free: usize,
    /// Tasks that wait for room, with how much they need.
    waiting: VecDeque<(Job, usize)>,
    running: Vec<Running>,
    outbox: VecDeque<(Word, Token)>,
    reports_on_their_way: usize,
    replacing: Vec<Replacing>,
    /// How far its clock is off, in milliseconds.
    pub(crate) clock_off: i64,
    pub(crate) lane: Lane,
}

/// One task of a delivery.
#[derive(Debug)]
struct Job {
    task: Envelope,
    token: Token,
    queue: Place,
    returns: u32,
    /// Tells it from others that wait.
    number: u64,
}

#[derive(Debug)]
struct Running {
    attempt: AttemptId,
    job: Job,
    room: usize,
}

/// Messages that take the place of deliveries, published one after the other.
#[derive(Debug)]
struct Replacing {
    number: u64,
    tokens: Vec<Token>,
    messages: Vec<(Rc<Body>, To)>,
    /// How many are confirmed, and by which ticket the next is known.
    confirmed: usize,
    ticket: u64,
    reports: bool,
}

impl Worker {
    pub(crate) fn new(life: u32, concurrency: usize, prefetch: u16) -> Self {
        Self {
            life,
            up: false,
            draining: false,
            publisher: PublishLink::new(),
            links: [
                ConsumeLink::new(Place::Tasks, prefetch),
                // Pulled from; without a subscription.
                ConsumeLink::new(Place::Suspect, 1),
            ],
            concurrency,
            free: concurrency,
            waiting: VecDeque::new(),
            running: Vec::new(),
            outbox: VecDeque::new(),
            reports_on_their_way: 0,
            replacing: Vec::new(),
            clock_off: 0,
            lane: Lane::default(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.running.is_empty()
            && self.outbox.is_empty()
            && self.replacing.is_empty()
    }

    /// Whether nothing but suspects can come to it.
    pub(crate) fn is_quiet(&self) -> bool {
        let no_attempts = self.waiting.is_empty() && self.running.is_empty();
        no_attempts && self.links[0].is_quiet()
    }

    /// Whether what was pulled is done with.
    pub(crate) fn has_attended(&self) -> bool {
        let no_attempts = self.waiting.is_empty() && self.running.is_empty();
        no_attempts && self.links[1].is_answered()
    }

    pub(crate) const fn take_all_room(&mut self) {
        self.free = 0;
    }

    pub(crate) const fn free_all_room(&mut self) {
        self.free = self.concurrency;
    }
}

fn queue_name(place: Place) -> QueueName {
    match place {
        Place::Suspect => QueueName::suspect(),
        _ => QueueName::tasks(),
    }
}

fn place(queue: &QueueName) -> Place {
    if *queue == QueueName::suspect() {
        return Place::Suspect;
    }
    Place::Tasks
}

/// The destinations of the protocol in this world.
pub(crate) fn to(destination: &Destination) -> To {
    match destination {
        Destination::Queue(queue) => To::Place(place(queue)),
        Destination::Delayed { queue, secs } => To::Delayed(place(queue), *secs),
        Destination::Dead => To::Place(Place::Dead),
        _ => To::Place(Place::Results),
    }
}

fn received(message: &Message) -> Received {
    Received {
        properties: Properties::default(),
        body: Bytes::new(),
        exchange: String::new(),
        routing_key: String::new(),
        redelivered: message.redelivered,
        delivery_count: if message.redelivered {
            message.count
        } else {
            0
        },
        deaths: Vec::new(),
    }
}

const fn policy() -> Policy {
    Policy::DEFAULT
        .attempts_max(ATTEMPTS_MAX)
        .backoff(Duration::from_millis(700), Duration::from_secs(30))
}

impl World {
    pub(crate) fn start_worker(&mut self, index: usize) {
        self.workers[index].up = true;
        let (who, life) = (Who::Worker(index), self.workers[index].life);
        for purpose in [
            Purpose::Publish,
            Purpose::Consume(Place::Tasks),
            Purpose::Consume(Place::Suspect),
        ] {
            self.open(who, life, purpose);
        }
        self.first_look(index);
    }

    pub(crate) fn crash_worker(&mut self, index: usize) {
        let worker = &self.workers[index];
        let (life, concurrency, clock_off) = (worker.life, worker.concurrency, worker.clock_off);
        if !worker.up {
            return;
        }
        self.close_sockets(Who::Worker(index), life);
        self.workers[index] = Worker::new(life + 1, concurrency, self.prefetch);
        self.workers[index].clock_off = clock_off;
        let at = self.now + self.chance.between(MS, 3 * SECOND);
        self.agenda.put(at, Event::Start(Who::Worker(index)));
    }

    fn worker_time(&self, index: usize) -> Timestamp {
        self.time(self.workers[index].clock_off)
    }

    /// A delivery, from reading it on.
    pub(crate) fn work(&mut self, index: usize, queue: Place, message: &Message, token: Token) {
        if self.workers[index].draining {
            return drop(token);
        }
        let identity = match &*message.body {
            Body::Tasks(tasks) => Identity {
                tasks: tasks.clone(),
                minted: false,
            },
            Body::Nameless(task) => {
                let mut task = task.clone();
                task.id = self.mint(task.id);
                Identity {
                    tasks: vec![task],
                    minted: true,
                }
            }
            Body::Spoilt(task) => {
                let task = vec![task.clone()];
                return self.bury(index, token, task, Reason::Malformed);
            }
            Body::Reports(_) | Body::Dead(..) => return,
        };
        let received = received(message);
        match triage::whole(&received, &identity, &queue_name(queue)) {
            Whole::Split | Whole::Name => {
                let to = To::Place(queue);
                let singly = identity
                    .tasks
                    .into_iter()
                    .map(|task| (crate::producer::body(vec![task]), to));
                self.replace(index, vec![token], singly.collect(), false);
            }
            Whole::Tasks => {
                let tokens = token.split(identity.tasks.len());
                let now = self.worker_time(index);
                for (task, token) in identity.tasks.into_iter().zip(tokens) {
                    let known = self.oracle.facts(task.id).fate != Fate::Unknown;
                    let name = queue_name(queue);
                    let sight = Sight::new(&received, &name, known, UNKNOWN_GRACE, now);
                    let triage = triage::task(&task, sight);
                    self.tickets += 1;
                    let job = Job {
                        task,
                        token,
                        queue,
                        returns: sight.returns,
                        number: self.tickets,
                    };
                    self.attend(index, job, &triage);
                }
            }
        }
    }

    fn attend(&mut self, index: usize, mut job: Job, triage: &Triage) {
        let queue = queue_name(job.queue);
        let to = match triage {
            Triage::Run => return self.wait_for_room(index, job, 1),
            // In its turn all the room is its own.
            Triage::RunAlone => return self.wait_for_room(index, job, 0),
            Triage::Dead(reason, _) => return self.bury(index, job.token, vec![job.task], *reason),
            Triage::Suspect => {
                triage::carry_crashes(&mut job.task, 0);
                triage::carry_parked(&mut job.task.carried, 0);
                job.task.due_at = Some(self.worker_time(index));
                To::Place(Place::Suspect)
            }
            Triage::Delay(wait) if self.runs_early(*wait) => {
                return self.wait_for_room(index, job, 1);
            }
            Triage::Delay(wait) => to(&Destination::after(queue, *wait)),
            Triage::Park { crashes, parked } => {
                triage::carry_crashes(&mut job.task, *crashes);
                triage::carry_parked(&mut job.task.carried, parked.total_secs);
                to(&Destination::after(queue, parked.delay))
            }
        };
        self.send_on(index, job, to);
    }

    /// Whether what is left of a delay is ignored.
    fn runs_early(&self, wait: Duration) -> bool {
        self.sabotage == Some(Sabotage::RunEarly) && wait <= Duration::from_secs(1)
    }

    /// Publishes a task again instead of its delivery.
    fn send_on(&mut self, index: usize, job: Job, to: To) {
        let number = number(job.task.id);
        trace!(self, "worker {index}: sends task {number} to {to:?}");
        let messages = vec![(crate::producer::body(vec![job.task]), to)];
        self.replace(index, vec![job.token], messages, false);
        if to == To::Place(Place::Suspect) {
            self.suspected(index);
        }
    }

    /// Publishes a task again to its own queue, with the crashes it has.
    fn publish_job_again(&mut self, index: usize, mut job: Job) {
        let crashes = triage::crashes_with(&job.task, job.returns);
        triage::carry_crashes(&mut job.task, crashes);
        let to = To::Place(job.queue);
        self.send_on(index, job, to);
    }

    /// A task has waited for room so long that the broker would soon take it
    /// back.
    pub(crate) fn hand_back(&mut self, index: usize, number: u64) {
        let waiting = &mut self.workers[index].waiting;
        let Some(at) = waiting.iter().position(|(job, _)| job.number == number) else {
            return;
        };
        if let Some((job, _)) = waiting.remove(at) {
            self.publish_job_again(index, job);
        }
    }

    fn bury(&mut self, index: usize, token: Token, tasks: Vec<Envelope>, reason: Reason) {
        let messages = vec![(Rc::new(Body::Dead(tasks, reason)), To::Place(Place::Dead))];
        self.replace(index, vec![token], messages, false);
    }

    fn wait_for_room(&mut self, index: usize, job: Job, room: usize) {
        let number = job.number;
        self.workers[index].waiting.push_back((job, room));
        self.begin(index);
        if !self.workers[index].waiting.is_empty() {
            self.put(index, self.now + HELD_MAX, WorkerEvent::HeldLong(number));
        }
    }

    /// Begins what there is room for, in order.
    fn begin(&mut self, index: usize) {
        loop {
            let worker = &mut self.workers[index];
            let Some((job, room)) = worker
                .waiting
                .pop_front_if(|(_, room)| *room <= worker.free)
            else {
                return;
            };
            worker.free -= room;
            let now = self.worker_time(index);
            if let Some(Triage::Dead(reason, _)) = triage::expired(&job.task, now) {
                self.workers[index].free += room;
                self.bury(index, job.token, vec![job.task], reason);
                continue;
            }
            self.start_attempt(index, job, room);
        }
    }

    fn start_attempt(&mut self, index: usize, job: Job, room: usize) {
        let attempt = AttemptId::from(Uuid::from_u128(self.mint_number()));
        let is_early = job.task.due_at.is_some_and(|due| due > self.time(0));
        if is_early && self.clocks_agree {
            let number = number(job.task.id);
            self.violation(format!("task {number} is run before it is due"));
        }
        let facts = self.oracle.facts(job.task.id);
        facts.executions += 1;
        let kills = match facts.fate {
            Fate::Poison => true,
            Fate::PoisonFor(times) => facts.executions <= times,
            _ => false,
        };
        trace!(
            self,
            "worker {index}: runs attempt {} of task {}",
            job.task.attempt.get(),
            number(job.task.id)
        );
        // Few run for long.
        let long = self.chance.one_in(16);
        let at = self.now
            + self
                .chance
                .between(100, if long { 20 * SECOND } else { self.pace });
        let event = if kills {
            WorkerEvent::Poisoned
        } else {
            WorkerEvent::Ended(attempt)
        };
        self.put(index, at, event);
        self.workers[index]
            .running
            .push(Running { attempt, job, room });
    }

    /// A handler has ended.
    pub(crate) fn ended(&mut self, index: usize, attempt: AttemptId) {
        let running = &mut self.workers[index].running;
        let Some(at) = running
            .iter()
            .position(|running| running.attempt == attempt)
        else {
            // The drain has ended it.
            return;
        };
        let Running { job, room, .. } = running.swap_remove(at);
        let (number, fate) = (job.task.attempt.get(), self.oracle.facts(job.task.id).fate);
        let failure = |retry| Ended::Failure(AttemptFailure::new("it broke", retry));
        let ended = match fate {
            Fate::SucceedAfter(failures) if number <= failures => failure(Retry::Backoff),
            Fate::FailAt(last) if number < last => failure(Retry::Backoff),
            Fate::FailAt(_) => failure(Retry::Never),
            Fate::Later(secs) if number == 1 => failure(Retry::After(Duration::from_secs(secs))),
            Fate::Misfit => Ended::Misfit("it does not fit".to_owned()),
            _ => Ended::Output(Bytes::new()),
        };
        let settlement = settle(ended, job.task.attempt, &policy(), self.chance.part());
        self.settle(index, job, attempt, &settlement);
        self.workers[index].free += room;
        self.begin(index);
        self.send_outcomes(index);
    }

    fn settle(&mut self, index: usize, job: Job, attempt: AttemptId, settlement: &Settlement) {
        let Job {
            task, token, queue, ..
        } = job;
        let word = |status| Word {
            task: task.id,
            run: task.run,
            state: State {
                status,
                attempt: task.attempt.get(),
                attempt_id: Some(attempt),
                digest: task.digest,
            },
        };
        let word = match settlement {
            Settlement::Output(_) => word(Status::Succeeded),
            Settlement::Failure(status, _) => word(*status),
            Settlement::Dead(reason, _) => return self.bury(index, token, vec![task], *reason),
            Settlement::Retry(_, delay) => {
                let record = Rc::new(Body::Reports(vec![word(Status::Retrying)]));
                let mut next = task.clone();
                next.attempt = next.attempt.next();
                triage::carry_parked(&mut next.carried, 0);
                next.due_at = Some(self.worker_time(index).after(*delay));
                let to = to(&Destination::after(queue_name(queue), *delay));
                let next = crate::producer::body(vec![next]);
                let mut messages = vec![(record, To::Place(Place::Results)), (next, to)];
                if self.sabotage == Some(Sabotage::RetryBeforeRecord) {
                    messages.reverse();
                }
                return self.replace(index, vec![token], messages, false);
            }
        };
        trace!(
            self,
            "worker {index}: task {} {}",
            number(task.id),
            word.state.status
        );
        self.workers[index].outbox.push_back((word, token));
    }

    /// Publishes outcomes that wait, several in a message.
    fn send_outcomes(&mut self, index: usize) {
        loop {
            let worker = &mut self.workers[index];
            if worker.reports_on_their_way >= MESSAGES_MAX || worker.outbox.is_empty() {
                return;
            }
            let count = worker.outbox.len().min(REPORTS_MAX);
            let (words, tokens) = worker.outbox.drain(..count).unzip();
            worker.reports_on_their_way += 1;
            let messages = vec![(Rc::new(Body::Reports(words)), To::Place(Place::Results))];
            self.replace(index, tokens, messages, true);
        }
    }

    /// Publishes messages that take the place of deliveries, then acks those.
    fn replace(
        &mut self,
        index: usize,
        mut tokens: Vec<Token>,
        messages: Vec<(Rc<Body>, To)>,
        reports: bool,
    ) {
        if self.sabotage == Some(Sabotage::AckBeforeConfirm) {
            tokens.drain(..).for_each(|token| token.ack(&ModelConfirm));
        }
        self.tickets += 1;
        let number = self.tickets;
        self.workers[index].replacing.push(Replacing {
            number,
            tokens,
            messages,
            confirmed: 0,
            ticket: 0,
            reports,
        });
        self.publish_next(index, number);
    }

    /// Publishes the next message of a replacement.
    fn publish_next(&mut self, index: usize, number: u64) {
        self.tickets += 1;
        let ticket = self.tickets;
        let replacing = &mut self.workers[index].replacing;
        let Some(replacing) = replacing.iter_mut().find(|r| r.number == number) else {
            return;
        };
        replacing.ticket = ticket;
        let (body, to) = &replacing.messages[replacing.confirmed];
        let (body, to) = (Rc::clone(body), *to);
        let message = self.message(&body);
        trace!(
            self,
            "worker {index}: publishes message {}: {}",
            message.id,
            body.describe()
        );
        let request = Request {
            message,
            to,
            ticket,
        };
        let now = self.clock.at(self.now);
        self.workers[index].publisher.outgoing.take(request, now);
        self.write(Who::Worker(index));
    }

    /// The broker's answer to something a worker published.
    pub(crate) fn replaced(&mut self, index: usize, ticket: u64, verdict: &Verdict) {
        let replacing = &mut self.workers[index].replacing;
        let Some(at) = replacing.iter().position(|r| r.ticket == ticket) else {
            return;
        };
        let number = replacing[at].number;
        if *verdict != Verdict::Confirmed {
            // From the beginning, with messages of new ids.
            replacing[at].confirmed = 0;
            let pause = self.chance.between(100 * MS, 2 * SECOND);
            let event = WorkerEvent::PublishAgain(number);
            return self.put(index, self.now + pause, event);
        }
        replacing[at].confirmed += 1;
        if replacing[at].confirmed < replacing[at].messages.len() {
            return self.publish_next(index, number);
        }
        let Replacing {
            tokens, reports, ..
        } = replacing.swap_remove(at);
        tokens
            .into_iter()
            .for_each(|token| token.ack(&ModelConfirm));
        if reports {
            self.workers[index].reports_on_their_way -= 1;
            self.send_outcomes(index);
        }
    }

    pub(crate) fn publish_again(&mut self, index: usize, number: u64) {
        self.publish_next(index, number);
    }

    /// The first signal: unstarted tasks go back, running ones may finish.
    pub(crate) fn drain(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        if !worker.up || std::mem::replace(&mut worker.draining, true) {
            return;
        }
        worker.waiting.clear();
        worker.lane.is_over();
        for link in &mut worker.links {
            link.stopping = true;
        }
        let grace = self.chance.between(10 * MS, 3 * SECOND);
        self.put(index, self.now + grace, WorkerEvent::GraceOver);
        for place in [Place::Tasks, Place::Suspect] {
            self.cancel(Who::Worker(index), place);
        }
    }

    /// What still runs is dropped, and goes back.
    pub(crate) fn grace_over(&mut self, index: usize) {
        for running in std::mem::take(&mut self.workers[index].running) {
            if running.job.queue == Place::Suspect {
                // The broker would count its return as a crash.
                self.publish_job_again(index, running.job);
            }
        }
    }

    /// Ends a worker that has drained, once the broker has all its answers.
    pub(crate) fn drained(&mut self, index: usize) {
        let worker = &self.workers[index];
        let is_done =
            worker.draining && worker.is_idle() && worker.links.iter().all(ConsumeLink::is_quiet);
        if is_done {
            trace!(self, "worker {index}: has drained");
            self.end_links(Who::Worker(index));
            self.crash_worker(index);
        }
    }

    /// A new id for a task that came without one.
    fn mint(&mut self, task: TaskId) -> TaskId {
        let high = self.mint_number() << 64;
        Uuid::from_u128(high | number(task) as u128).into()
    }

    fn mint_number(&mut self) -> u128 {
        self.minted += 1;
        u128::from(self.minted)
    }
}

/// Time as the processes of this world see it, from its beginning on.
pub(crate) const BEGINNING: Timestamp = Timestamp::from_ms(1_700_000_000_000);

impl World {
    pub(crate) fn time(&self, off_ms: i64) -> Timestamp {
        let ms = i64::try_from(self.now / MS).unwrap_or(i64::MAX);
        Timestamp::from_ms(BEGINNING.as_ms().saturating_add(ms).saturating_add(off_ms))
    }

    /// A task that is submitted for the first time.
    pub(crate) fn envelope(&self, number: usize) -> Envelope {
        let payload = homing_protocol::Payload {
            bytes: Bytes::from_static(b"1"),
            content_type: homing_protocol::ContentType::Json,
        };
        let kind = "demo.task".parse().expect("a kind");
        let id = Uuid::from_u128(number as u128).into();
        let mut task = Envelope::new(id, kind, payload, BEGINNING);
        task.run = Run::FIRST;
        task
    }
}

/// How far a clock that is stepped goes: seconds to ten years, either way.
pub(crate) fn clock_step(chance: &mut crate::chance::Chance) -> i64 {
    const TEN_YEARS_MS: u64 = 10 * 365 * 24 * 3_600 * 1_000;
    let longest = [5_000, 3_600_000, TEN_YEARS_MS][chance.index(3)];
    let step = i64::try_from(chance.below(longest)).unwrap_or(0);
    if chance.one_in(2) { -step } else { step }
}

/// How long a fault may last at most.
pub(crate) const FAULT_MAX: Micros = 10 * SECOND;
