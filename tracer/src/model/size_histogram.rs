//! Copies by path, direction and size.

use std::collections::BTreeMap;

use tracer_ebpf::abi::{self, BUCKETS, DIRECTIONS, Direction, Path};

/// Numbers of copies by path, direction and size. Only those above 0 take memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopySizes(BTreeMap<u16, u64>);

impl CopySizes {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, path: Path, direction: Direction, bucket: usize, copies: u64) {
        if copies > 0 {
            *self.0.entry(first(path, direction) + bucket as u16).or_default() += copies;
        }
    }

    /// Adds what one shard of the kernel side has.
    pub fn add_shard(&mut self, shard: &abi::CopySizes) {
        for path in Path::ALL {
            for direction in Direction::ALL {
                let buckets = shard.copies[path as usize][direction as usize];
                for (bucket, copies) in buckets.into_iter().enumerate() {
                    self.add(path, direction, bucket, copies);
                }
            }
        }
    }

    /// Copies by bucket; `None` if there are none.
    pub fn of(&self, path: Path, direction: Direction) -> Option<[u64; BUCKETS]> {
        let first = first(path, direction);
        let mut found = self.0.range(first..first + BUCKETS as u16).peekable();
        found.peek()?;
        let mut buckets = [0; BUCKETS];
        for (cell, copies) in found {
            buckets[usize::from(cell - first)] = *copies;
        }
        Some(buckets)
    }

    #[must_use]
    pub fn plus(mut self, other: &CopySizes) -> Self {
        for (cell, copies) in &other.0 {
            *self.0.entry(*cell).or_default() += copies;
        }
        self
    }

    /// Never below 0.
    #[must_use]
    pub fn minus(mut self, other: &CopySizes) -> Self {
        self.0.retain(|cell, copies| {
            *copies = copies.saturating_sub(other.0.get(cell).copied().unwrap_or(0));
            *copies > 0
        });
        self
    }
}

/// Copies by size of what has no process; empty unless sizes are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnnamedSizes {
    pub overflow: CopySizes,
    pub softirq: CopySizes,
    pub kernel_threads: CopySizes,
}

impl UnnamedSizes {
    #[must_use]
    pub fn minus(self, other: &UnnamedSizes) -> Self {
        UnnamedSizes {
            overflow: self.overflow.minus(&other.overflow),
            softirq: self.softirq.minus(&other.softirq),
            kernel_threads: self.kernel_threads.minus(&other.kernel_threads),
        }
    }
}

/// Number of the first of a path's and direction's cells.
fn first(path: Path, direction: Direction) -> u16 {
    ((path as usize * DIRECTIONS + direction as usize) * BUCKETS) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shard_has_is_found_again() {
        let mut shard = abi::CopySizes::ZERO;
        shard.copies[Path::Read as usize][Direction::ToUser as usize][16] = 3;
        shard.copies[Path::KernelThread as usize][Direction::InKernel as usize][BUCKETS - 1] = 5;
        let mut sizes = CopySizes::default();
        sizes.add_shard(&shard);
        sizes.add_shard(&shard);
        assert_eq!(sizes.of(Path::Read, Direction::ToUser).expect("some")[16], 6);
        assert_eq!(sizes.of(Path::KernelThread, Direction::InKernel).expect("some")[BUCKETS - 1], 10);
        assert_eq!(sizes.of(Path::Read, Direction::FromUser), None);
        assert_eq!(sizes.0.len(), 2);
    }

    #[test]
    fn differences_keep_only_what_is_left() {
        let mut a = CopySizes::default();
        a.add(Path::Read, Direction::ToUser, 4, 2);
        a.add(Path::Send, Direction::FromUser, 0, 1);
        let mut b = CopySizes::default();
        b.add(Path::Read, Direction::ToUser, 4, 2);
        b.add(Path::Recv, Direction::ToUser, 1, 9);
        assert_eq!(a.clone().plus(&b).minus(&b), a);
        let left = a.minus(&b);
        assert_eq!((left.0.len(), left.of(Path::Read, Direction::ToUser)), (1, None));
    }
}
