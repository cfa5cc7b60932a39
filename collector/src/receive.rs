//! Receives, decodes, and hands over to the thread that writes.
//!
//! While the store cannot be written nothing more is asked for: what a broken
//! connection held comes again, and would be held a second time.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::SystemTime;

use homing_broker::{Consumer, Delivery};
use homing_faults::{Point, crash_point};
use homing_protocol::Timestamp;
use homing_protocol::topology::Topology;
use homing_store::Entry;
use tokio::sync::watch;

use crate::decode;
use crate::error::CollectorError;
use crate::quarantine::Quarantine;
use crate::results::Results;
use crate::stray::Strays;
use crate::write::{Item, WriteThread};

/// Most deliveries taken from a link at once; the others wait for a moment
/// only, but so does a stop signal.
const TAKE_MAX: usize = 100;

/// The links deliveries come over: one for each queue, so that a dead letter
/// that kills its link does not stop the outcomes.
pub(crate) struct Consumers {
    pub(crate) results: Results,
    pub(crate) dead: Consumer,
    pub(crate) quarantine: Quarantine,
    pub(crate) strays: Strays,
}

/// How the hand-over of what was received ended.
enum Stored {
    All,
    Stopped,
}

impl Consumers {
    /// Receives until `stop` ends or `thread` does.
    ///
    /// # Errors
    ///
    /// [`CollectorError::ConsumerEnded`]: a link did.
    /// [`CollectorError::Newer`]: something came that only a newer collector can
    /// read; it goes back.
    pub(crate) async fn receive(
        &mut self,
        topology: &Topology,
        thread: &mut WriteThread,
        stop: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), CollectorError> {
        let received = self.take(topology, thread, stop).await;
        self.results.stop();
        self.dead.stop();
        self.quarantine.stop();
        received
    }

    async fn take(
        &mut self,
        topology: &Topology,
        thread: &mut WriteThread,
        mut stop: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), CollectorError> {
        let mut announced = false;
        let mut stalls = thread.stalls();
        loop {
            let items = tokio::select! {
                biased;
                () = stop.as_mut() => return Ok(()),
                () = thread.ended() => return Ok(()),
                Ok(()) = stalls.changed() => {
                    self.follow(&mut stalls);
                    continue;
                }
                items = self.next(topology) => items?,
            };
            crash_point(Point::CollectorReceived);
            for item in items {
                announce(&item, &mut announced);
                let stored = self.store(item, thread, &mut stalls, stop.as_mut()).await;
                if matches!(stored, Stored::Stopped) {
                    return Ok(());
                }
            }
        }
    }

    /// Hands an item over, which may take hours while the store fails.
    async fn store(
        &mut self,
        item: Item,
        thread: &WriteThread,
        stalls: &mut watch::Receiver<bool>,
        mut stop: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Stored {
        let mut storing = pin!(thread.store(item));
        loop {
            tokio::select! {
                biased;
                () = storing.as_mut() => return Stored::All,
                () = stop.as_mut() => return Stored::Stopped,
                Ok(()) = stalls.changed() => self.follow(stalls),
                () = self.results.grow() => {}
            }
        }
    }

    /// Asks for nothing more while the store cannot be written.
    fn follow(&mut self, stalls: &mut watch::Receiver<bool>) {
        if *stalls.borrow_and_update() {
            self.results.hold();
            self.dead.hold();
        } else {
            self.results.resume();
            self.dead.resume();
        }
    }

    /// The next deliveries of any queue.
    async fn next(&mut self, topology: &Topology) -> Result<Vec<Item>, CollectorError> {
        let ended = |queue| CollectorError::ConsumerEnded { queue };
        let mut deliveries = Vec::new();
        let delivery = tokio::select! {
            received = self.results.recv_many(&mut deliveries, TAKE_MAX) => {
                received.map_err(|number| ended(topology.results_queue(number)))?;
                // What is delivered again anyway need not be stored twice.
                deliveries.retain(|delivery| !delivery.token.is_lost());
                let item = |Delivery { received, token }| {
                    let entries = decode::results(*received, topology)?;
                    Ok(Item { entries, token })
                };
                return deliveries.into_iter().map(item).collect();
            }
            delivery = self.dead.recv() => delivery.ok_or_else(|| ended(topology.dead()))?,
            Some(mut delivery) = self.quarantine.recv() => {
                // It is as it was before it came here.
                let dead = topology.dead();
                delivery.received.deaths.retain(|death| death.queue != dead);
                delivery
            }
        };
        let now = Timestamp::from(SystemTime::now());
        let letter = decode::dead(*delivery.received, topology, now);
        let token = self.strays.send_on(&letter, delivery.token).await;
        let entries = vec![Entry::Dead(letter)];
        Ok(token
            .map(|token| Item { entries, token })
            .into_iter()
            .collect())
    }

    /// Waits until every delivery is answered and the broker has the answers.
    pub(crate) async fn close(self) {
        self.results.close().await;
        self.dead.close().await;
        self.quarantine.close().await;
        self.strays.close().await;
    }
}

/// Says, the first time, that something came that cannot be read.
fn announce(item: &Item, announced: &mut bool) {
    for entry in &item.entries {
        if let Entry::Dead(letter) = entry
            && letter.queue == "results"
            && !*announced
        {
            *announced = true;
            tracing::warn!(
                error = letter.detail,
                "a message on `results` cannot be read; it is kept as a dead letter, and so are \
                 others like it, without a word",
            );
        }
    }
}
