//! What travels in Homing: tasks, outcomes, records of batches and kinds, and the
//! topology, as data.
//!
//! No I/O, no clock, no randomness, no runtime, no broker client: time and ids
//! come from the caller, so that every rule here is tested without a broker.
//! `docs/wire.md` describes the same for readers without Rust.
//!
//! A [`Task`] is a type of the user's. Its payload is encoded by [`Payload`],
//! travels as an [`Envelope`] in the body of a [`Message`] to a
//! [`Destination`], and what came of an attempt at it comes back as a
//! [`Report`].

mod batch;
mod bundle;
mod codec;
mod dead;
mod decode;
mod envelope;
mod error;
mod headers;
mod id;
mod json;
pub mod limit;
mod message;
mod name;
mod outcome;
mod policy;
mod prescan;
mod report;
mod results;
mod schema;
mod settle;
mod status;
mod table;
mod task;
mod time;
pub mod topology;

pub use batch::{BatchEvent, BatchRecord};
pub use bundle::{encode_tasks, pack};
pub use codec::{ContentType, Payload};
pub use dead::{DeadLetter, Reason};
pub use decode::{Identity, decode_tasks};
pub use envelope::{BatchRow, Envelope, Requester};
pub use error::{AnyError, DecodeError, EncodeError, Failure, NameError, SchemaError, chain};
pub use headers::{H_PARKED, H_PROPERTIES, H_UNREADABLE};
pub use id::{AttemptId, AttemptNumber, BatchId, Digest, IdSum, Run, TaskId};
pub use json::to_json;
pub use message::{Death, Destination, Header, HeaderValue, Message, Properties, Received};
pub use name::{Namespace, QueueName, TaskKind};
pub use outcome::{Outcome, Timings};
pub use policy::{Policy, Retry};
pub use prescan::{prescan_json, prescan_msgpack};
pub use report::{Report, decode_reports, encode_reports};
pub use results::{KeyMove, RESULTS_QUEUES_MAX, ResultsQueues};
pub use schema::{KindRecord, Schema};
pub use settle::Proof;
pub use status::Status;
pub use task::{Task, TaskError};
pub use time::Timestamp;
