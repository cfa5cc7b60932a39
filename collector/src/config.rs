use std::num::NonZeroU16;
use std::time::Duration;

use homing_store::Keep;

/// How a collector works. The default is right for one machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CollectorConfig {
    /// Deliveries of outcomes the broker may send ahead of the commits, by
    /// default 256. Under load each carries up to 128 outcomes, so that is what
    /// several groups hold; with outputs of 4 MiB, the most there may be, it is
    /// 1 GiB of memory. Several queues of outcomes share it.
    pub prefetch: NonZeroU16,
    /// The same for dead letters, by default 16: they are few, and each may be as
    /// large as a message can be, 16 MiB on RabbitMQ 4.
    pub prefetch_dead: NonZeroU16,
    /// How long it has to work well before it takes what is in quarantine, by
    /// default a minute: something there may have ended collectors.
    pub quarantine_after: Duration,
    /// How often it looks for queues of outcomes that were not there before, by
    /// default every minute. Outcomes wait in a new queue until it is found. A look is
    /// a connection for some milliseconds, and a line in the broker's log, which
    /// notes each question for a queue that is not there.
    pub look_every: Duration,
    /// How long content is kept; for ever by default. The clock of this host decides
    /// what is old: see that it is right.
    pub keep: Keep,
    /// How long it works before it first removes what is old, by default a minute.
    pub remove_after: Duration,
    /// How long it waits before it does again, by default an hour.
    pub remove_every: Duration,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            prefetch: NonZeroU16::new(256).expect("not 0"),
            prefetch_dead: NonZeroU16::new(16).expect("not 0"),
            quarantine_after: Duration::from_mins(1),
            look_every: Duration::from_mins(1),
            keep: Keep::Forever,
            remove_after: Duration::from_mins(1),
            remove_every: Duration::from_hours(1),
        }
    }
}
