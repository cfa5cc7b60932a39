//! What the example programs share: tasks that several of them name, and a
//! place in the broker for each.
//!
//! Start with `src/bin/hello_world.rs`.

mod children;
mod divide;
mod files;
mod place;

pub use children::{Child, Children, is_child};
pub use divide::{Divide, DivideError};
pub use files::{Checksum, Counts, Words};
pub use place::Place;
