//! Copies by size.

use super::{DIRECTIONS, PATHS};

/// Number of buckets of copy sizes.
pub const BUCKETS: usize = 32;

/// Copies (those in [`copied`](super::Ledger::copied)) by size: by [`Path`](super::Path), [`Direction`](super::Direction) and [`bucket`].
///
/// Lives in the array map `COPY_SIZES` as ledgers do in `LEDGERS`, with fewer shards, when it is asked for.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopySizes {
    pub copies: [[[u64; BUCKETS]; DIRECTIONS]; PATHS],
}

impl CopySizes {
    pub const ZERO: CopySizes = CopySizes { copies: [[[0; BUCKETS]; DIRECTIONS]; PATHS] };
}
const _: () = assert!(size_of::<CopySizes>() == PATHS * DIRECTIONS * BUCKETS * 8);

/// Bucket `i` is for copies of up to `2^i` bytes and more than `2^(i-1)`; the last for all larger ones.
#[inline(always)]
pub const fn bucket(bytes: u64) -> usize {
    let log2 = (64 - bytes.saturating_sub(1).leading_zeros()) as usize;
    if log2 < BUCKETS { log2 } else { BUCKETS - 1 }
}

/// The largest size in a bucket, `None` for the last.
pub const fn bound(bucket: usize) -> Option<u64> {
    if bucket + 1 < BUCKETS { Some(1 << bucket) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_in_its_bucket() {
        for (bytes, expected) in [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (65536, 16), (65537, 17)] {
            assert_eq!(bucket(bytes), expected, "{bytes}");
        }
        for i in 0..BUCKETS - 1 {
            assert_eq!(bound(bucket(1 << i)), Some(1 << i));
        }
        for large in [(1 << 30) + 1, 1 << 31, u64::MAX] {
            assert_eq!(bound(bucket(large)), None, "{large}");
        }
    }
}
