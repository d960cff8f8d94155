//! Bytes that move by reference: never part of a sum of copies.

use super::row::{Group, Row, before, kprobe, only, optional, other, since, trampoline};

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
        "socket_splice",
        "pages attached to packets (sendfile and splice to a socket)",
        &[
            trampoline("skb_splice_from_iter", 3, &["socket_splice_fexit3"]),
            trampoline("skb_splice_from_iter", 4, &["socket_splice_fexit4"]),
            // Up to 6.4 pages are attached one by one (`do_tcp_sendpages()`, 256 events per MiB): their sum is
            // what all of a pipe's pages gave.
            trampoline("generic_splice_sendpage", 5, &["socket_splice_fexit5"]),
            kprobe("skb_splice_from_iter", &["socket_splice_entry", "socket_splice_return"]),
            kprobe("generic_splice_sendpage", &["socket_splice_entry", "socket_splice_return"]),
        ],
    ),
    optional(only(
        before(6, 5),
        other(
            Group::Reference,
            "ktls_pages",
            "encrypted pages attached to packets (before skb_splice_from_iter did it)",
            &[kprobe("tls_sw_sendmsg", &["ktls_pages_entry", "ktls_pages_return"])],
        ),
    )),
    other(
        Group::Reference,
        "file_splice",
        "page-cache pages put into a pipe",
        &[
            trampoline("filemap_splice_read", 5, &["file_splice_fexit"]),
            trampoline("generic_file_splice_read", 5, &["file_splice_fexit"]),
            kprobe("filemap_splice_read", &["file_splice_entry", "file_splice_return"]),
            kprobe("generic_file_splice_read", &["file_splice_entry", "file_splice_return"]),
        ],
    ),
    only(
        since(6, 3),
        other(
            Group::Reference,
            "shmem_splice",
            "tmpfs pages put into a pipe",
            &[
                trampoline("shmem_file_splice_read", 5, &["shmem_splice_fexit"]),
                kprobe("shmem_file_splice_read", &["shmem_splice_entry", "shmem_splice_return"]),
            ],
        ),
    ),
    other(
        Group::Reference,
        "socket_to_pipe",
        "received pages put into a pipe",
        &[
            trampoline("skb_splice_bits", 6, &["socket_to_pipe_fexit"]),
            kprobe("skb_splice_bits", &["socket_to_pipe_entry", "socket_to_pipe_return"]),
        ],
    ),
    optional(other(
        Group::Reference,
        "pipe_to_pipe",
        "pages moved from one pipe to another",
        &[
            trampoline("splice_pipe_to_pipe", 4, &["pipe_to_pipe_fexit"]),
            kprobe("splice_pipe_to_pipe", &["pipe_to_pipe_entry", "pipe_to_pipe_return"]),
        ],
    )),
];
