//! Carries out what was decided about a task: run it, publish what takes its
//! place, ack.

use std::future::Future;
use std::time::{Duration, Instant};

use homing_broker::Token;
use homing_faults::{Point, crash_point};
use homing_protocol::{
    DeadLetter, Destination, Envelope, Message, QueueName, Reason, Received, Status,
};
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio::time::{sleep_until, timeout};
use tracing::Instrument;

use super::execute::{self, Bounds, Executed, execute};
use super::intake::TaskDelivery;
use super::outbox::{Settled, report_message};
use super::prefetch::Prefetch;
use super::publish::Unpublished;
use super::record::{self, Begun, Past, Tally};
use super::reply::ReplyTo;
use super::{Engine, message_id, now};
use crate::attempt::Frame;
use crate::engine::ending::Cause;
use crate::handler::{AttemptFailure, Brief};
use crate::registry::KindEntry;
use crate::settle::{Settlement, settle};
use crate::triage::{self, Triage};

/// How long a worker that stops waits until what is left of a bundle is published
/// again.
const GIVE_BACK_TIME: Duration = Duration::from_secs(2);

impl TaskDelivery {
    /// The task as a message of its own, which names its kind even where only the
    /// settings of this worker do.
    pub(super) fn as_received(&self) -> Received {
        let mut received = match &self.received {
            Some(received) => Received::clone(received),
            None => alone(&self.envelope, self.redelivered),
        };
        received.properties.kind = Some(self.envelope.kind.as_str().to_owned());
        received
    }

    /// The latest moment at which an attempt may start without outlasting the
    /// broker's patience.
    fn latest_start(&self, entry: &KindEntry) -> Instant {
        self.token.held_since() + entry.held_max
    }
}

/// The slots of an attempt: of its kind, and of the worker.
type Room = [Option<OwnedSemaphorePermit>; 2];

/// Why there is no room for an attempt.
enum NoRoom {
    /// Its delivery has waited too long.
    InTime,
    /// It waits behind long ones, and this worker holds more than it has to.
    Soon,
    /// The worker stops.
    AnyMore,
}

/// A task of a bundle as if it had come in a message of its own.
fn alone(envelope: &Envelope, redelivered: bool) -> Received {
    let message = envelope.to_message(Destination::Dead, message_id());
    Received {
        properties: message.properties,
        body: message.body,
        exchange: String::new(),
        routing_key: String::new(),
        redelivered,
        delivery_count: 0,
        deaths: Vec::new(),
    }
}

/// What becomes of a task that does not simply succeed is boxed: each task that is
/// here has a future as large as the largest way it may take, and thousands are.
impl Engine {
    /// Runs a task in as many `slots` once there is room for it.
    pub(super) async fn start(&self, task: Box<TaskDelivery>, slots: u32) {
        let Some(entry) = self.kinds.get(&task.envelope.kind) else {
            return;
        };
        let room = match self.room_now(entry, slots) {
            Some(room) => room,
            None => match Box::pin(self.room_for(&task, entry, slots)).await {
                Ok(room) => room,
                Err(NoRoom::InTime) => return Box::pin(self.hand_back(task)).await,
                // Others will have room for it.
                Err(NoRoom::Soon) => return Tally::add(&self.tally.returned, 1),
                Err(NoRoom::AnyMore) => {
                    Tally::add(&self.tally.returned, 1);
                    return Box::pin(self.give_back(task)).await;
                }
            },
        };
        if task.token.is_lost() || !self.may_begin(&task) {
            // It is delivered again, maybe to another worker; to run it here as
            // well would only make it run twice.
            return;
        }
        let begun = Begun::now(entry.policy);
        if begun.since() >= task.latest_start(entry) {
            return Box::pin(self.hand_back(task)).await;
        }
        if let Some(Triage::Dead(reason, detail)) = triage::expired(&task.envelope, begun.at()) {
            return Box::pin(self.dead(task, reason, &detail)).await;
        }
        let envelope = &task.envelope;
        let span = tracing::info_span!(
            "attempt",
            task.id = %envelope.id,
            task.kind = %envelope.kind,
            task.attempt = envelope.attempt.get(),
            delivery.redelivered = task.redelivered,
        );
        crash_point(Point::WorkerBeforeHandler);
        let attempt = self.execute(&task, entry, &begun).instrument(span);
        let held = self.watchdog.hold(task, begun, self.config.grace);
        let executed = held.run(attempt).await;
        let past = begun.ended();
        let Some(task) = held.take() else {
            // It came to an end after all, but was given up before.
            return;
        };
        crash_point(Point::WorkerAfterHandler);
        match executed {
            Executed::Ended(ended) => {
                if let Some(prefetch) = &self.prefetch {
                    prefetch.ended(task.envelope.payload.bytes.len());
                }
                let jitter = rand::random();
                let settlement = settle(ended, task.envelope.attempt, &entry.policy, jitter);
                // An outcome keeps its room until the outbox has taken it.
                self.settle(task, past, settlement).await;
                drop(room);
            }
            Executed::CutOff => {
                Tally::add(&self.tally.cut_off, 1);
                Box::pin(self.give_back(task)).await;
            }
            Executed::Wedged => {
                self.end_wedged();
                Box::pin(self.wedged(task, past)).await;
            }
        }
    }

