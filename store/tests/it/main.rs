//! The store's public surface, on real files.

#![expect(clippy::unwrap_used, reason = "what fails in a fixture fails the test")]

mod audit;
mod batch;
mod count;
mod damage;
mod dead;
mod file;
mod fixture;
mod fold;
mod lock;
mod migrate;
mod query;
mod repair;
mod tail;
