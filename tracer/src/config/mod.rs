//! Bounded YAML, as `check` and `serve` both read it: nodes, a reader, problems with line and column.

pub(crate) mod node;
pub mod problem;
pub(crate) mod reader;