    /// Whether something may be done with a task: not if it came in a bundle that
    /// goes back.
    pub(super) fn may_begin(&self, task: &TaskDelivery) -> bool {
        let begins = task.bundle.as_ref().is_none_or(|bundle| bundle.begins());
        if !begins {
            Tally::add(&self.tally.returned, 1);
        }
        begins
    }

    /// Puts a task at the end of its queue that has waited here so long that the
    /// broker would take it back before its attempt has ended, and with it all
    /// else that this worker holds. Published anew and not returned, because
    /// RabbitMQ would count a return as if a worker had died.
    async fn hand_back(&self, task: Box<TaskDelivery>) {
        if task.token.is_lost() || !self.may_begin(&task) {
            return;
        }
        tracing::warn!(
            task.id = %task.envelope.id,
            task.kind = %task.envelope.kind,
            waited_ms = task.token.held_since().elapsed().as_millis() as u64,
            "task {} waited here so long that its attempt could outlast the broker's consumer timeout; \
             it goes to the end of its queue; a lower --prefetch leaves it to others earlier",
            task.envelope.id,
        );
        self.publish_again(task).await;
    }

    /// Room for an attempt, if there is some: of its kind first, so that one that
    /// waits for its kind takes nobody else's place. Whoever needs no slot has all
    /// of them, and so nothing else of its kind runs; what waits for room with that
    /// of its kind in hand is not to be waited for.
    fn room_now(&self, entry: &KindEntry, slots: u32) -> Option<Room> {
        let of_kind = match entry.room.clone() {
            Some(room) if slots > 0 => Some(room.try_acquire_owned().ok()?),
            _ => None,
        };
        let room = self.room.clone().try_acquire_many_owned(slots).ok()?;
        Some([of_kind, Some(room)])
    }

    /// Room for an attempt, once there is some.
    async fn room_for(
        &self,
        task: &TaskDelivery,
        entry: &KindEntry,
        slots: u32,
    ) -> Result<Room, NoRoom> {
        let room = async {
            let of_kind = match entry.room.clone() {
                Some(room) if slots > 0 => Some(room.acquire_owned().await?),
                _ => None,
            };
            let room = self.room.clone().acquire_many_owned(slots).await?;
            Ok::<_, AcquireError>([of_kind, Some(room)])
        };
        tokio::select! {
            biased;
            room = room => room.map_err(|_| NoRoom::AnyMore),
            () = sleep_until(task.latest_start(entry).into()) => Err(NoRoom::InTime),
            () = self.goes_back(task, slots) => Err(NoRoom::Soon),
        }
    }

    /// Waits until a task is to go back since others wait for too long before it.
    /// Those that came with others would take them along, or have to be published
    /// again. And the broker counts it as if a worker had died: so once at most,
    /// lest it becomes a suspect by that, and never one that is.
    async fn goes_back(&self, task: &TaskDelivery, slots: u32) {
        let place = self.prefetch.as_ref().map(Prefetch::wait);
        let is_new =
            || !task.redelivered && triage::crashes_with(&task.envelope, task.returns) == 0;
        match place {
            Some(place) if slots > 0 && task.bundle.is_none() && is_new() => {
                place.goes_back().await;
            }
            _ => std::future::pending().await,
        }
    }

    fn execute(
        &self,
        task: &TaskDelivery,
        entry: &KindEntry,
        begun: &Begun,
    ) -> impl Future<Output = Executed> + use<> {
        let envelope = &task.envelope;
        let frame = Frame {
            task: envelope.id,
            number: envelope.attempt,
            is_last: entry.policy.is_last(envelope.attempt),
            timeout_at: begun.timeout_at(),
            cutoff: self.cutoff.clone(),
        };
        let bounds = Bounds {
            timeout: entry.policy.attempt_timeout(),
            timeout_at: begun.timeout_at(),
            grace: self.config.grace,
            dropped: self.dropped.clone(),
        };
        let launch = (entry.handler)(Brief {
            kind: envelope.kind.clone(),
            payload: envelope.payload.clone(),
            frame,
        });
        async move { execute(launch, &bounds).await }
    }

