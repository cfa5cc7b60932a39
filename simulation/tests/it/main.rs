//! Worlds that break, and whether the simulation would notice.

mod sabotage;
mod worlds;
