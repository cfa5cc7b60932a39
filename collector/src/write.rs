//! The thread that writes: group commit, then acks.
//!
//! It takes what is there and commits it at once, so a lone outcome waits for
//! nobody; what arrives during a commit is the next group, so groups grow with
//! the load by themselves.

use std::mem::{Discriminant, discriminant};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime};

use homing_broker::Token;
use homing_faults::{Point, Sabotage, crash_point, is_broken};
use homing_protocol::{Digest, Proof, Timestamp, chain};
use homing_store::{Committed, Entry, StoreError, Writer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::refused;

/// Most entries in one group. Larger ones are not faster, but take longer to
/// write again after a failure.
const GROUP_ENTRIES_MAX: usize = 2_000;

/// Most bytes in one group, up to the last message that passes it.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// Messages that wait for the thread: a group of singles. The prefetch bounds
/// what waits before them.
const QUEUE_MAX: usize = 2_000;

/// Pauses between attempts to write while the store fails.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A message's entries, and the right to answer for it once they are stored.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) entries: Vec<Entry>,
    pub(crate) token: Token,
}

/// What the thread is asked to do.
enum Job {
    Store(Item),
    /// To note that a letter is taken from quarantine, and to tell how often it
    /// was. Without an answer that cannot be noted now.
    NoteTry(Try, oneshot::Sender<u32>),
}

/// That a letter is taken from quarantine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    pub(crate) letter: Digest,
    /// The one that was taken before, by this process.
    pub(crate) before: Option<Digest>,
}

/// What writes groups; a store, or in a test one that fails.
trait Sink {
    type Proof: Proof;
    fn write(&mut self, entries: &[Entry], now: Timestamp) -> Result<Self::Proof, StoreError>;
    fn note_try(&mut self, taken: &Try) -> Result<u32, StoreError>;
    /// Opens it anew, after an error that may be of the connection.
    fn reopen(&mut self) -> Result<(), StoreError>;
}

impl Sink for Writer {
    type Proof = Committed;

    fn write(&mut self, entries: &[Entry], now: Timestamp) -> Result<Committed, StoreError> {
        Self::write(self, entries, now)
    }

    fn note_try(&mut self, taken: &Try) -> Result<u32, StoreError> {
        Self::note_try(self, &taken.letter, taken.before.as_ref())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        Self::reopen(self)
    }
}

/// The handle of the thread. Dropped, the thread writes what it has and ends.
#[derive(Debug)]
pub(crate) struct WriteThread {
    jobs: mpsc::Sender<Job>,
    /// Never sent to: that it is gone tells the thread to try no longer.
    patience: Sender<()>,
    stalls: watch::Receiver<bool>,
    thread: JoinHandle<Result<u64, StoreError>>,
}

impl WriteThread {
    pub(crate) fn start(writer: Writer) -> Self {
        let (jobs, rx) = mpsc::channel(QUEUE_MAX);
        let (patience, ended) = channel();
        let (stalled, stalls) = watch::channel(false);
        let patient = Patient { ended, stalled };
        Self {
            jobs,
            patience,
            stalls,
            // Joined by `end`; ends by itself once `jobs` is gone.
            thread: tokio::task::spawn_blocking(move || write_all(writer, rx, &patient)),
        }
    }

    /// Whether the store cannot be written now.
    pub(crate) fn stalls(&self) -> watch::Receiver<bool> {
        self.stalls.clone()
    }

    /// Hands `item` over, once there is room. If the thread has ended, the
    /// item's delivery goes back to its queue.
    pub(crate) async fn store(&self, item: Item) {
        let _back = self.jobs.send(Job::Store(item)).await;
    }

    /// What notes that letters are taken from quarantine.
    pub(crate) fn tries(&self) -> Tries {
        Tries(self.jobs.downgrade())
    }

    /// Waits until the thread has ended by itself: the store failed for good.
    pub(crate) async fn ended(&self) {
        self.jobs.closed().await;
    }

