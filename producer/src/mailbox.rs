//! Replies to the tasks whose outcomes somebody awaits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use homing_broker::{Inbox, InboxEvent};
use homing_protocol::{Received, Report, TaskId, decode_reports};
use tokio::sync::watch;

/// The outcome of an awaited task, once it is there.
pub(crate) type Slot = watch::Receiver<Option<Arc<Report>>>;

/// Tasks whose outcomes are awaited. Those nobody awaits any more are taken
/// out, so it never holds more than there are handles.
type Awaited = Mutex<HashMap<TaskId, watch::Sender<Option<Arc<Report>>>>>;

/// Receives replies for as long as it or a handle lives.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    pub(crate) address: String,
    awaited: Arc<Awaited>,
}

impl Mailbox {
    /// Takes replies out of `inbox`, on a task of the runtime it is called in.
    /// The task ends once the mailbox and all its slots are gone.
    pub(crate) fn new(inbox: Inbox) -> Self {
        let Inbox {
            address,
            mut events,
        } = inbox;
        let awaited: Arc<Awaited> = Arc::default();
        let weak = Arc::downgrade(&awaited);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let Some(awaited) = weak.upgrade() else {
                    return;
                };
                match event {
                    InboxEvent::Reply(received) => deliver(&awaited, &received),
                    // Replies in between are lost: whoever waits is told.
                    InboxEvent::Gap => lock(&awaited).clear(),
                }
            }
        });
        Self { address, awaited }
    }

    /// Awaits the outcome of `task` from now on.
    pub(crate) fn expect(&self, task: TaskId) -> Waiting {
        let mut awaited = lock(&self.awaited);
        let slot = match awaited.get(&task) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, slot) = watch::channel(None);
                awaited.insert(task, sender);
                slot
            }
        };
        Waiting {
            task,
            slot,
            mailbox: self.clone(),
        }
    }
}

fn lock(
    awaited: &Awaited,
) -> std::sync::MutexGuard<'_, HashMap<TaskId, watch::Sender<Option<Arc<Report>>>>> {
    // A panic elsewhere leaves the map whole.
    awaited.lock().unwrap_or_else(PoisonError::into_inner)
}

fn deliver(awaited: &Awaited, received: &Received) {
    let reports = match decode_reports(received) {
        Ok(reports) => reports,
        Err(error) => {
            tracing::warn!(error = %error, "a reply cannot be read; the store has the outcome");
            return;
        }
    };
    for report in reports.into_iter().filter(|r| r.status.is_closed()) {
        if let Some(sender) = lock(awaited).get(&report.task) {
            // The first outcome stays: a later one is a duplicate.
            sender.send_if_modified(|slot| {
                let first = slot.is_none();
                slot.get_or_insert_with(|| Arc::new(report));
                first
            });
        }
    }
}

/// Somebody's wait for the outcome of a task.
#[derive(Debug)]
pub(crate) struct Waiting {
    task: TaskId,
    pub(crate) slot: Slot,
    mailbox: Mailbox,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut awaited = lock(&self.mailbox.awaited);
        // This slot is one receiver; without others nobody waits.
        if awaited
            .get(&self.task)
            .is_some_and(|s| s.receiver_count() <= 1)
        {
            awaited.remove(&self.task);
        }
    }
}
