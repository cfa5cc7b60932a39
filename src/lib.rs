//! Typed tasks over RabbitMQ, and a stored outcome for every one of them.
//!
//! A producer submits tasks, workers run them, a collector stores what came of
//! each. A task leaves its queue only after the broker has confirmed its
//! outcome; an outcome leaves its queue only after it is committed. A handler
//! may run more than once for a task, so what it does must be safe to repeat;
//! the outcome stored is one.
//!
//! ```no_run
//! use homing::prelude::*;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Greet {
//!     name: String,
//! }
//!
//! impl Task for Greet {
//!     const KIND: &'static str = "demo.greet";
//!     type Output = String;
//!     type Error = AnyError;
//! }
//!
//! // The worker program: `greet-worker --concurrency 8`
//! async fn greet(task: Greet, _: Attempt) -> Result<String, AttemptError> {
//!     Ok(format!("hello, {}", task.name))
//! }
//!
//! # #[cfg(feature = "cli")]
//! fn main() -> std::process::ExitCode {
//!     homing::worker_main(async || Ok(Worker::new().handler(greet)))
//! }
//! # #[cfg(not(feature = "cli"))]
//! # fn main() {}
//!
//! // Anywhere else: submit one, and wait for what came of it.
//! async fn submit() -> Result<(), Box<dyn std::error::Error>> {
//!     let producer = Producer::from_env().await?;
//!     let handle = producer.submit(Greet { name: "world".into() }).await?;
//!     println!("{}", handle.output().await?);
//!     Ok(())
//! }
//! ```
//!
//! # Crates and features
//!
//! | feature | gives | default |
//! |---|---|---|
//! | – | tasks, producer, worker, RabbitMQ | yes |
//! | `cli` | [`worker_main`] and its flags | yes |
//! | `embedded` | the broker in a file, `sqlite:PATH`, that `homing up` runs | no |
//! | `sqlite` | [`store`] and [`collector`]: reading and writing a SQLite store | no |
//! | `testing` | `homing::testing`: pipelines in memory, for tests of your handlers | no |
//!
//! A crate that only defines tasks can depend on `homing-protocol` alone: no
//! runtime, no broker client.

pub use homing_broker as broker;
pub use homing_producer as producer;
pub use homing_protocol as protocol;
pub use homing_worker as worker;

#[cfg(feature = "sqlite")]
pub use homing_collector as collector;
#[cfg(feature = "sqlite")]
pub use homing_store as store;

#[cfg(feature = "cli")]
pub use homing_worker::{WorkerArgs, worker_main, worker_main_with};

#[cfg(feature = "testing")]
pub mod testing;

/// What a program that uses Homing names most: `use homing::prelude::*`.
pub mod prelude {
    pub use homing_producer::{Batch, Handle, OutputError, Producer, SubmitError, WaitError};
    pub use homing_protocol::{
        AnyError, Failure, Outcome, Policy, Retry, Status, Task, TaskError, TaskId,
    };
    pub use homing_worker::{Attempt, AttemptError, ResultExt, Worker};
}
