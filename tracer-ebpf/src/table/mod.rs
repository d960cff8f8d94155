//! The table: one row per thing that is observed, with the ways to observe it in order of preference.
//!
//! Attach plan, fallbacks, `doctor`, `probes`, metric labels and documentation follow from it. To add a
//! probe: a row here, a program in `bpf/`, a test.
//!
//! Where a function's name or arity differs between kernels, each form is a way of its own; the plan
//! takes the first one that this kernel has, and whose parameters are as `form.rs` says. Sources: mm/filemap.c, mm/shmem.c, fs/pipe.c, fs/splice.c,
//! net/core/{skbuff,datagram}.c of 5.10, 6.1, 6.12 and 7.2.

mod caller;
mod descriptor;
mod device;
mod discard;
mod file;
mod form;
mod kernel;
mod mark;
mod primitive;
mod reference;
mod row;
mod switch;
mod untraceable;
mod user;

pub use caller::{CALLERS, Callers, caller_class};
pub use form::{FORMS, Form, forms};
pub use primitive::{PRIMITIVES, Primitive, primitive};
pub use row::{Context, Group, Meant, Method, Reads, Row, Way};
pub use untraceable::{UNTRACEABLE, Untraceable, untraceable};

use crate::abi::{DIRECTIONS, Direction, PATHS, Path};

const SECTIONS: [&[Row]; 9] = [
    user::ROWS,
    descriptor::ROWS,
    kernel::ROWS,
    file::ROWS,
    reference::ROWS,
    discard::ROWS,
    mark::ROWS,
    switch::ROWS,
    device::ROWS,
];
const LEN: usize = {
    let mut len = 0;
    let mut i = 0;
    while i < SECTIONS.len() {
        len += SECTIONS[i].len();
        i += 1;
    }
    len
};

/// Everything that is observed.
pub const ROWS: &[Row] = &{
    let mut rows = [SECTIONS[0][0]; LEN];
    let (mut section, mut i, mut n) = (0, 0, 0);
    while section < SECTIONS.len() {
        if i == SECTIONS[section].len() {
            (section, i) = (section + 1, 0);
        } else {
            rows[n] = SECTIONS[section][i];
            (i, n) = (i + 1, n + 1);
        }
    }
    rows
};

/// Entries of the map of what an audit compares.
pub const AUDITED: usize = ROWS.len() * PATHS * DIRECTIONS;

/// Where that map has the bytes of a row (by its index), a path and a direction.
pub const fn audit_index(row: u32, path: Path, direction: Direction) -> u32 {
    (row * PATHS as u32 + path as u32) * DIRECTIONS as u32 + direction as u32
}

/// Index of a row; fails to compile if there is none.
pub const fn row(name: &str) -> u32 {
    let mut i = 0;
    while i < ROWS.len() {
        if same(ROWS[i].name, name) {
            return i as u32;
        }
        i += 1;
    }
    panic!("no such row")
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for (i, r) in ROWS.iter().enumerate() {
            assert_eq!(row(r.name) as usize, i, "{}", r.name);
        }
        for (i, p) in PRIMITIVES.iter().enumerate() {
            assert_eq!(primitive(p.name) as usize, i, "{}", p.name);
        }
    }

    #[test]
    fn hosts_exist_and_have_programs() {
        for host in ROWS.iter().flat_map(|row| row.ways).filter_map(Way::host) {
            let host = &ROWS[row(host) as usize];
            assert!(host.ways.iter().all(|way| way.host().is_none()), "{}", host.name);
        }
    }
}
