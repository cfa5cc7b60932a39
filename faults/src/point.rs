use std::fmt;
use std::str::FromStr;

/// Defines the points once: what each means, its name in Rust, its name.
macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A step at which a process can be made to die.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Point {
            $($(#[doc = $doc])+ $point,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point,)+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    // What every process does with its links.

    /// A message is about to be written to the broker.
    LinkBeforeWrite = "link.before-write",
    /// It is handed to the socket, its confirm is open.
    LinkWritten = "link.written",
    /// The broker confirmed messages, and nobody here has been told.
    LinkConfirmed = "link.confirmed",
    /// Of several messages that take a delivery's place one is confirmed, the
    /// next is not sent.
    LinkPartConfirmed = "link.part-confirmed",
    /// Deliveries are answered, and the broker does not know.
    LinkBeforeAck = "link.before-ack",
    /// The answers are handed to the socket.
    LinkAcked = "link.acked",

    // `homing topology apply --results`.

    /// A routing key of outcomes leads to its new queue, and to the old one still.
    ResultsBound = "results.bound",

    // Producers.

    /// The record that opens a batch is confirmed.
    ProducerBatchOpened = "producer.batch-opened",
    /// A task has its id and is not published.
    ProducerBeforePublish = "producer.before-publish",
    /// A task is handed to the link.
    ProducerPublished = "producer.published",
    /// All tasks of a batch are confirmed, its seal is not published.
    ProducerBeforeSeal = "producer.before-seal",
    /// The seal is confirmed.
    ProducerSealed = "producer.sealed",

    // `homing submit --rows`.

    /// The journal has its first line, nothing is published.
    SubmitJournalCreated = "submit.journal-created",
    /// A row is confirmed and not noted.
    SubmitConfirmed = "submit.confirmed",
    /// Noted rows are in the file.
    SubmitJournalWritten = "submit.journal-written",
    /// All rows are confirmed and on the disk, the batch is not sealed.
    SubmitJournalFinished = "submit.journal-finished",

    // `homing replay`.

    /// Runs are written down, none is published.
    ReplayBegun = "replay.begun",
    /// They are confirmed, and the store does not know.
    ReplayPublished = "replay.published",
    /// The store knows.
    ReplayRecorded = "replay.recorded",

    // Workers.

    /// A delivery was taken from the link.
    WorkerReceived = "worker.received",
    /// A task has room and its handler does not run yet.
    WorkerBeforeHandler = "worker.before-handler",
    /// Its handler has ended, and only this process knows how.
    WorkerAfterHandler = "worker.after-handler",
    /// An outcome is about to be published.
    WorkerBeforeOutcome = "worker.before-outcome",
    /// An outcome is confirmed, its task not acked: the classic.
    WorkerOutcomeConfirmed = "worker.outcome-confirmed",
    /// Its task is acked, as far as the engine is concerned.
    WorkerOutcomeAcked = "worker.outcome-acked",
    /// The record of a failed attempt and the next attempt are to be published.
    WorkerBeforeRetry = "worker.before-retry",
    /// Both are confirmed, the delivery is not acked.
    WorkerRetryConfirmed = "worker.retry-confirmed",
    /// The delivery is acked.
    WorkerRetryAcked = "worker.retry-acked",
    /// A delivery is to become a dead letter.
    WorkerBeforeDead = "worker.before-dead",
    /// The dead letter is confirmed, the delivery is not acked.
    WorkerDeadConfirmed = "worker.dead-confirmed",
    /// Tasks are to be published again: split, named, delayed or as suspects.
    WorkerBeforeRepublish = "worker.before-republish",
    /// All of them are confirmed, the delivery is not acked.
    WorkerRepublished = "worker.republished",
    /// It takes nothing more, what runs goes on.
    WorkerDrainBegun = "worker.drain-begun",
    /// Nothing runs any more; outcomes may wait to be published.
    WorkerDrainFinished = "worker.drain-finished",
    /// Everything is published and acked, the links still stand.
    WorkerDrainFlushed = "worker.drain-flushed",

    // Collectors and their store.

    /// The database file is there, empty.
    StoreCreated = "store.created",
    /// The lock is taken, the store not opened.
    StoreLocked = "store.locked",
    /// A statement of a migration has run, its transaction is open.
    StoreMigrating = "store.migrating",
    /// A step of the schema is committed.
    StoreMigrated = "store.migrated",
    /// Deliveries were taken from the links.
    CollectorReceived = "collector.received",
    /// A group is about to be written.
    CollectorBeforeWrite = "collector.before-write",
    /// Its transaction has begun.
    StoreBegun = "store.begun",
    /// All of it is written, and not committed.
    StoreBeforeCommit = "store.before-commit",
    /// It is committed, none of it is acked.
    StoreCommitted = "store.committed",
    /// A task that lost its way is confirmed in its queue, its letter not acked.
    CollectorStraySent = "collector.stray-sent",
    /// All of it is acked, as far as the writing thread is concerned.
    CollectorAcked = "collector.acked",
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.iter();
        let point = all.find(|point| point.name() == name);
        point
            .copied()
            .ok_or_else(|| format!("there is no crash point `{name}`"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_point_has_a_name_of_its_own_that_it_is_found_by() {
        let names: HashSet<_> = Point::ALL.iter().map(|point| point.name()).collect();

        assert_eq!(names.len(), Point::ALL.len());
        for point in Point::ALL {
            assert_eq!(point.name().parse(), Ok(*point));
        }
    }
}
