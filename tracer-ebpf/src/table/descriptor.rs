//! Descriptors whose payload is structures of constant size: the check never sees these copies, the return value tells
//! them.

use super::row::{Row, copy, kprobe, optional, trampoline};

/// Event counters, timers, signals, file notifications, faults and input devices.
pub const ROWS: &[Row] = &[
    optional(copy(
        "eventfd_read",
        "reads of an eventfd",
        &[
            trampoline("eventfd_read", 2, &["eventfd_read_fexit"]),
            kprobe("eventfd_read", &["eventfd_read_entry", "eventfd_read_return"]),
        ],
        &["eventfd_read"],
    )),
    optional(copy(
        "eventfd_write",
        "writes to an eventfd",
        &[
            trampoline("eventfd_write", 4, &["eventfd_write_fexit"]),
            kprobe("eventfd_write", &["eventfd_write_entry", "eventfd_write_return"]),
        ],
        &["eventfd_write"],
    )),
    optional(copy(
        "timerfd_read",
        "reads of a timerfd",
        &[
            trampoline("timerfd_read_iter", 2, &["timerfd_read_iter_fexit"]),
            trampoline("timerfd_read", 4, &["timerfd_read_fexit"]),
            kprobe("timerfd_read_iter", &["timerfd_read_iter_entry", "timerfd_read_iter_return"]),
            kprobe("timerfd_read", &["timerfd_read_entry", "timerfd_read_return"]),
        ],
        &["timerfd_read", "timerfd_read_iter"],
    )),
    optional(copy(
        "signalfd_read",
        "reads of a signalfd",
        &[
            trampoline("signalfd_read_iter", 2, &["signalfd_read_iter_fexit"]),
            trampoline("signalfd_read", 4, &["signalfd_read_fexit"]),
            kprobe("signalfd_read_iter", &["signalfd_read_iter_entry", "signalfd_read_iter_return"]),
            kprobe("signalfd_read", &["signalfd_read_entry", "signalfd_read_return"]),
        ],
        &["signalfd_read", "signalfd_read_iter", "signalfd_copyinfo"],
    )),
    optional(copy(
        "inotify_read",
        "events of inotify, with their names",
        &[
            trampoline("inotify_read", 4, &["inotify_read_fexit"]),
            kprobe("inotify_read", &["inotify_read_entry", "inotify_read_return"]),
        ],
        &["inotify_read"],
    )),
    optional(copy(
        "fanotify_read",
        "events of fanotify",
        &[
            trampoline("fanotify_read", 4, &["fanotify_read_fexit"]),
            kprobe("fanotify_read", &["fanotify_read_entry", "fanotify_read_return"]),
        ],
        &["fanotify_read", "copy_event_to_user", "copy_info_records_to_user", "copy_fid_info_to_user"],
    )),
    optional(copy(
        "userfaultfd_read",
        "messages of a userfaultfd",
        &[
            trampoline("userfaultfd_read_iter", 2, &["userfaultfd_read_iter_fexit"]),
            trampoline("userfaultfd_read", 4, &["userfaultfd_read_fexit"]),
            kprobe("userfaultfd_read_iter", &["userfaultfd_read_iter_entry", "userfaultfd_read_iter_return"]),
            kprobe("userfaultfd_read", &["userfaultfd_read_entry", "userfaultfd_read_return"]),
        ],
        &["userfaultfd_read", "userfaultfd_read_iter"],
    )),
    optional(copy(
        "input_read",
        "events of input devices (module evdev)",
        &[kprobe("evdev_read", &["input_read_entry", "input_read_return"])],
        &["evdev_read"],
    )),
    optional(copy(
        "input_write",
        "events that a program gives to an input device (module evdev)",
        &[kprobe("evdev_write", &["input_write_entry", "input_write_return"])],
        &["evdev_write"],
    )),
    optional(copy(
        "uinput_write",
        "events that a program makes an input device of (module uinput)",
        &[kprobe("uinput_write", &["uinput_write_entry", "uinput_write_return"])],
        &["uinput_write"],
    )),
];
