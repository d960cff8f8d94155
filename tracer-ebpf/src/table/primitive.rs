//! The functions that copy.

use super::same;
use crate::abi::{Arguments, Direction};

/// A function that copies and can be watched only from outside: at its call sites, or by a breakpoint.
#[derive(Clone, Copy, Debug)]
pub struct Primitive {
    pub name: &'static str,
    pub arguments: Arguments,
    pub direction: Direction,
    /// Program for a probe on a call site; "" where sites need none (their callee is traceable).
    pub site_program: &'static str,
    /// Program for a hardware breakpoint on it; "" where another primitive's breakpoint sees it.
    pub witness_program: &'static str,
    /// True if its calls move data; false if, where no check precedes them, most copy structures of constant size.
    pub data: bool,
}

const fn primitive_row(
    name: &'static str,
    arguments: Arguments,
    direction: Direction,
    site_program: &'static str,
    witness_program: &'static str,
) -> Primitive {
    let data = !matches!(arguments, Arguments::ToFromBytes);
    Primitive { name, arguments, direction, site_program, witness_program, data }
}

use Arguments::{
    AddrBytesIter, BytesIter, PageIterOffsetBytes, PageOffsetBytesIter, ToFromBytes, ToFromPage,
};
use Direction::{FromUser, InKernel, ToUser};

/// lib/iov_iter.c, lib/usercopy.c, arch/x86/lib/copy_page_64.S. A kernel has those that it has.
pub const PRIMITIVES: &[Primitive] = &[
    primitive_row("_copy_to_user", ToFromBytes, ToUser, "site_to_user", "witness_copy_to_user"),
    primitive_row("_copy_from_user", ToFromBytes, FromUser, "site_from_user", "witness_copy_from_user"),
    primitive_row("_copy_to_iter", AddrBytesIter, ToUser, "site_to_iter", "witness_copy_to_iter"),
    primitive_row("_copy_from_iter", AddrBytesIter, FromUser, "site_from_iter", "witness_copy_from_iter"),
    primitive_row(
        "_copy_from_iter_full",
        AddrBytesIter,
        FromUser,
        "site_from_iter",
        "witness_copy_from_iter_full",
    ),
    primitive_row("_copy_from_iter_full_nocache", AddrBytesIter, FromUser, "site_from_iter", ""),
    primitive_row("_copy_from_iter_nocache", AddrBytesIter, FromUser, "site_from_iter", ""),
    primitive_row("_copy_from_iter_flushcache", AddrBytesIter, FromUser, "site_from_iter", ""),
    primitive_row("_copy_mc_to_iter", AddrBytesIter, ToUser, "site_to_iter", ""),
    primitive_row(
        "copy_page_to_iter",
        PageOffsetBytesIter,
        ToUser,
        "site_page_to_iter",
        "witness_copy_page_to_iter",
    ),
    primitive_row("copy_page_to_iter_nofault", PageOffsetBytesIter, ToUser, "site_page_to_iter", ""),
    primitive_row(
        "copy_page_from_iter",
        PageOffsetBytesIter,
        FromUser,
        "site_page_from_iter",
        "witness_copy_page_from_iter",
    ),
    primitive_row(
        "copy_page_from_iter_atomic",
        PageOffsetBytesIter,
        FromUser,
        "site_page_from_iter",
        "witness_copy_page_from_iter_atomic",
    ),
    primitive_row(
        "copy_folio_from_iter_atomic",
        PageOffsetBytesIter,
        FromUser,
        "site_page_from_iter",
        "witness_copy_folio_from_iter_atomic",
    ),
    primitive_row(
        "iov_iter_copy_from_user_atomic",
        PageIterOffsetBytes,
        FromUser,
        "site_page_from_user",
        "witness_copy_from_user_atomic",
    ),
    primitive_row("hash_and_copy_to_iter", AddrBytesIter, ToUser, "", ""),
    // Copies nothing: what it writes is payload all the same, of direct reads of what was never written.
    primitive_row("iov_iter_zero", BytesIter, ToUser, "site_zero", ""),
    primitive_row("copy_page", ToFromPage, InKernel, "site_copy_page", ""),
];

/// Index of a primitive; fails to compile if there is none.
pub const fn primitive(name: &str) -> u32 {
    let mut i = 0;
    while i < PRIMITIVES.len() {
        if same(PRIMITIVES[i].name, name) {
            return i as u32;
        }
        i += 1;
    }
    panic!("no such primitive")
}
