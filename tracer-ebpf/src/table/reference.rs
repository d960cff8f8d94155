//! Bytes that move by reference: never part of a sum of copies. What splice and its kin moved is told by the rows that
//! mark them (`mark.rs`), for whole calls.

use super::row::{Group, Meant, Row, kprobe, only, other, trampoline};

/// Pages attached to packets and pipes.
pub const ROWS: &[Row] = &[
    other(
        Group::Reference,
        "zerocopy_send",
        "user pages attached to packets (MSG_ZEROCOPY, io_uring SEND_ZC)",
        &[
            trampoline("skb_zerocopy_iter_stream", 5, &["zerocopy_send_fexit5"]),
            trampoline("skb_zerocopy_iter_stream", 6, &["zerocopy_send_fexit6"]),
            kprobe("skb_zerocopy_iter_stream", &["zerocopy_send_entry", "zerocopy_send_return"]),
        ],
    ),
    other(
        Group::Reference,
        "zerocopy_recv",
        "pages of packets mapped into user memory (TCP_ZEROCOPY_RECEIVE)",
        &[
            trampoline("tcp_zerocopy_receive", 3, &["zerocopy_recv_fexit3"]),
            trampoline("tcp_zerocopy_receive", 2, &["zerocopy_recv_fexit2"]),
            kprobe("tcp_zerocopy_receive", &["zerocopy_recv_entry", "zerocopy_recv_return"]),
        ],
    ),
    only(
        Meant::Has("splice_file_to_pipe"),
        other(
            Group::Reference,
            "sendfile_to_pipe",
            "what sendfile put into a pipe (before 5.12 it writes there)",
            &[
                trampoline("splice_file_to_pipe", 5, &["sendfile_to_pipe_fexit"]),
                kprobe("splice_file_to_pipe", &["sendfile_to_pipe_entry", "sendfile_to_pipe_return"]),
            ],
        ),
    ),
];
