//! Which function called the traced one, and what it called it for: the return address, looked up in `CALLERS`.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_get_func_ip,
    programs::{FEntryContext, FExitContext, ProbeContext},
};
use tracer_ebpf::abi::caller::UNKNOWN;

use super::kernel::read;
use super::maps::CALLERS;

/// A context from which the caller of the traced function can be told.
pub trait Caller {
    /// The address that the traced function returns to; 0 where the stack does not show it. (No `Option`: 5.10's
    /// verifier would see a part that nothing wrote.)
    fn return_address(&self) -> u64;

    /// One of [`tracer_ebpf::abi::caller`].
    #[inline(always)]
    fn class(&self) -> u32 {
        class_of(self.return_address())
    }
}

/// The class of the call that returns to this address.
#[inline(always)]
pub fn class_of(return_address: u64) -> u32 {
    // SAFETY: the value is copied out.
    unsafe { CALLERS.get(&return_address) }.copied().unwrap_or(UNKNOWN)
}

/// The program's context with the number of arguments of the traced function, which the layout of a trampoline's
/// frame depends on.
pub struct Traced<'a, C, const ARGS: usize>(pub &'a C);

impl<const ARGS: usize> Caller for Traced<'_, FEntryContext, ARGS> {
    #[inline(always)]
    fn return_address(&self) -> u64 {
        behind_trampoline(self.0.as_ptr(), ARGS)
    }
}

impl<const ARGS: usize> Caller for Traced<'_, FExitContext, ARGS> {
    #[inline(always)]
    fn return_address(&self) -> u64 {
        behind_trampoline(self.0.as_ptr(), ARGS)
    }
}

impl Caller for ProbeContext {
    #[inline(always)]
    fn return_address(&self) -> u64 {
        // SAFETY: the context of a kprobe is `pt_regs`.
        let stack = unsafe { (*self.regs).rsp };
        read(stack, 0).unwrap_or(0)
    }
}

/// Longest distance from a function to where its trampoline was called: `endbr64` and a call of 5 bytes.
const FIRST_CALL: u64 = 16;

/// A trampoline's frame, upwards from the context: the arguments, the return value (only if the function also has
/// fexit programs), the caller's `rbp`, the address behind the function's first call, the return address
/// (`arch_prepare_bpf_trampoline()`, arch/x86/net/bpf_jit_comp.c; 5.10 to 7.2).
#[inline(always)]
fn behind_trampoline(ctx: *mut c_void, args: usize) -> u64 {
    // SAFETY: the context of a tracing program.
    let function = unsafe { bpf_get_func_ip(ctx) };
    let Some([_, second, third, fourth]) = read::<[u64; 4]>(ctx as u64 + 8 * args as u64, 0) else {
        return 0;
    };
    let is_inside = |address: u64| address.wrapping_sub(function) <= FIRST_CALL;
    if is_inside(second) {
        third
    } else if is_inside(third) {
        fourth
    } else {
        0
    }
}
