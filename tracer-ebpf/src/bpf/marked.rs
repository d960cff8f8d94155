//! Threads whose next return from a system call is special.

use tracer_ebpf::abi::{Loss, mark, marked::NO};

use super::account::is_open;
use super::maps::{MARKED, MARKS, add, lose};

/// Marks a thread if counting has begun (before, its return is not looked at, and the mark would stay): `what` is
/// one of [`tracer_ebpf::abi::marked`].
#[inline(always)]
pub fn set(thread: u64, what: u32) {
    if !is_open() {
        return;
    }
    if MARKED.insert(&thread, &what, 0).is_err() {
        lose(Loss::CallMapFull);
        return;
    }
    if let Some(marks) = MARKS.get_ptr_mut(mark(thread as u32)) {
        add(marks, 1);
    }
}

/// Takes a thread's mark. (A number, not an `Option`: of that 5.10's verifier sees a part that nobody wrote.)
#[inline(always)]
pub fn take(thread: u64) -> u32 {
    let Some(marks) = MARKS.get_ptr_mut(mark(thread as u32)) else { return NO };
    // SAFETY: reads one aligned word of a map value.
    if unsafe { *marks } == 0 {
        return NO;
    }
    // SAFETY: the value is copied out.
    let Some(what) = (unsafe { MARKED.get(&thread) }).copied() else { return NO };
    let _ = MARKED.remove(&thread);
    add(marks, u64::MAX);
    what
}
