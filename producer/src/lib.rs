//! Submits tasks: one, a batch, or a stream of any length.
//!
//! ```no_run
//! # use homing_producer::Producer;
//! # use homing_protocol::{AnyError, Task};
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Greet { name: String }
//! # impl Task for Greet {
//! #     const KIND: &'static str = "demo.greet";
//! #     type Output = String;
//! #     type Error = AnyError;
//! # }
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let producer = Producer::from_env().await?;
//! let handle = producer.submit(Greet { name: "world".into() }).await?;
//! println!("{}", handle.output().await?);
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! What is reported as submitted is confirmed by the broker: on disk at a
//! majority of its queue's members. What is reported as unconfirmed may or may
//! not be; submitted again under the same id it is the same task.

mod batch;
mod error;
mod mailbox;
mod producer;
mod reply;
mod submit;
mod tasks;

pub use batch::{Batch, BatchSummary, Pushed, bundles};
pub use error::{ConnectError, OutputError, SubmitError, WaitError};
pub use producer::{Producer, new_task_id};
pub use reply::{Handle, Reply};
pub use submit::Submit;
pub use tasks::{BoxError, Tasks};
