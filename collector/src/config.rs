use std::num::NonZeroU16;

/// How a collector works. The default is right for one machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CollectorConfig {
    /// Deliveries of outcomes the broker may send ahead of the commits, by
    /// default 2,000: what two groups hold.
    pub prefetch: NonZeroU16,
    /// The same for dead letters, by default 100: they are few, and each may be
    /// as large as a message can be.
    pub prefetch_dead: NonZeroU16,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            prefetch: NonZeroU16::new(2_000).expect("not 0"),
            prefetch_dead: NonZeroU16::new(100).expect("not 0"),
        }
    }
}
