//! Whole pipelines against a real RabbitMQ.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, its steps included"
)]

mod bundles;
mod cli;
mod collector;
mod delivery;
mod drain;
mod execution;
mod foreign;
mod kills;
mod link;
mod refusals;
mod suspects;
