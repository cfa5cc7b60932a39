//! Opens the links that a broker's handle asks for.

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::spawn;

use super::Engine;
use crate::consumer::{ConsumerEnd, Wish};
use crate::embedded::file::QueueFile;
use crate::embedded::links::{Events, Key, Outlet, Reader, publishes};
use crate::error::BrokerError;
use crate::publisher::Request;
use crate::puller::Ask;
use crate::{InboxEvent, Window};

/// What is done once with the file, and told to whoever wants it.
type Work = Box<dyn FnOnce(&mut QueueFile) + Send>;

/// Told to whoever opens a link.
type Ready = oneshot::Sender<Result<(), BrokerError>>;

/// What a broker's handle wants.
pub(in crate::embedded) enum Order {
    Publisher {
        window: Window,
        requests: mpsc::UnboundedReceiver<Request>,
        running: OwnedSemaphorePermit,
    },
    Consumer {
        queue: String,
        end: ConsumerEnd,
        ready: Ready,
    },
    Puller {
        queue: String,
        asked: mpsc::UnboundedReceiver<Ask>,
        ended: oneshot::Sender<()>,
        ready: Ready,
    },
    Inbox {
        address: String,
        events: mpsc::UnboundedSender<InboxEvent>,
        ready: Ready,
    },
    Work(Work),
}

/// A reader that is not written down yet.
pub(super) struct Opening {
    pub(super) key: Key,
    pub(super) events: Events,
    pub(super) queue: String,
    pub(super) prefetch: u32,
    pub(super) outlet: Outlet,
    pub(super) ready: Ready,
}

impl Engine {
    /// Does what is asked, or notes it for the next step.
    pub(super) fn order(&mut self, order: Order, events: Events) {
        let key = self.key();
        let (queue, prefetch, outlet, ready) = match order {
            Order::Publisher {
                window,
                requests,
                running,
            } => {
                spawn(publishes(requests, window.deadline, running, events));
                return;
            }
            Order::Consumer { queue, end, ready } => {
                let (outlet, prefetch) = Reader::consumer(key, end, &events);
                (queue, prefetch, outlet, ready)
            }
            Order::Puller {
                queue,
                asked,
                ended,
                ready,
            } => (queue, 1, Reader::puller(key, asked, ended, &events), ready),
            Order::Inbox {
                address,
                events: replies,
                ready,
            } => (address, 0, Reader::inbox(key, replies, &events), ready),
            Order::Work(work) => {
                // It finds what was published before it.
                self.step();
                work(&mut self.file);
                return;
            }
        };
        self.opening.push(Opening {
            key,
            events,
            queue,
            prefetch,
            outlet,
            ready,
        });
    }

    /// Tells whoever opens a link what came of it.
    pub(super) fn opened(&mut self, opening: Opening, opened: Result<(i64, i64), ()>) {
        let Opening {
            key,
            events,
            queue,
            prefetch,
            outlet,
            ready,
        } = opening;
        let Ok((id, consumer)) = opened else {
            let place = self.place.clone();
            let what = format!("queue `{queue}`");
            let _gone = ready.send(Err(BrokerError::Missing { place, what }));
            return;
        };
        let mut reader = Reader::new(key, (id, queue), consumer, prefetch, outlet, &events);
        if ready.send(Ok(())).is_err() {
            // Whoever gave up has dropped its handle, maybe before there was a reader.
            reader.wish = Wish::Stop;
        }
        self.readers.insert(key, reader);
        self.look = true;
    }
}
