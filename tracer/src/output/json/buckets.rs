//! Copies by size.

use serde::{Serialize, Serializer};
use tracer_ebpf::abi::{BUCKETS, Direction, Path, bound};

use super::Named;
use crate::model::size_histogram::CopySizes;

/// Directions in which something was copied, with copies by size.
pub(super) fn copy_sizes(sizes: &CopySizes, path: Path) -> Option<Named<Buckets>> {
    let found = |&direction: &Direction| Some((direction.name(), Buckets(sizes.of(path, direction)?)));
    let found: Vec<_> = Direction::ALL.iter().filter_map(found).collect();
    (!found.is_empty()).then_some(Named(found))
}

/// `{"4096": 3}`: the largest size of a bucket -> copies in it; buckets without a copy are left out.
pub(super) struct Buckets([u64; BUCKETS]);

impl Serialize for Buckets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let le = |bucket| bound(bucket).map_or("+Inf".to_owned(), |bound| bound.to_string());
        let filled = self.0.iter().enumerate().filter(|(_, copies)| **copies > 0);
        serializer.collect_map(filled.map(|(bucket, copies)| (le(bucket), copies)))
    }
}
