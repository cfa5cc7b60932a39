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
use crate::write::{Item, WriteThread};

/// Most deliveries taken from a link at once; the others wait for a moment
/// only, but so does a stop signal.
const TAKE_MAX: usize = 100;

/// The links deliveries come over: one for each queue, so that a dead letter
/// that kills its link does not stop the outcomes.
#[derive(Debug)]
pub(crate) struct Consumers {
    pub(crate) results: Consumer,
    pub(crate) dead: Consumer,
}

impl Consumers {
    /// Receives until `stop` ends or `thread` does.
    pub(crate) async fn receive(
        &mut self,
        topology: &Topology,
        thread: &mut WriteThread,
        mut stop: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) {
        let mut announced = false;
        loop {
            let items = tokio::select! {
                biased;
                () = stop.as_mut() => return self.stop(),
                () = thread.ended() => return self.stop(),
                items = self.next(topology) => items,
            };
            let Some(items) = items else {
                return self.stop();
            };
            crash_point(Point::CollectorReceived);
            for item in items {
                announce(&item, &mut announced);
                // While the store fails there is no room, maybe for hours.
                tokio::select! {
                    biased;
                    () = thread.store(item) => {}
                    () = stop.as_mut() => return self.stop(),
                }
            }
        }
    }

    /// The next deliveries of either queue; `None` if a link has ended.
    async fn next(&mut self, topology: &Topology) -> Option<Vec<Item>> {
        let mut deliveries = Vec::new();
        tokio::select! {
            count = self.results.recv_many(&mut deliveries, TAKE_MAX) => {
                let item = |Delivery { received, token }| Item {
                    entries: decode::results(received, topology),
                    token,
                };
                (count > 0).then(|| deliveries.into_iter().map(item).collect())
            }
            delivery = self.dead.recv() => {
                let Delivery { received, token } = delivery?;
                let now = Timestamp::from(SystemTime::now());
                let entries = vec![decode::dead(received, topology, now)];
                Some(vec![Item { entries, token }])
            }
        }
    }

    fn stop(&mut self) {
        self.results.stop();
        self.dead.stop();
    }

    /// Waits until every delivery is answered and the broker has the answers.
    pub(crate) async fn close(self) {
        self.results.close().await;
        self.dead.close().await;
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
