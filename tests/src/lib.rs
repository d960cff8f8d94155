//! What the project is proved with: workloads whose every byte and call is
//! known beforehand, the harness that runs them under the tracer, and the
//! table of what each kernel must show.

pub mod demo;
pub mod exact;
pub mod expect;
pub mod harness;
pub mod overhead;
pub mod soak;
pub mod workload;