    /// Waits until everything handed over is stored, or cannot be now. Answers
    /// how many entries the thread stored in all.
    pub(crate) async fn end(self) -> Result<u64, StoreError> {
        drop((self.jobs, self.patience));
        match self.thread.await {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is shutting down: nobody polls this any more.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Notes, in the store, that letters are taken from quarantine.
#[derive(Clone, Debug)]
pub(crate) struct Tries(mpsc::WeakSender<Job>);

impl Tries {
    /// Notes one more of a letter. Answers how many that makes; `None` if it cannot
    /// be noted now.
    pub(crate) async fn note(&self, taken: Try) -> Option<u32> {
        let (answer, tries) = oneshot::channel();
        let jobs = self.0.upgrade()?;
        jobs.send(Job::NoteTry(taken, answer)).await.ok()?;
        drop(jobs);
        tries.await.ok()
    }
}

/// What the thread knows of those it works for.
struct Patient {
    /// Disconnected once nobody waits for it any more.
    ended: Receiver<()>,
    /// Tells whether the store cannot be written.
    stalled: watch::Sender<bool>,
}

fn write_all(
    mut sink: impl Sink,
    mut jobs: mpsc::Receiver<Job>,
    patient: &Patient,
) -> Result<u64, StoreError> {
    let (mut stored, mut next) = (0, None);
    while let Some(job) = next.take().or_else(|| jobs.blocking_recv()) {
        let first = match job {
            Job::Store(item) => item,
            Job::NoteTry(taken, answer) => {
                note_try(&mut sink, &taken, answer);
                continue;
            }
        };
        let (entries, mut tokens) = group(first, &mut jobs, &mut next);
        crash_point(Point::CollectorBeforeWrite);
        if is_broken(Sabotage::AckBeforeCommit) {
            tokens.drain(..).for_each(|token| token.ack(&Forged));
        }
        let Some(proof) = write(&mut sink, &entries, patient)? else {
            // The store fails and nobody waits for it any more: the tokens go,
            // and with them the deliveries back to their queues.
            return Ok(stored);
        };
        stored += entries.len() as u64;
        for token in tokens {
            token.ack(&proof);
        }
        crash_point(Point::CollectorAcked);
    }
    Ok(stored)
}

/// What tests put in the place of a commit, to show that they would notice.
struct Forged;

impl Proof for Forged {}

fn note_try(sink: &mut impl Sink, taken: &Try, answer: oneshot::Sender<u32>) {
    match sink.note_try(taken) {
        // Whoever asked may have gone.
        Ok(tries) => _ = answer.send(tries),
        Err(error) => tracing::warn!(
            error = chain(&error),
            "what is in quarantine waits until the store can be written",
        ),
    }
}

/// `first` and what is there already, up to a job of another sort.
fn group(
    first: Item,
    jobs: &mut mpsc::Receiver<Job>,
    other: &mut Option<Job>,
) -> (Vec<Entry>, Vec<Token>) {
    let (mut entries, mut tokens, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut next = Some(first);
    while let Some(item) = next {
        bytes += item.entries.iter().map(Entry::bytes).sum::<usize>();
        entries.extend(item.entries);
        tokens.push(item.token);
        let full = entries.len() >= GROUP_ENTRIES_MAX || bytes >= GROUP_BYTES_MAX;
        next = match if full { None } else { jobs.try_recv().ok() } {
            Some(Job::Store(item)) => Some(item),
            job => {
                *other = job;
                None
            }
        };
    }
    (entries, tokens)
}

/// Writes one group, again and again if need be, without the entries that the
/// store refuses: halves are tried, until each of those is alone, and a dead
/// letter takes its place. `None` if it failed and there is no patience left.
fn write<S: Sink>(
    sink: &mut S,
    entries: &[Entry],
    patient: &Patient,
) -> Result<Option<S::Proof>, StoreError> {
    let refusal = match write_whole(sink, entries, patient) {
        Err(error @ StoreError::Rejected { .. }) => error,
        written => return written,
    };
    if let [entry] = entries {
        return write_refused(sink, entry, refusal, patient);
    }
    let (first, second) = entries.split_at(entries.len() / 2);
    match write(sink, first, patient)? {
        Some(_) => write(sink, second, patient),
        None => Ok(None),
    }
}

/// Writes a dead letter in the place of `entry`.
fn write_refused<S: Sink>(
    sink: &mut S,
    entry: &Entry,
    refusal: StoreError,
    patient: &Patient,
) -> Result<Option<S::Proof>, StoreError> {
    tracing::error!(
        error = chain(&refusal),
        "the store refuses {}: it is kept as a dead letter",
        refused::subject(entry),
    );
    let detail = refusal.to_string();
    for letter in refused::letters(entry, &detail) {
        match write_whole(sink, &[letter], patient) {
            Err(StoreError::Rejected { .. }) => {}
            written => return written,
        }
    }
    Err(refusal)
}

/// Writes all of `entries` or none, again and again while waiting may help.
fn write_whole<S: Sink>(
    sink: &mut S,
    entries: &[Entry],
    patient: &Patient,
) -> Result<Option<S::Proof>, StoreError> {
    let mut pause = PAUSE_FIRST;
    let mut stall = Stall::default();
    let mut written = sink.write(entries, Timestamp::from(SystemTime::now()));
    loop {
        let error = match written {
            Ok(proof) => {
                stall.end();
                patient.stalled.send_if_modified(std::mem::take);
                return Ok(Some(proof));
            }
            Err(error) if error.is_transient() => error,
            Err(error) => return Err(error),
        };
        stall.say(&error);
        patient
            .stalled
            .send_if_modified(|stalled| !std::mem::replace(stalled, true));
        if patient.ended.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return Ok(None);
        }
        pause = (pause * 2).min(PAUSE_MAX);
        // Of a file that is locked, or has no room, the connection is as before.
        let reopened = match error {
            StoreError::Busy { .. } | StoreError::Full { .. } => Ok(()),
            _ => sink.reopen(),
        };
        written = reopened.and_then(|()| sink.write(entries, Timestamp::from(SystemTime::now())));
    }
}

/// A time in which the store cannot be written. What is wrong is said once.
#[derive(Debug, Default)]
struct Stall(Option<Discriminant<StoreError>>);

impl Stall {
    fn say(&mut self, error: &StoreError) {
        let what = discriminant(error);
        if self.0.replace(what) != Some(what) {
            tracing::warn!(
                error = chain(error),
                "the store cannot be written: outcomes wait in their queue until it can",
            );
        }
    }

    fn end(self) {
        if self.0.is_some() {
            tracing::info!("the store can be written again");
        }
    }
}

#[cfg(test)]
mod tests {
    use homing_protocol::{Digest, Report, Run, Status, TaskId};
    use uuid::Uuid;

    use super::*;

    struct Stored;

    impl Proof for Stored {}

    /// Answers with each of these, the last first.
    struct Answers(Vec<Result<(), StoreError>>);

    impl Sink for Answers {
        type Proof = Stored;

        fn write(&mut self, _: &[Entry], _: Timestamp) -> Result<Stored, StoreError> {
            self.0
                .pop()
                .expect("no more answers are asked for")
                .map(|()| Stored)
        }

        fn note_try(&mut self, _: &Try) -> Result<u32, StoreError> {
            unreachable!("nothing is in quarantine")
        }

        fn reopen(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    /// Patience, and what ends it when it is dropped.
    fn patience() -> (Sender<()>, Patient) {
        let (patience, ended) = channel();
        let stalled = watch::Sender::new(false);
        (patience, Patient { ended, stalled })
    }

    fn full() -> StoreError {
        StoreError::Full {
            path: "a.db".into(),
        }
    }

    fn corrupt() -> StoreError {
        StoreError::Corrupt {
            path: "a.db".into(),
            detail: String::new(),
        }
    }

    #[test]
    fn a_group_is_written_again_until_the_disk_has_room() {
        let (_patience, patient) = patience();
        let mut sink = Answers(vec![Ok(()), Err(full()), Err(full())]);

        let written = write(&mut sink, &[], &patient);

        assert!(written.is_ok_and(|proof| proof.is_some()));
        assert!(sink.0.is_empty());
    }

    #[test]
    fn whoever_receives_is_told_while_the_store_cannot_be_written() {
        let (patience, patient) = patience();
        let stalls = patient.stalled.subscribe();
        let stalled = |written: Result<Option<Stored>, StoreError>| {
            written.map(|_| *stalls.borrow()).unwrap()
        };

        let good = stalled(write(&mut Answers(vec![Ok(())]), &[], &patient));
        drop(patience);
        let given_up = stalled(write(&mut Answers(vec![Err(full())]), &[], &patient));
        let good_again = stalled(write(&mut Answers(vec![Ok(())]), &[], &patient));

        assert_eq!([good, given_up, good_again], [false, true, false]);
    }

    #[test]
    fn what_waiting_does_not_cure_ends_it() {
        let (_patience, patient) = patience();

        let written = write(&mut Answers(vec![Err(corrupt())]), &[], &patient);

        assert!(matches!(written, Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn there_is_no_proof_if_the_store_fails_while_it_stops() {
        let (patience, patient) = patience();
        drop(patience);

        let written = write(&mut Answers(vec![Err(full())]), &[], &patient);

        assert!(written.is_ok_and(|proof| proof.is_none()));
    }

    /// Takes reports but those of these tasks.
    struct Choosy {
        refused: Vec<u128>,
        stored: Vec<Entry>,
    }

    impl Sink for Choosy {
        type Proof = Stored;

        fn write(&mut self, entries: &[Entry], _: Timestamp) -> Result<Stored, StoreError> {
            let refuses = |entry: &Entry| match entry {
                Entry::Report(report) => {
                    let number = |id: &u128| TaskId::from(Uuid::from_u128(*id)) == report.task;
                    self.refused.iter().any(number)
                }
                _ => false,
            };
            if entries.iter().any(refuses) {
                let path = "a.db".into();
                let detail = "no".to_owned();
                return Err(StoreError::Rejected { path, detail });
            }
            self.stored.extend_from_slice(entries);
            Ok(Stored)
        }

        fn note_try(&mut self, _: &Try) -> Result<u32, StoreError> {
            unreachable!("nothing is in quarantine")
        }

        fn reopen(&mut self) -> Result<(), StoreError> {
            Ok(())
        }
    }

    fn report(number: u128) -> Entry {
        let task = TaskId::from(Uuid::from_u128(number));
        let (kind, digest) = ("demo.echo".to_owned(), Digest::of(b""));
        Entry::Report(Report::bare(
            task,
            Run::FIRST,
            kind,
            Status::Succeeded,
            digest,
        ))
    }

    #[test]
    fn what_the_store_refuses_is_a_dead_letter_wherever_it_stands_and_the_others_are_stored() {
        let entries: Vec<_> = (0..7).map(report).collect();
        for refused in (0..7)
            .map(|at| vec![at])
            .chain([vec![0, 6], (0..7).collect()])
        {
            let (_patience, patient) = patience();
            let mut sink = Choosy {
                refused: refused.clone(),
                stored: Vec::new(),
            };

            let written = write(&mut sink, &entries, &patient);

            assert!(written.is_ok_and(|proof| proof.is_some()));
            let (dead, others): (Vec<_>, Vec<_>) = sink
                .stored
                .iter()
                .partition(|entry| matches!(entry, Entry::Dead(_)));
            assert_eq!(
                (dead.len(), others.len()),
                (refused.len(), 7 - refused.len())
            );
        }
    }
}
