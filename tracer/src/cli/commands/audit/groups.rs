//! What can be compared with what: rows count the bytes of several primitives, and breakpoints are few.

use tracer_ebpf::abi::{Arguments, Direction};
use tracer_ebpf::table::PRIMITIVES;

use crate::probes::hw_breakpoints::SLOTS;

/// Which primitives a row's bytes go through. A kernel lacks some.
const ROW_PRIMITIVES: &[(&str, &[&str])] = &[
    (
        "check",
        &["_copy_to_user", "_copy_to_iter", "_copy_from_user", "_copy_from_iter", "_copy_from_iter_full"],
    ),
    ("random_read", &["_copy_to_iter"]),
    ("file_read", TO_PAGE),
    ("shmem_read", TO_PAGE),
    ("hugetlbfs_read", TO_PAGE),
    ("pipe_read", TO_PAGE),
    ("pipe_to_user", TO_PAGE),
    ("file_write", ATOMIC),
    ("iomap_write", ATOMIC),
    ("fuse_write", ATOMIC),
    ("pipe_write", FROM_PAGE),
    ("skb_from_iter", FROM_PAGE),
    // User memory only, so there is no direction that both have in common.
    ("process_vm", TO_PAGE),
    ("process_vm", FROM_PAGE),
];
const TO_PAGE: &[&str] = &["copy_page_to_iter"];
const FROM_PAGE: &[&str] = &["copy_page_from_iter"];
const ATOMIC: &[&str] =
    &["copy_page_from_iter_atomic", "copy_folio_from_iter_atomic", "iov_iter_copy_from_user_atomic"];

/// Primitives and rows that speak of the same bytes in one direction, as few as can be told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub direction: Direction,
    pub primitives: Vec<&'static str>,
    pub rows: Vec<&'static str>,
}

/// The groups of a kernel that has the primitives for which `exists` is true.
pub fn groups(exists: impl Fn(&str) -> bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for direction in Direction::ALL {
        for (row, primitives) in ROW_PRIMITIVES {
            let primitives: Vec<_> =
                primitives.iter().copied().filter(|p| exists(p) && may_go(p, direction)).collect();
            if primitives.is_empty() {
                continue;
            }
            let mut group = Group { direction, primitives, rows: vec![row] };
            // What shares a primitive cannot be told apart.
            let shares = |other: &Group| {
                other.direction == direction && other.primitives.iter().any(|p| group.primitives.contains(p))
            };
            let (same, apart): (Vec<Group>, Vec<Group>) = groups.into_iter().partition(shares);
            for other in same {
                group.primitives.extend(other.primitives);
                group.rows.extend(other.rows);
            }
            group.primitives.sort_unstable();
            group.primitives.dedup();
            groups = apart;
            groups.push(group);
        }
    }
    groups
}

/// Whether a primitive's copies may have this direction: with an iterator, either end may be the kernel's.
fn may_go(primitive: &str, direction: Direction) -> bool {
    PRIMITIVES.iter().filter(|p| p.name == primitive).any(|p| match direction {
        Direction::InKernel => p.arguments != Arguments::ToFromBytes,
        direction => p.direction == direction,
    })
}

/// Primitives in rounds of as many as there are breakpoints, so that each group is whole in one of them.
pub fn rounds(groups: &[Group]) -> Vec<Vec<&'static str>> {
    let mut by_size: Vec<&Group> = groups.iter().collect();
    by_size.sort_by_key(|group| std::cmp::Reverse(group.primitives.len()));
    let mut rounds: Vec<Vec<&'static str>> = Vec::new();
    for group in by_size {
        let missing = |round: &Vec<&'static str>| -> Vec<&'static str> {
            group.primitives.iter().copied().filter(|p| !round.contains(p)).collect()
        };
        match rounds.iter_mut().find(|round| round.len() + missing(round).len() <= SLOTS) {
            Some(round) => {
                let missing = missing(round);
                round.extend(missing);
            }
            None => rounds.push(group.primitives.clone()),
        }
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_ebpf::table::ROWS;

    const OLD: &[&str] = &[
        "_copy_to_user",
        "_copy_from_user",
        "_copy_to_iter",
        "_copy_from_iter",
        "_copy_from_iter_full",
        "copy_page_to_iter",
        "copy_page_from_iter",
        "iov_iter_copy_from_user_atomic",
    ];
    const NEW: &[&str] = &[
        "_copy_to_user",
        "_copy_from_user",
        "_copy_to_iter",
        "_copy_from_iter",
        "copy_page_to_iter",
        "copy_page_from_iter",
        "copy_folio_from_iter_atomic",
    ];

    #[test]
    fn rows_and_primitives_exist() {
        for (row, primitives) in ROW_PRIMITIVES {
            assert!(ROWS.iter().any(|r| r.name == *row), "{row}");
            for p in *primitives {
                assert!(PRIMITIVES.iter().any(|q| q.name == *p && !q.witness_program.is_empty()), "{p}");
            }
        }
    }

    #[test]
    fn every_group_is_whole_in_some_round() {
        for (kernel, count) in [(OLD, 3), (NEW, 2)] {
            let groups = groups(|name| kernel.contains(&name));
            let rounds = rounds(&groups);
            assert_eq!(rounds.len(), count, "{rounds:?}");
            assert!(rounds.iter().all(|round| round.len() <= SLOTS), "{rounds:?}");
            for group in &groups {
                let whole = |round: &Vec<&str>| group.primitives.iter().all(|p| round.contains(p));
                assert!(rounds.iter().any(whole), "{group:?} in {rounds:?}");
            }
        }
    }

    #[test]
    fn the_check_has_one_group_for_both_sides_of_the_kernel() {
        let groups = groups(|name| NEW.contains(&name));
        let of = |row: &str, direction| {
            let mut found = groups.iter().filter(|g| g.direction == direction && g.rows.contains(&row));
            let group = found.next().expect(row);
            assert!(found.next().is_none());
            group.primitives.clone()
        };
        assert_eq!(of("check", Direction::InKernel), ["_copy_from_iter", "_copy_to_iter"]);
        assert_eq!(of("check", Direction::ToUser), ["_copy_to_iter", "_copy_to_user"]);
        assert_eq!(of("random_read", Direction::ToUser), ["_copy_to_iter", "_copy_to_user"]);
        assert_eq!(of("file_write", Direction::InKernel), ["copy_folio_from_iter_atomic"]);
        assert_eq!(of("pipe_read", Direction::InKernel), ["copy_page_to_iter"]);
    }
}
