//! `tracer` as a library: what the program is made of, for its own tests.

pub mod check;
pub mod cli;
pub mod cli_check;
pub mod command;
pub mod coverage;
pub mod facts;
pub mod fault;
pub mod inflight;
pub mod input;
pub mod load;
pub mod names;
pub mod part;
pub mod plan;
pub mod refusal;
pub mod session;
pub mod sink;
pub mod snapshot;
pub mod sys;
pub mod target;
pub mod text;
pub mod trial;
pub mod witness;
