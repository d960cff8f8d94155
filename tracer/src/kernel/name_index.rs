//! A name table without `String`s: names stay in the buffer they came from.
//!
//! BTF and kallsyms hold some 100,000 names each, of which a run looks up a few
//! hundred. A chained hash of two `u32` arrays is built in one pass, which matters
//! where the tracer itself runs under an emulator (20 times slower).

/// Maps a hash of a name to the entries that may carry it. The caller compares names.
#[derive(Debug, Default)]
pub struct NameIndex {
    /// First entry of each bucket, plus one; 0 is an empty bucket.
    heads: Vec<u32>,
    /// The entry that follows in the same bucket, plus one.
    next: Vec<u32>,
}

impl NameIndex {
    /// Indexes entries `0..count`; those for which `name` says `None` are left out.
    pub fn build<'a>(count: usize, name: impl Fn(usize) -> Option<&'a [u8]>) -> Self {
        let buckets = count.max(16).next_power_of_two();
        let mut index = Self { heads: vec![0; buckets], next: vec![0; count] };
        // Backwards, so that a chain lists its entries in ascending order.
        for entry in (0..count).rev() {
            if let Some(name) = name(entry) {
                let bucket = hash(name) as usize & (buckets - 1);
                index.next[entry] = index.heads[bucket];
                index.heads[bucket] = entry as u32 + 1;
            }
        }
        index
    }

    /// Entries whose name may be `name`, ascending.
    pub fn candidates(&self, name: &[u8]) -> impl Iterator<Item = usize> + '_ {
        let first = match self.heads.len() {
            0 => 0,
            buckets => self.heads[hash(name) as usize & (buckets - 1)],
        };
        let step = |entry: u32| (entry != 0).then_some(entry);
        std::iter::successors(step(first), move |&entry| step(self.next[entry as usize - 1]))
            .map(|entry| entry as usize - 1)
    }
}

/// FNV-1a, folded: short names, no attacker who gains by collisions.
fn hash(name: &[u8]) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in name {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_entry_of_a_name_in_order() {
        let names: [&[u8]; 4] = [b"a", b"b", b"a", b""];
        let index = NameIndex::build(4, |i| (!names[i].is_empty()).then_some(names[i]));
        let find = |n: &[u8]| index.candidates(n).filter(|&i| names[i] == n).collect::<Vec<_>>();
        assert_eq!(find(b"a"), [0, 2]);
        assert_eq!(find(b"b"), [1]);
        assert_eq!(find(b"c"), [0; 0]);
    }

    #[test]
    fn an_empty_index_finds_nothing() {
        assert_eq!(NameIndex::default().candidates(b"a").count(), 0);
    }
}
