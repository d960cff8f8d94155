//! `tracer serve` without its kernel side and its network: who is in which group, and what is shown of it.

pub mod cgroup;
pub mod cgroup_paths;
pub mod collector;
pub mod group;
pub mod groups;
pub mod labels;
pub mod page;
pub mod pattern;
mod persist;
pub mod replay;
pub mod scrape_queue;
mod series_limit;
pub mod settings;
