//! Tells publishers that their messages are on disk.
//!
//! A thread of its own waits for the disk, so that what is committed is delivered
//! meanwhile, and others write. Whoever gets a message before it is on disk can
//! lose nothing by it: what is confirmed after it in the same log is on disk only
//! if that is.

use std::fs::File;
use std::io;
use std::sync::Arc;
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
}

impl Disk {
    /// That of `file`; none if it is in memory.
    pub(super) fn of(file: &QueueFile) -> Self {
        let log = match file.path() {
            None => {
                let (waiting, thread) = (None, None);
                return Self { waiting, thread };
            }
            Some(_) => file.log(),
        };
        let (waiting, told) = channel();
        let thread = std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || run(&log, &told))
            .ok();
        Self {
            waiting: Some(waiting),
            thread,
        }
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

fn run(log: &io::Result<Option<File>>, told: &Receiver<Vec<Waiting>>) {
    while let Ok(mut all) = told.recv() {
        all.extend(told.try_iter().flatten());
        let synced = match log {
            Ok(Some(log)) => log.sync_data().map_err(|error| error.to_string()),
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = &synced {
            tracing::warn!(%error, "the queue file's log cannot be written to disk: {error}");
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
