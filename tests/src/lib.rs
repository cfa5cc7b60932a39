//! What the tests of whole pipelines have in common: a namespace of their own
//! in a real broker, private brokers for the tests that kill them, real
//! processes, and the books that must balance in the end.

mod books;
pub mod chaos;
mod disk;
mod journal;
pub mod kind;
mod load;
mod node;
mod oracle;
mod pipeline;
mod place;
mod postgres;
mod process;
mod program;
mod proxy;
mod raw;
mod scale;
mod world;

pub use books::{Books, Follower};
pub use disk::SmallDisk;
pub use journal::{Journal, JournalWriter, Run};
pub use load::{Fate, Load, Mix, Row};
pub use node::{Cluster, Node};
pub use oracle::{Claims, Findings, Oracle, confirmed};
pub use pipeline::Pipeline;
pub use postgres::{Database, Postgres};
pub use process::Process;
pub use program::{
    HOMING, Said, TEST_PRODUCER, TEST_WORKER, folder as program_folder, path as program_path,
};
pub use proxy::{Cut, Direction, How, Passed, Proxy};
pub use raw::{Answer, Raw, RawMessage, RawProperties, Table};
pub use scale::scale;
pub use world::{TIME_MAX, World, eventually, eventually_within, within};
