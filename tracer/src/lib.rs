//! `tracer` as a library: what the program is made of, for its own tests. This is the map of the code.
//!
//! One idea: a table of what to count (`tracer-ebpf/src/table/`), compiled for both sides; cumulative snapshots; outputs
//! that only format. A room is a folder. It imports only the rooms that its line names, and `cargo xtask tidy` holds that;
//! a line with a `/` is a part of a room that may import more.
//!
//! | room | may import | what is in it |
//! | --- | --- | --- |
//! | `fmt` | | forms for people: units, escaping, times, messages |
//! | `sys` | | system calls, mapped memory, the sandbox, detaching in a child |
//! | `model` | `fmt` | plain data without input or output: snapshot, window, counts, what is derived from them |
//! | `config` | `fmt` `model` | bounded YAML, as `check`, `serve` and the web configuration are read |
//! | `kernel` | `fmt` `sys` `model` | what this kernel and `/proc` tell: BTF, symbols, layouts, capabilities, processes |
//! | `probes` | `fmt` `sys` `model` `kernel` | what to attach, loading and attaching it, hardware breakpoints |
//! | `callsites` | `fmt` `sys` `model` `kernel` `probes` | which copy function is called where, and what counts it |
//! | `session` | `fmt` `sys` `model` `kernel` `probes` `callsites` | a running count, from its selection to its snapshots |
//! | `output` | `fmt` `sys` `model` | a snapshot as table, JSON, metrics, sentences |
//! | `http` | `fmt` `sys` `model` `config` `output` | a small server: connections, passwords, TLS, pages |
//! | `serve` | `fmt` `sys` `model` `config` `kernel` `output` `http` | the daemon's groups, labels, settings and pages |
//! | `serve/collector` | `session` `probes` | reads a session into the groups |
//! | `check` | `fmt` `sys` `model` `config` `kernel` `output` | a policy and its verdict on windows |
//! | `check/run` | `session` `probes` | starts the programs of a check, and measures them |
//! | `cli` | all | the command line: one file a command |

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