    /// A handler would not end: its slot and its thread are lost to this
    /// process, so the process makes room for another one.
    pub(super) fn end_wedged(&self) {
        Tally::add(&self.tally.wedged, 1);
        self.ending.begin(Cause::Wedged);
    }

    /// Settles a task whose handler would not end: its attempt has failed, by its
    /// timeout. It is not simply given back, because a task whose handler never
    /// ends would then take down one worker after the other, for ever.
    pub(super) async fn wedged(&self, task: Box<TaskDelivery>, past: Past) {
        tracing::error!(
            task.id = %task.envelope.id,
            task.kind = %task.envelope.kind,
            run_ms = past.ran.as_millis() as u64,
            "the handler of task {} does not end; the worker stops",
            task.envelope.id,
        );
        let policy = past.policy();
        let ended = execute::wedged(policy.attempt_timeout());
        let settlement = settle(ended, task.envelope.attempt, &policy, rand::random());
        self.settle(task, past, settlement).await;
    }

    /// Gives back a task. A suspect is published again, since the broker would
    /// count its return as a crash; so is a task of which others came with it and
    /// have begun, since they would be run again. For those a broker that confirms
    /// nothing is not waited for: then they all come again.
    async fn give_back(&self, task: Box<TaskDelivery>) {
        if task.token.is_lost() {
            return;
        }
        let goes_back = task.bundle.as_ref().is_none_or(|bundle| bundle.goes_back());
        if *task.queue == QueueName::suspect() {
            self.publish_again(task).await;
        } else if !goes_back {
            let _late = timeout(GIVE_BACK_TIME, self.publish_again(task)).await;
        }
    }

    /// Puts a task at the end of its queue, with its crashes.
    async fn publish_again(&self, mut task: Box<TaskDelivery>) {
        let crashes = triage::crashes_with(&task.envelope, task.returns);
        triage::carry_crashes(&mut task.envelope, crashes);
        let to = Destination::Queue(QueueName::clone(&task.queue));
        self.send_on(task, &to).await;
    }

    async fn settle(&self, task: Box<TaskDelivery>, past: Past, settlement: Settlement) {
        log(&task.envelope, past, &settlement);
        let report = |status| past.report(&task.envelope, &task.queue, status, &self.worker);
        let report = match settlement {
            Settlement::Output(output) => {
                let mut report = report(Status::Succeeded);
                report.output = Some(output);
                report
            }
            Settlement::Failure(status, failure) => record::failed(report(status), failure),
            Settlement::Dead(reason, detail) => {
                return Box::pin(self.dead(task, reason, &detail)).await;
            }
            Settlement::Retry(failure, delay) => {
                let report = record::failed(report(Status::Retrying), failure);
                return Box::pin(self.retry(task, past, report, delay)).await;
            }
        };
        let reply_to = self.reply_to(&task.envelope);
        let token = task.token;
        self.outbox
            .put(Box::new(Settled {
                report,
                token,
                reply_to,
            }))
            .await;
    }

    /// Publishes the record of an attempt and the next attempt, together. Where
    /// that could not be started before the task's deadline the task has expired,
    /// now: there is nothing that could still come of it.
    async fn retry(
        &self,
        task: Box<TaskDelivery>,
        past: Past,
        mut report: homing_protocol::Report,
        delay: Duration,
    ) {
        let due_at = now().after(delay);
        report.retry_at = Some(due_at);
        let mut next = task.envelope.clone();
        next.attempt = next.attempt.next();
        // It has found a worker that knows it.
        triage::carry_parked(&mut next.carried, 0);
        next.due_at = Some(due_at);
        let to = Destination::after(QueueName::clone(&task.queue), delay);
        let late = next.expires_at.is_some_and(|at| at <= due_at);
        let follows = || match late {
            true => too_late(&next, &task.queue),
            false => next.to_message(to.clone(), message_id()),
        };
        let messages = || {
            let record = report_message(std::slice::from_ref(&report), self.outbox.destination());
            vec![record, follows()]
        };
        crash_point(Point::WorkerBeforeRetry);
        match self.publishing.replace(vec![task.token], messages).await {
            Ok(replaced) => {
                if late {
                    let told = record::dead(&next, &task.queue, Reason::Expired, TOO_LATE);
                    self.replies.tell(self.reply_to(&next), &told);
                }
                crash_point(Point::WorkerRetryConfirmed);
                replaced.ack();
                crash_point(Point::WorkerRetryAcked);
                Tally::add(&self.tally.finished, 1);
            }
            Err(Unpublished::TooLarge(error, mut tokens)) => {
                // Its headers leave no room for the next attempt's.
                let text = format!("cannot be tried again: {error}");
                let failure = AttemptFailure::new(&text, homing_protocol::Retry::Never);
                let report = past.report(&task.envelope, &task.queue, Status::Failed, &self.worker);
                let Some(token) = tokens.pop() else { return };
                let settled = Settled {
                    report: record::failed(report, failure),
                    token,
                    reply_to: self.reply_to(&task.envelope),
                };
                self.outbox.put(Box::new(settled)).await;
            }
            Err(Unpublished::Abandoned) => {}
        }
    }

