//! `struct iov_iter`: which memory it stands for.

use super::kernel::Pointer;
use super::maps::config;

/// The memory behind an iterator.
#[derive(Clone, Copy, PartialEq)]
pub enum Memory {
    User,
    /// Pages: kernel memory, or a buffer registered with io_uring.
    Pages,
    Kernel,
    /// References are moved, or nothing is: no copy (PIPE, DISCARD).
    NoCopy,
}

/// The iterator's `enum iter_type`.
#[inline(always)]
pub fn kind(iter: Pointer) -> Option<u32> {
    if config!(iter_is_flags) != 0 {
        // Up to 5.13: `unsigned int type`, one bit per type, the lowest one is the direction.
        return Some(iter.read::<u32>(config!(iter_type))? & !1);
    }
    Some(iter.read::<u8>(config!(iter_type))? as u32)
}

/// True if references go to a pipe.
#[inline(always)]
pub fn is_pipe(iter: Pointer) -> bool {
    kind(iter).is_some_and(is_pipe_kind)
}

/// The same of an iterator of this kind.
#[inline(always)]
pub fn is_pipe_kind(kind: u32) -> bool {
    config!(iter_pipe) != 0 && kind == config!(iter_pipe)
}

#[inline(always)]
pub fn memory(iter: Pointer) -> Option<Memory> {
    Some(memory_of(kind(iter)?))
}

/// The memory behind an iterator of this kind.
#[inline(always)]
pub fn memory_of(kind: u32) -> Memory {
    let bit = if config!(iter_is_flags) != 0 { kind } else { 1 << (kind & 31) };
    if bit & config!(iter_user) != 0 {
        Memory::User
    } else if bit & config!(iter_no_copy) != 0 {
        Memory::NoCopy
    } else if bit & config!(iter_bvec) != 0 {
        Memory::Pages
    } else {
        Memory::Kernel
    }
}

/// Bytes left in the iterator.
#[inline(always)]
pub fn remaining(iter: Pointer) -> Option<u64> {
    iter.read(config!(iter_count))
}

/// True if the iterator is the source of the data (a write).
#[inline(always)]
pub fn is_source(iter: Pointer) -> Option<bool> {
    Some(if config!(iter_is_flags) != 0 {
        iter.read::<u32>(config!(iter_type))? & 1 != 0
    } else {
        iter.read::<u8>(config!(iter_source))? != 0
    })
}
