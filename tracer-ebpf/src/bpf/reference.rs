//! Bytes that change hands without a copy: pages given to a socket or a pipe.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tracer_ebpf::abi::Loss;
use tracer_ebpf::{syscalls, table::row};

use super::account::{book_payload, book_reference, current_slot, note_owner, place};
use super::maps::{CALLS, CallKey, OWNERS, lose};
use super::wrapper::{Call, Exit, enter, leave, wrapper};

/// Books bytes handed to a socket or a pipe by reference.
#[inline(always)]
fn referenced(_probe: u32, call: &impl Call) {
    book_referenced(call.ret());
}

#[inline(always)]
fn referenced_int(_probe: u32, call: &impl Call) {
    book_referenced(call.ret_int());
}

#[inline(always)]
fn book_referenced(bytes: i64) {
    if bytes <= 0 {
        return;
    }
    let Some(slot) = current_slot() else { return };
    let Some(place) = place() else { return };
    book_reference(slot, place.path, bytes as u64);
}
wrapper! { "socket_splice": referenced; socket_splice_fexit3(3), socket_splice_fexit4(4), socket_splice_fexit5(5); socket_splice_entry, socket_splice_return }
wrapper! { "ktls_pages": referenced_int; ; ktls_pages_entry, ktls_pages_return }
wrapper! { "file_splice": referenced; file_splice_fexit(5); file_splice_entry, file_splice_return }
wrapper! { "shmem_splice": referenced; shmem_splice_fexit(5); shmem_splice_entry, shmem_splice_return }
wrapper! { "socket_to_pipe": referenced_int; socket_to_pipe_fexit(6); socket_to_pipe_entry, socket_to_pipe_return }
wrapper! { "pipe_to_pipe": referenced_int; pipe_to_pipe_fexit(4); pipe_to_pipe_entry, pipe_to_pipe_return }

/// `int skb_zerocopy_iter_stream(sk, skb, msg, len, uarg[, binding])`: user pages attached to a packet.
/// Remembers whose they are: if the kernel copies them after all, it does so in softirq context.
#[inline(always)]
fn zerocopy_send(_probe: u32, call: &impl Call, uarg: u64) {
    let bytes = call.ret_int();
    if bytes <= 0 {
        return;
    }
    let Some(slot) = current_slot() else { return };
    let Some(place) = place() else { return };
    book_reference(slot, place.path, bytes as u64);
    if place.entry & syscalls::COPIES_ARE_PAYLOAD != 0 {
        book_payload(slot, place.path, bytes as u64);
    }
    note_owner(&OWNERS, uarg, slot);
}

#[fexit]
pub fn zerocopy_send_fexit5(ctx: FExitContext) -> i32 {
    let call = Exit::<5>(ctx);
    zerocopy_send(const { row("zerocopy_send") }, &call, call.arg(4));
    0
}

#[fexit]
pub fn zerocopy_send_fexit6(ctx: FExitContext) -> i32 {
    let call = Exit::<6>(ctx);
    zerocopy_send(const { row("zerocopy_send") }, &call, call.arg(4));
    0
}

/// The fifth argument in place of the fourth, which nobody reads.
#[kprobe]
pub fn zerocopy_send_entry(ctx: ProbeContext) -> u32 {
    if current_slot().is_none() {
        return 0;
    }
    let key = CallKey { pid_tgid: bpf_get_current_pid_tgid(), probe: const { row("zerocopy_send") } as u64 };
    let uarg = ctx.arg::<u64>(4).unwrap_or(0);
    if CALLS.insert(&key, &[0, 0, 0, uarg], 0).is_err() {
        lose(Loss::CallMapFull);
    }
    0
}

#[kretprobe]
pub fn zerocopy_send_return(ctx: RetProbeContext) -> u32 {
    let probe = const { row("zerocopy_send") };
    leave(probe, &ctx, |call| zerocopy_send(probe, call, call.arg(3)));
    0
}
