//! What the tests of whole pipelines have in common: a namespace of their own
//! in a real broker, and private brokers for the tests that kill them.

// pub mod node;
mod world;

pub use world::{TIME_MAX, World, eventually};
