//! What a call of the usercopy check, or of a traced copy function, stands for, by the function that calls it.
//!
//! Values of the map `CALLERS`, whose keys are return addresses: userspace fills it from the kernel's live text
//! (`table/caller.rs` has the functions), the programs look up the address that their function returns to. An address
//! that is not in the map (text that cannot be read, a module loaded since) is [`UNKNOWN`]: the programs then judge by
//! the system call alone.

/// Not in the map.
pub const UNKNOWN: u32 = 0;
/// Data of an iterator (`copy_to_iter`, `copy_from_iter`): always file, message or page data.
pub const ITERATOR: u32 = 1;
/// Data through a user pointer (`copy_to_user`, `copy_from_user`) in a function that moves nothing but data.
pub const DATA: u32 = 2;
/// A user pointer; the system call decides.
pub const POINTER: u32 = 3;
/// An argument block or a named structure: control.
pub const ARGUMENT: u32 = 4;
/// Another row counts these bytes (the function is in its `covers`), or nothing is copied: not counted here.
pub const COUNTED_ELSEWHERE: u32 = 5;
/// An access by another observer's BPF program or probe (`copy_from_user_nofault`): no copy of the process.
pub const OBSERVER: u32 = 6;
/// `copy_mc_to_kernel` in a block driver (pmem): a copy within the kernel, for the call that reads.
pub const BLOCK_DRIVER: u32 = 7;

/// The word for a class.
pub const fn name(class: u32) -> &'static str {
    match class {
        ITERATOR => "iterator",
        DATA => "data",
        POINTER => "pointer",
        ARGUMENT => "argument",
        COUNTED_ELSEWHERE => "counted_elsewhere",
        OBSERVER => "observer",
        BLOCK_DRIVER => "block_driver",
        _ => "unknown",
    }
}
