//! Publishes outcomes: a lone one at once, those that wait together.
//!
//! While the broker confirms a message, further outcomes gather for a moment:
//! the busier the worker, the more of them share the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use homing_broker::{PublishError, Token};
use homing_faults::{Point, crash_point};
use homing_protocol::{Destination, Message, Report, Status, encode_reports, pack};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::publish::Unpublished;
use super::record::Tally;
use super::reply::ReplyTo;
use super::{Engine, message_id, now, recv_until};

/// Most outcomes in a message: past that the broker is no longer what limits the
/// rate, and a redelivered message would hold up more of them.
const REPORTS_MAX: usize = 128;

/// Bytes from which a message takes no further outcome.
const REPORT_BYTES_MAX: usize = 256 << 10;

/// How long outcomes gather while a message is on its way. One that takes its
/// time does not stop the others.
const GATHER_TIME: Duration = Duration::from_millis(2);

/// Messages on their way at once. With 4 the broker had so few to confirm at a time
/// that it spent more on waking up and writing to disk than on them, and outcomes of
/// bundles were stored at two thirds of the rate.
const MESSAGES_MAX: usize = 16;

/// Outcomes that may wait. Past that, attempts wait with their outcomes, and
/// since they keep their room, no others begin.
const WAITING_MAX: usize = 2_048;

/// KiB of outcomes that may wait or be on their way: 64 MiB.
const KIB_MAX: u32 = 64 << 10;

/// An outcome, and what hangs on it.
pub(super) struct Settled {
    pub(super) report: Report,
    pub(super) token: Token,
    pub(super) reply_to: Option<ReplyTo>,
}

/// Where outcomes are handed in.
pub(super) struct Outbox {
    settled: mpsc::Sender<Held>,
    room: Arc<Semaphore>,
    /// The routing key of the last message.
    key: AtomicU8,
}

/// An outcome with its share of the room. Boxed: on its way it is moved many times.
pub(super) struct Held {
    settled: Box<Settled>,
    bytes: usize,
    room: OwnedSemaphorePermit,
}

impl Outbox {
    pub(super) fn new() -> (Self, mpsc::Receiver<Held>) {
        let (settled, inbox) = mpsc::channel(WAITING_MAX);
        let outbox = Self {
            settled,
            room: Arc::new(Semaphore::new(KIB_MAX as usize)),
            key: AtomicU8::new(0),
        };
        (outbox, inbox)
    }