    fn reply_to(&self, envelope: &Envelope) -> Option<ReplyTo> {
        ReplyTo::of(envelope, self.config.foreign_replies, &self.namespace)
    }

    /// Makes a task a dead letter, and tells who waits for it.
    pub(super) async fn dead(&self, task: Box<TaskDelivery>, reason: Reason, detail: &str) {
        let received = task.as_received();
        if self
            .bury(task.token, &received, reason, detail, &task.queue)
            .await
        {
            let report = record::dead(&task.envelope, &task.queue, reason, detail);
            self.replies.tell(self.reply_to(&task.envelope), &report);
        }
    }

    /// Makes a delivery a dead letter. Answers whether it is one.
    pub(super) async fn bury(
        &self,
        token: Token,
        received: &Received,
        reason: Reason,
        detail: &str,
        queue: &QueueName,
    ) -> bool {
        tracing::error!(error = detail, %reason, "a delivery from `{queue}` is dead: {reason}");
        let letter = || {
            vec![DeadLetter::message(
                received,
                reason,
                detail,
                queue.as_str(),
                message_id(),
            )]
        };
        crash_point(Point::WorkerBeforeDead);
        match self.publishing.replace(vec![token], letter).await {
            Ok(replaced) => {
                crash_point(Point::WorkerDeadConfirmed);
                replaced.ack();
            }
            Err(Unpublished::TooLarge(error, _)) => {
                tracing::error!(%error, "a dead letter does not fit a message; it goes back");
                return false;
            }
            Err(Unpublished::Abandoned) => return false,
        }
        true
    }

    /// Publishes tasks again instead of the delivery they came in.
    pub(super) async fn republish(
        &self,
        token: Token,
        received: &Received,
        tasks: &[Envelope],
        to: &Destination,
        queue: &QueueName,
    ) {
        let messages = || {
            let tasks = tasks.iter();
            tasks
                .map(|task| task.to_message(to.clone(), message_id()))
                .collect()
        };
        self.publish_instead(token, received, messages, queue).await;
    }

    /// Publishes messages instead of the delivery they come from.
    pub(super) async fn publish_instead(
        &self,
        token: Token,
        received: &Received,
        messages: impl Fn() -> Vec<Message>,
        queue: &QueueName,
    ) {
        crash_point(Point::WorkerBeforeRepublish);
        match self.publishing.replace(vec![token], messages).await {
            Ok(replaced) => {
                crash_point(Point::WorkerRepublished);
                replaced.ack();
            }
            Err(Unpublished::TooLarge(error, mut tokens)) => {
                let Some(token) = tokens.pop() else { return };
                let (reason, detail) = (Reason::Oversize, error.to_string());
                self.bury(token, received, reason, &detail, queue).await;
            }
            Err(Unpublished::Abandoned) => {}
        }
    }
}

/// Why a task is not tried again.
const TOO_LATE: &str = "its next attempt could not be started before its deadline";

/// The dead letter of a task whose next attempt would come too late.
fn too_late(next: &Envelope, queue: &QueueName) -> Message {
    let received = alone(next, false);
    let queue = queue.as_str();
    DeadLetter::message(&received, Reason::Expired, TOO_LATE, queue, message_id())
}

/// Says how an attempt ended.
///
/// Successes have a target of their own: at the speed of a broker, a line for
/// each is more work than the task.
fn log(envelope: &Envelope, past: Past, settlement: &Settlement) {
    let (id, kind, attempt) = (envelope.id, &envelope.kind, envelope.attempt.get());
    let run_ms = past.ran.as_millis() as u64;
    match settlement {
        Settlement::Output(_) => tracing::info!(
            target: "homing_worker::attempt",
            { task.id = %id, task.kind = %kind, task.attempt = attempt, run_ms },
            "task {id} succeeded"
        ),
        Settlement::Retry(failure, delay) => tracing::warn!(
            task.id = %id, task.kind = %kind, task.attempt = attempt, run_ms,
            error = failure.text, retry.delay_ms = delay.as_millis() as u64,
            "attempt {attempt} of task {id} failed; it is tried again",
        ),
        Settlement::Failure(status, failure) => tracing::error!(
            task.id = %id, task.kind = %kind, task.attempt = attempt, run_ms,
            error = failure.text, "task {id} {status}",
        ),
        // Said where the dead letter is made.
        Settlement::Dead(..) => {}
    }
}
