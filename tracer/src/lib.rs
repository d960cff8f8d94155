//! `tracer` as a library: what the program is made of, for its own tests.

pub mod callsites;
pub mod check;
pub mod cli;
pub mod config;
pub mod fmt;
pub mod http;
pub mod kernel;
pub mod model;
pub mod output;
pub mod probes;
pub mod serve;
pub mod session;
pub mod sys;
