//! `tracer serve` without its kernel side and its network: who is in which group, and what is shown of it.

pub mod books;
pub mod census;
pub mod cgroup;
pub mod front;
pub mod group;
pub mod page;
pub mod paths;
pub mod pattern;
mod room;
mod saved;
pub mod settings;
pub mod who;
