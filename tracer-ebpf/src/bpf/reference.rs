//! Bytes that change hands without a copy: user pages given to a socket.

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid,
    macros::{fexit, kprobe, kretprobe},
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use tracer_ebpf::abi::{Loss, Path};
use tracer_ebpf::{syscalls, table::row};

use super::account::{book_payload, book_reference, current_slot, note_owner, place};
use super::maps::{CALLS, CallKey, OWNERS, lose};
use super::wrapper::{Call, Exit, enter, leave, wrapper};

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

/// `int tcp_zerocopy_receive(sk, zc, ...)`: pages of packets mapped into user memory, `zc->length` bytes
/// (include/uapi/linux/tcp.h).
#[inline(always)]
fn zerocopy_recv(_probe: u32, call: &impl Call) {
    const LENGTH: u32 = 8;
    if call.ret_int() != 0 {
        return;
    }
    let Some(slot) = current_slot() else { return };
    let Some(bytes) = call.pointer(1).read::<u32>(LENGTH) else { return };
    if bytes > 0 {
        book_reference(slot, Path::Recv, bytes as u64);
        book_payload(slot, Path::Recv, bytes as u64);
    }
}
wrapper! { "zerocopy_recv": zerocopy_recv; zerocopy_recv_fexit2(2), zerocopy_recv_fexit3(3); zerocopy_recv_entry, zerocopy_recv_return }

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
