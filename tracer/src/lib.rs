//! `tracer` as a library: what the program is made of, for its own tests.

pub mod callsites;
pub mod check;
pub mod cli;
pub mod cli_check;
pub mod cli_serve;
pub mod command;
pub mod copy_sizes;
pub mod ended;
pub mod fault;
pub mod inflight;
pub mod input;
pub mod kernel;
pub mod part;
pub mod probes;
#[cfg(test)]
mod random;
pub mod replay;
pub mod serve;
pub mod session;
pub mod sink;
pub mod snapshot;
pub mod sys;
pub mod trial;
