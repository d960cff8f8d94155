//! `tracer` as a library: what the program is made of, for its own tests.

pub mod attachable;
#[cfg(feature = "log")]
pub mod bpf_log;
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
pub mod load;
pub mod part;
pub mod plan;
pub mod preemption;
#[cfg(test)]
mod random;
pub mod refusal;
pub mod replay;
pub mod serve;
pub mod session;
pub mod sink;
pub mod snapshot;
pub mod sys;
pub mod trial;
pub mod witness;
