//! Tells publishers that their messages are on disk.
//!
//! A thread of its own waits for the disk, so that what is committed is delivered
//! meanwhile, and others write. Whoever gets a message before it is on disk can
//! lose nothing by it: what is confirmed after it in the same log is on disk only
//! if that is.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use homing_faults::{Point, crash_point};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::file::QueueFile;
use crate::error::PublishError;
use crate::publisher::Confirmed;

/// A publisher that waits for a confirm: with the room of its message, and what
/// tells that it has not ended.
pub(super) type Waiting = (
    oneshot::Sender<Result<Confirmed, PublishError>>,
    (OwnedSemaphorePermit, OwnedSemaphorePermit),
    Arc<OwnedSemaphorePermit>,
);

/// What waits for the disk.
#[derive(Debug)]
pub(super) struct Disk {
    waiting: Option<Sender<Vec<Waiting>>>,
    thread: Option<JoinHandle<()>>,
    failed: Arc<AtomicBool>,
}

impl Disk {
    /// That of `file`; none if it is in memory.
    ///
    /// # Errors
    ///
    /// What the system says if its log cannot be opened, or no thread begun.
    pub(super) fn of(file: &QueueFile) -> io::Result<Self> {
        let mut disk = Self {
            waiting: None,
            thread: None,
            failed: Arc::default(),
        };
        if let Some(log) = file.log()? {
            let (waiting, told) = channel();
            let failed = Arc::clone(&disk.failed);
            let thread = std::thread::Builder::new().name("disk".to_owned());
            disk.thread = Some(thread.spawn(move || run(&log, &told, &failed))?);
            disk.waiting = Some(waiting);
        }
        Ok(disk)
    }

    /// Whether it could not be written through. The system says so once, and then
    /// takes for written what is not: nothing may be confirmed after it.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Tells them once what was committed until now is on disk.
    pub(super) fn confirm(&self, all: Vec<Waiting>) {
        match &self.waiting {
            _ if all.is_empty() => {}
            // Without the thread nobody is confirmed: their senders are dropped.
            Some(waiting) => drop(waiting.send(all)),
            None => tell(all, true),
        }
    }

    /// Waits until all are told.
    pub(super) fn finish(&mut self) {
        self.waiting = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn run(log: &File, told: &Receiver<Vec<Waiting>>, failed: &AtomicBool) {
    while let Ok(mut all) = told.recv() {
        all.extend(told.try_iter().flatten());
        let synced = match failed.load(Ordering::Acquire) {
            true => Err(io::Error::other("it failed before")),
            false => log.sync_data(),
        };
        if let Err(error) = &synced {
            failed.store(true, Ordering::Release);
            tracing::error!(%error, "the queue file's log cannot be written to disk: {error}");
        }
        tell(all, synced.is_ok());
    }
}

fn tell(all: Vec<Waiting>, confirmed: bool) {
    for (confirm, room, running) in all {
        crash_point(Point::LinkConfirmed);
        drop(room);
        let answer = match confirmed {
            true => Ok(Confirmed::new()),
            // It may be on disk, and may not.
            false => Err(PublishError::Unconfirmed {
                waited: Duration::ZERO,
            }),
        };
        let _gone = confirm.send(answer);
        drop(running);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::sync::Semaphore;

    use super::*;

    type Answer = oneshot::Receiver<Result<Confirmed, PublishError>>;

    fn waiting() -> (Vec<Waiting>, Answer) {
        let room = || Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (confirm, answer) = oneshot::channel();
        (vec![(confirm, (room(), room()), Arc::new(room()))], answer)
    }

    /// Whether each of so many is confirmed that wait for `log`.
    fn confirmed(log: &Path, count: usize) -> Vec<bool> {
        let (told, tell) = channel();
        let (log, failed) = (File::open(log).unwrap(), AtomicBool::new(false));
        let mut answers = Vec::new();
        for _ in 0..count {
            let (all, answer) = waiting();
            told.send(all).unwrap();
            answers.push(answer);
        }
        drop(told);
        run(&log, &tell, &failed);
        let is_confirmed = |answer: Answer| answer.blocking_recv().unwrap().is_ok();
        let confirmed: Vec<_> = answers.into_iter().map(is_confirmed).collect();
        assert_eq!(failed.load(Ordering::Acquire), confirmed.contains(&false));
        confirmed
    }

    #[test]
    fn what_is_on_disk_is_confirmed_and_on_a_disk_that_fails_nothing_is() {
        let path = std::env::temp_dir().join(format!("homing-{}-log", std::process::id()));
        std::fs::write(&path, "log").unwrap();

        assert_eq!(confirmed(&path, 2), [true, true]);
        // A device that cannot be written through.
        assert_eq!(confirmed(Path::new("/dev/null"), 2), [false, false]);
        std::fs::remove_file(path).unwrap();
    }
}
