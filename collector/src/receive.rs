//! Receives, decodes, and hands over to the thread that writes.

use std::future::Future;
use std::pin::Pin;
use std::time::SystemTime;

use homing_broker::{Consumer, Delivery};
use homing_faults::{Point, crash_point};
use homing_protocol::Timestamp;
use homing_protocol::topology::Topology;
use homing_store::Entry;

use crate::decode;
use crate::error::CollectorError;
use crate::stray::Strays;
use crate::write::{Item, WriteThread};

/// Most deliveries taken from a link at once; the others wait for a moment
/// only, but so does a stop signal.
const TAKE_MAX: usize = 100;

/// The links deliveries come over: one for each queue, so that a dead letter
/// that kills its link does not stop the outcomes.
pub(crate) struct Consumers {
    pub(crate) results: Consumer,
    pub(crate) dead: Consumer,
    pub(crate) strays: Strays,
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
        received
    }

    async fn take(
        &mut self,
        topology: &Topology,
        thread: &mut WriteThread,
        mut stop: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<(), CollectorError> {
        let mut announced = false;
        loop {
            let items = tokio::select! {
                biased;
                () = stop.as_mut() => return Ok(()),
                () = thread.ended() => return Ok(()),
                items = self.next(topology) => items?,
            };
            crash_point(Point::CollectorReceived);
            for item in items {
                announce(&item, &mut announced);
                // While the store fails there is no room, maybe for hours.
                tokio::select! {
                    biased;
                    () = thread.store(item) => {}
                    () = stop.as_mut() => return Ok(()),
                }
            }
        }
    }

    /// The next deliveries of either queue.
    async fn next(&mut self, topology: &Topology) -> Result<Vec<Item>, CollectorError> {
        let ended = |queue| CollectorError::ConsumerEnded { queue };
        let mut deliveries = Vec::new();
        tokio::select! {
            count = self.results.recv_many(&mut deliveries, TAKE_MAX) => {
                if count == 0 {
                    return Err(ended(topology.results()));
                }
                let item = |Delivery { received, token }| {
                    let entries = decode::results(received, topology)?;
                    Ok(Item { entries, token })
                };
                deliveries.into_iter().map(item).collect()
            }
            delivery = self.dead.recv() => {
                let delivery = delivery.ok_or_else(|| ended(topology.dead()))?;
                let now = Timestamp::from(SystemTime::now());
                let letter = decode::dead(delivery.received, topology, now);
                let token = self.strays.send_on(&letter, delivery.token).await;
                let entries = vec![Entry::Dead(letter)];
                Ok(token.map(|token| Item { entries, token }).into_iter().collect())
            }
        }
    }

    /// Waits until every delivery is answered and the broker has the answers.
    pub(crate) async fn close(self) {
        self.results.close().await;
        self.dead.close().await;
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
