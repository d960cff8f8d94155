//! Reads and writes of structures whose size the compiler knows (`table/descriptor.rs`): all that such a function
//! returns, it copied.

use tracer_ebpf::abi::Direction;
use tracer_ebpf::{syscalls, table::row};

use super::account::{Kind, book_copy, book_payload, current_slot, place};
use super::wrapper::{Call, Exit, book_iter, enter, leave, wrapper};

/// `ssize_t f(iocb, iter)`.
#[inline(always)]
fn to_iter(probe: u32, call: &impl Call) {
    let bytes = call.ret();
    if bytes > 0
        && let Some(slot) = current_slot()
    {
        book_iter(slot, probe, call.pointer(1), Direction::ToUser, bytes as u64);
    }
}

/// `ssize_t f(file, buf, count, pos)`.
#[inline(always)]
fn to_user(probe: u32, call: &impl Call) {
    copied(probe, call.ret(), Direction::ToUser);
}

#[inline(always)]
fn from_user(probe: u32, call: &impl Call) {
    copied(probe, call.ret(), Direction::FromUser);
}

#[inline(always)]
fn copied(probe: u32, bytes: i64, direction: Direction) {
    if bytes <= 0 {
        return;
    }
    let (Some(slot), Some(place)) = (current_slot(), place()) else { return };
    book_copy(slot, probe, Kind::Copy, place.path, direction, bytes as u64);
    if place.entry & syscalls::COPIES_ARE_PAYLOAD != 0 {
        book_payload(slot, place.path, bytes as u64);
    }
}

wrapper! { "eventfd_read": to_iter; eventfd_read_fexit(2); eventfd_read_entry, eventfd_read_return }
wrapper! { "eventfd_write": from_user; eventfd_write_fexit(4); eventfd_write_entry, eventfd_write_return }
wrapper! { "timerfd_read": to_iter; timerfd_read_iter_fexit(2); timerfd_read_iter_entry, timerfd_read_iter_return }
wrapper! { "timerfd_read": to_user; timerfd_read_fexit(4); timerfd_read_entry, timerfd_read_return }
wrapper! { "signalfd_read": to_iter; signalfd_read_iter_fexit(2); signalfd_read_iter_entry, signalfd_read_iter_return }
wrapper! { "signalfd_read": to_user; signalfd_read_fexit(4); signalfd_read_entry, signalfd_read_return }
wrapper! { "inotify_read": to_user; inotify_read_fexit(4); inotify_read_entry, inotify_read_return }
wrapper! { "fanotify_read": to_user; fanotify_read_fexit(4); fanotify_read_entry, fanotify_read_return }
wrapper! { "userfaultfd_read": to_iter; userfaultfd_read_iter_fexit(2); userfaultfd_read_iter_entry, userfaultfd_read_iter_return }
wrapper! { "userfaultfd_read": to_user; userfaultfd_read_fexit(4); userfaultfd_read_entry, userfaultfd_read_return }
wrapper! { "input_read": to_user; ; input_read_entry, input_read_return }
wrapper! { "input_write": from_user; ; input_write_entry, input_write_return }
wrapper! { "uinput_write": from_user; ; uinput_write_entry, uinput_write_return }
