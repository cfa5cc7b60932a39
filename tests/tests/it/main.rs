//! Whole pipelines against a real RabbitMQ.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, its steps included"
)]

mod audit;
mod bounds;
mod bundles;
mod byte_cuts;
mod chaos;
mod cli;
mod collector;
mod contexts;
mod crash_points;
mod csv;
mod delays;
mod delivery;
mod doctor;
mod drain;
mod embedded;
mod execution;
mod expiry;
mod fleets;
mod foreign;
mod hostile;
mod in_process;
mod kills;
mod lane;
mod link;
mod link_faults;
mod migration;
mod poison;
mod postgres;
mod prefetch;
mod private_broker;
mod private_broker_cluster;
mod quarantine;
mod raw;
mod refusals;
mod replay;
mod results;
mod schemas;
mod shutdown;
mod stalls;
mod store_faults;
mod suspects;
mod timeouts;
mod wedged;

#[path = "../../../cli/tests/sessions/mod.rs"]
#[expect(
    dead_code,
    reason = "the sessions that need no broker are run elsewhere"
)]
mod sessions;
