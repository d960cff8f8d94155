//! `struct iov_iter`: which memory it stands for.

use super::kernel::read;
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

#[inline(always)]
pub fn memory(iter: u64) -> Option<Memory> {
    let bit = if config!(iter_is_flags) != 0 {
        // Up to 5.13: `unsigned int type`, one bit per type, the lowest one is the direction.
        read::<u32>(iter, config!(iter_type))? & !1
    } else {
        1 << (read::<u8>(iter, config!(iter_type))? as u32 & 31)
    };
    Some(if bit & config!(iter_user) != 0 {
        Memory::User
    } else if bit & config!(iter_no_copy) != 0 {
        Memory::NoCopy
    } else if bit & config!(iter_bvec) != 0 {
        Memory::Pages
    } else {
        Memory::Kernel
    })
}

/// Bytes left in the iterator.
#[inline(always)]
pub fn remaining(iter: u64) -> Option<u64> {
    read(iter, config!(iter_count))
}

/// True if the iterator is the source of the data (a write).
#[inline(always)]
pub fn is_source(iter: u64) -> Option<bool> {
    Some(if config!(iter_is_flags) != 0 {
        read::<u32>(iter, config!(iter_type))? & 1 != 0
    } else {
        read::<u8>(iter, config!(iter_source))? != 0
    })
}