    /// Hands in an outcome, as soon as there is room for it. Once the outbox is
    /// closed, its delivery goes back instead.
    pub(super) async fn put(&self, settled: Box<Settled>) {
        let bytes = settled.report.bytes();
        let kib = u32::try_from(bytes / 1_024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(kib.min(KIB_MAX));
        if let Ok(room) = room.await {
            let held = Held {
                settled,
                bytes,
                room,
            };
            let _closed = self.settled.send(held).await;
        }
    }

    /// The queue of outcomes, by the next routing key in turn.
    pub(super) fn destination(&self) -> Destination {
        Destination::Results { key: self.key() }
    }

    /// The next routing key in turn.
    pub(super) fn key(&self) -> u8 {
        self.key.fetch_add(1, Ordering::Relaxed)
    }
}

/// Publishes outcomes until `flush`, then those that still wait.
pub(super) async fn send(
    engine: Arc<Engine>,
    mut inbox: mpsc::Receiver<Held>,
    flush: CancellationToken,
) {
    let mut on_their_way = JoinSet::new();
    let mut waiting = Vec::new();
    while recv_until(&mut inbox, &mut waiting, REPORTS_MAX, &flush).await > 0 {
        gather(&mut inbox, &mut waiting, &mut on_their_way).await;
        for bundle in pack(waiting.drain(..), REPORTS_MAX, REPORT_BYTES_MAX, |held| {
            held.bytes
        }) {
            on_their_way.spawn(Arc::clone(&engine).publish(bundle));
            while on_their_way.len() >= MESSAGES_MAX {
                on_their_way.join_next().await;
            }
        }
    }
    while on_their_way.join_next().await.is_some() {}
}

/// Takes further outcomes while a message is on its way and these do not fill
/// the next, for a moment.
async fn gather(
    inbox: &mut mpsc::Receiver<Held>,
    waiting: &mut Vec<Held>,
    on_their_way: &mut JoinSet<()>,
) {
    let until = Instant::now() + GATHER_TIME;
    while !on_their_way.is_empty() && !is_full(waiting) {
        tokio::select! {
            biased;
            () = sleep_until(until) => return,
            taken = inbox.recv_many(waiting, REPORTS_MAX - waiting.len()) => {
                if taken == 0 {
                    return;
                }
            }
            _ended = on_their_way.join_next() => {}
        }
    }
}

fn is_full(waiting: &[Held]) -> bool {
    let bytes = waiting.iter().map(|held| held.bytes);
    waiting.len() >= REPORTS_MAX || bytes.sum::<usize>() >= REPORT_BYTES_MAX
}

/// A message that carries `reports`, each whole if that is possible.
pub(super) fn report_message(reports: &[Report], to: Destination) -> Message {
    match encode_reports(reports, to.clone(), message_id(), now()) {
        Ok(message) => message,
        // Their parts keep to limits that fit a message together, so this is
        // a bound on a mistake, not a path that is taken.
        Err(error) => {
            let shrunk: Vec<_> = reports
                .iter()
                .map(|report| shrunk(report, &error))
                .collect();
            encode_reports(&shrunk, to, message_id(), now())
                .expect("reports without output and payload fit a message")
        }
    }
}

/// `report` as a failure for good that fits.
fn shrunk(report: &Report, error: &impl std::fmt::Display) -> Report {
    let mut report = report.clone();
    report.status = Status::Failed;
    report.error = Some(error.to_string());
    (report.output, report.error_data, report.payload) = (None, None, None);
    report
}

/// Whether `shrunk` leaves it as it is.
fn is_bare(report: &Report) -> bool {
    report.output.is_none() && report.error_data.is_none() && report.payload.is_none()
}

impl Engine {
    /// Publishes outcomes: as one message; each alone, if this broker takes no
    /// message as large; without what makes it large, if it does not take that.
    async fn publish(self: Arc<Self>, bundle: Vec<Held>) {
        let mut bundles = vec![bundle];
        while let Some(bundle) = bundles.pop() {
            let Some((error, mut back)) = self.publish_together(bundle).await else {
                continue;
            };
            if let [alone] = back.as_mut_slice() {
                let report = &mut alone.settled.report;
                if is_bare(report) {
                    tracing::error!(%error, "an outcome fits no message; its task goes back");
                    continue;
                }
                *report = shrunk(report, &error);
            }
            bundles.extend(back.into_iter().map(|held| vec![held]));
        }
    }

    /// Publishes outcomes as one message; then, confirmed, tells who waits for
    /// them and acks their tasks. Gives them back if it is too large.
    async fn publish_together(&self, bundle: Vec<Held>) -> Option<(PublishError, Vec<Held>)> {
        let mut reports = Vec::with_capacity(bundle.len());
        let (mut tokens, mut others) = (Vec::new(), Vec::new());
        for Held {
            settled,
            bytes,
            room,
        } in bundle
        {
            reports.push(settled.report);
            tokens.push(settled.token);
            others.push((settled.reply_to, bytes, room));
        }
        let messages = || vec![report_message(&reports, self.outbox.destination())];
        crash_point(Point::WorkerBeforeOutcome);
        match self.publishing.replace(tokens, messages).await {
            Ok(replaced) => {
                crash_point(Point::WorkerOutcomeConfirmed);
                for ((reply_to, ..), report) in others.into_iter().zip(&reports) {
                    self.replies.tell(reply_to, report);
                }
                replaced.ack();
                crash_point(Point::WorkerOutcomeAcked);
                Tally::add(&self.tally.finished, reports.len());
                None
            }
            Err(Unpublished::TooLarge(error, tokens)) => {
                let parts = reports.into_iter().zip(tokens).zip(others);
                let back = parts.map(|((report, token), (reply_to, bytes, room))| Held {
                    settled: Box::new(Settled {
                        report,
                        token,
                        reply_to,
                    }),
                    bytes,
                    room,
                });
                Some((error, back.collect()))
            }
            Err(Unpublished::Abandoned) => None,
        }
    }
}
