//! What both sides of `tracer` agree on: the layout of the maps ([`abi`]), which system call is which
//! service ([`syscalls`]) and the table of everything that is counted ([`table`]).
//!
//! `no_std` and without dependencies, so that the very same source is compiled into the BPF programs
//! and into userspace: the ABI is compiled, not copied.
#![no_std]

pub mod abi;
pub mod syscalls;
pub mod table;
