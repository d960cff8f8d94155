//! The witness of `memcpy` and the like, which are called from everywhere: breakpoints on the calls in functions that the
//! survey (`coverage/survey`) knows to carry data.

use anyhow::{Result, bail};
use tracer_ebpf::abi::Count;

use crate::callsites::survey::compare::Calls;
use crate::callsites::survey::{Entry, Extent, Status, entries};
use crate::probes::hw_breakpoints::{Heard, SLOTS};

/// What copies as many bytes as its third argument says.
const BY: &[&str] = &["memcpy", "copy_mc_to_kernel", "__memcpy_flushcache", "memcpy_toio"];

/// Rows that count what these calls copy, and nothing else.
const COMPARED: &[&str] = &[
    "fuse_copy",
    "brd_io",
    "remote_vm",
    "skb_copy_bits",
    "skb_store_bits",
    "skb_copy_ubufs",
    "swiotlb_bounce",
];

/// Copies of the survey that are watched, and compared, together.
#[derive(Clone, Debug)]
pub struct Place {
    pub entry: &'static Entry,
    /// The row that counts them; nothing does where there is none.
    pub row: Option<&'static str>,
    /// Addresses of the call instructions.
    pub calls: Vec<u64>,
}

impl Place {
    /// `memcpy in fuse_copy_do`
    pub fn name(&self) -> String {
        format!("{} in {}", self.entry.by, self.entry.functions.join(", "))
    }

    /// What they copied.
    pub fn seen(&self, heard: &Heard) -> Count {
        let counts = self.calls.iter().filter_map(|address| heard.calls.get(address));
        counts.fold(Count::default(), |sum, count| Count {
            bytes: sum.bytes + count.bytes,
            calls: sum.calls + count.calls,
        })
    }
}

/// The row that counts an entry's copies, if an audit can say so; `None`: it is not of those that are watched.
fn watched(entry: &Entry) -> Option<Option<&'static str>> {
    let is_place = !entry.functions.is_empty() && BY.contains(&entry.by);
    match entry.status {
        _ if !is_place => None,
        Status::Rows([row]) if COMPARED.contains(row) => Some(Some(row)),
        Status::Open(_, Extent::Every(_)) => Some(None),
        _ => None,
    }
}

/// Those of the live text, or of it those in one of these functions.
pub fn places(functions: &[String]) -> Result<Vec<Place>> {
    let candidates: Vec<&Entry> = entries().filter(|entry| watched(entry).is_some()).collect();
    let wanted = |entry: &Entry| entry.functions.iter().any(|name| functions.iter().any(|f| f == name));
    if let Some(unknown) =
        functions.iter().find(|name| !candidates.iter().any(|e| e.functions.contains(&name.as_str())))
    {
        let mut names: Vec<&str> = candidates.iter().flat_map(|entry| entry.functions).copied().collect();
        names.sort_unstable();
        bail!("--memcpy-in takes a function of the survey, and {unknown} is none of: {}", names.join(", "));
    }
    let chosen: Vec<&Entry> =
        candidates.into_iter().filter(|entry| functions.is_empty() || wanted(entry)).collect();
    let found = Calls::read()?.of_entries(&chosen);
    let places = found.into_iter().flat_map(|(entry, calls)| split(entry, calls)).collect::<Vec<_>>();
    if places.is_empty() && !functions.is_empty() {
        bail!("nothing in {} calls what copies: is its module loaded?", functions.join(", "));
    }
    Ok(places)
}

/// As many calls as there are breakpoints. Of what is compared with a row all are needed at once, so more of them cannot
/// be compared.
fn split(entry: &'static Entry, calls: Vec<u64>) -> Vec<Place> {
    let row = watched(entry).flatten();
    if row.is_some() && calls.len() > SLOTS {
        return Vec::new();
    }
    calls.chunks(SLOTS).map(|calls| Place { entry, row, calls: calls.to_vec() }).collect()
}

/// Places in rounds of as many calls as there are breakpoints.
pub fn rounds(places: Vec<Place>) -> Vec<Vec<Place>> {
    let mut rounds: Vec<Vec<Place>> = Vec::new();
    let len = |round: &[Place]| round.iter().map(|place| place.calls.len()).sum::<usize>();
    for place in places {
        match rounds.iter_mut().find(|round| len(round) + place.calls.len() <= SLOTS) {
            Some(round) => round.push(place),
            None => rounds.push(vec![place]),
        }
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_ebpf::table::ROWS;

    #[test]
    fn rows_exist_and_the_survey_has_them() {
        for row in COMPARED {
            assert!(ROWS.iter().any(|r| r.name == *row), "{row}");
            assert!(entries().any(|entry| watched(entry) == Some(Some(row))), "{row}");
        }
    }

    #[test]
    fn no_round_has_more_calls_than_breakpoints() {
        let counted = entries().find(|entry| watched(entry) == Some(Some("fuse_copy"))).unwrap();
        let open = entries().find(|entry| watched(entry) == Some(None)).unwrap();
        let places = [split(counted, vec![1, 2, 3]), split(open, (10..16).collect())].concat();
        let rounds = rounds(places);
        let calls =
            |round: &Vec<Place>| round.iter().flat_map(|place| place.calls.clone()).collect::<Vec<_>>();
        assert_eq!(
            rounds.iter().map(calls).collect::<Vec<_>>(),
            [vec![1, 2, 3], vec![10, 11, 12, 13], vec![14, 15]]
        );
        // Half of a row's calls prove nothing.
        assert!(split(counted, (0..5).collect()).is_empty());
    }
}
