//! The store's public surface, on real files.

mod batch;
mod count;
mod dead;
mod file;
mod fixture;
mod fold;
mod lock;
mod query;
mod tail;
