//! `tracer` as a library: what the program is made of, for its own tests.

pub mod cli;
pub mod command;
pub mod copy_sizes;
pub mod coverage;
pub mod ended;
pub mod facts;
pub mod fault;
pub mod inflight;
pub mod load;
pub mod names;
pub mod plan;
pub mod refusal;
pub mod session;
pub mod sink;
pub mod snapshot;
pub mod sys;
pub mod target;
pub mod text;
pub mod witness;
