//! The store's public surface: what holds for both stores, on real files and a
//! real PostgreSQL, then what is special about each.

#![expect(clippy::unwrap_used, reason = "what fails in a fixture fails the test")]

mod audit;
mod away;
mod batch;
mod copy;
mod count;
mod damage;
mod dead;
mod file;
mod fixture;
mod fold;
mod kind;
mod lock;
mod migrate;
mod postgres;
mod query;
mod repair;
mod retention;
mod server;
mod several;
mod shell;
mod tail;
