//! The least amqprs code that does the same three stages.
//!
//! What it shares with Homing is what makes a pipeline durable: quorum queues,
//! persistent messages, a confirm for each, a task acked only after the confirm
//! of its outcome, an outcome only after a commit with `synchronous=FULL`. What
//! it has not is everything else: no reconnect, no retry, no kinds, no headers,
//! no books. Anything odd ends it.
//!
//! Both prefetch and confirm window are [`WINDOW`], the worker publishes over a
//! connection of its own, and the collector commits in groups.

mod awaited;
mod collect;
mod confirmed;
mod link;
mod lone;
mod publish;
mod queues;
mod sink;
mod work;

pub use awaited::awaited;
pub use collect::collect;
pub use lone::lone;
pub use publish::publish;
pub use queues::Queues;
pub use work::work;

/// Messages on their way at once, of a publisher and to a consumer. At 1,000
/// a publisher is about as fast as it gets; at 100 it has two thirds of that.
pub const WINDOW: u16 = 1_000;
