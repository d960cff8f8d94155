//! Bytes that devices move by DMA, and what tells whose they are.

use super::row::{Group, Meant, Row, Way, kprobe, needing, only, optional, other, tracepoint, trampoline};

/// Block transfers count when they complete, packets when the driver has taken them or a socket gets them.
pub const ROWS: &[Row] = &[
    needing(
        &["block_split", "block_complete"],
        other(
            Group::Block,
            "block_queue",
            "block transfers, by who submits them",
            &[
                tracepoint("block_bio_queue", 2, &["bio_queued_second"]),
                tracepoint("block_bio_queue", 1, &["bio_queued"]),
            ],
        ),
    ),
    needing(
        &["block_queue", "block_complete"],
        other(
            Group::Block,
            "block_split",
            "parts of block transfers that are too large for their device",
            &[
                tracepoint("block_split", 3, &["bio_split_second"]),
                tracepoint("block_split", 2, &["bio_split"]),
            ],
        ),
    ),
    needing(
        &["block_queue", "block_split"],
        other(
            Group::Block,
            "block_complete",
            "block transfers that have ended",
            &[trampoline("bio_endio", 1, &["bio_ended_fentry"]), kprobe("bio_endio", &["bio_ended_kprobe"])],
        ),
    ),
    needing(
        &["net_transmitted"],
        other(
            Group::Net,
            "net_transmit",
            "packets given to a device's driver",
            &[tracepoint("net_dev_start_xmit", 2, &["xmit_started"])],
        ),
    ),
    needing(
        &["net_transmit"],
        other(
            Group::Net,
            "net_transmitted",
            "packets that the driver took",
            &[tracepoint("net_dev_xmit", 4, &["xmit_done"])],
        ),
    ),
    net(
        "net_receive",
        "packets delivered to a socket",
        &[
            trampoline("sk_filter_trim_cap", 0, &["delivered_fentry"]),
            kprobe("sk_filter_trim_cap", &["delivered_kprobe"]),
        ],
    ),
    owner(
        "owner_send",
        "whose a socket is that is sent to",
        &[
            trampoline("security_socket_sendmsg", 3, &["socket_used_fentry"]),
            kprobe("security_socket_sendmsg", &["socket_used_kprobe"]),
        ],
    ),
    // splice_to_socket, which goes by way of sendmsg, is new in 6.5 (2dc334f1a63a).
    only(
        Meant::Lacks("splice_to_socket"),
        owner(
            "owner_sendpage",
            "whose a socket is that pages are spliced to",
            &[
                trampoline("inet_sendpage", 5, &["socket_pages_fentry"]),
                kprobe("inet_sendpage", &["socket_pages_kprobe"]),
            ],
        ),
    ),
    owner(
        "owner_receive",
        "whose a socket is that is received from",
        &[
            trampoline("security_socket_recvmsg", 4, &["socket_received_fentry"]),
            kprobe("security_socket_recvmsg", &["socket_received_kprobe"]),
        ],
    ),
    owner(
        "owner_splice",
        "whose a socket is that is spliced from",
        &[
            trampoline("tcp_splice_read", 5, &["socket_spliced_fentry"]),
            kprobe("tcp_splice_read", &["socket_spliced_kprobe"]),
        ],
    ),
    owner(
        "owner_accept",
        "whose a listening socket is",
        &[
            trampoline("security_socket_accept", 2, &["socket_accepts_fentry"]),
            kprobe("security_socket_accept", &["socket_accepts_kprobe"]),
        ],
    ),
    owner(
        "owner_connect",
        "whose a connecting socket is",
        &[
            trampoline("security_socket_connect", 3, &["socket_connects_fentry"]),
            kprobe("security_socket_connect", &["socket_connects_kprobe"]),
        ],
    ),
    // Without it what a new connection receives before its first use is nobody's.
    optional(owner(
        "owner_clone",
        "connections of a listening socket",
        &[trampoline("inet_csk_clone_lock", 3, &["socket_cloned"])],
    )),
    net(
        "owner_free",
        "sockets that end",
        &[
            trampoline("security_sk_free", 1, &["socket_freed_fentry"]),
            kprobe("security_sk_free", &["socket_freed_kprobe"]),
        ],
    ),
];

/// What is noted of a socket is wrong once another one lies at its address.
const fn owner(name: &'static str, help: &'static str, ways: &'static [Way]) -> Row {
    needing(&["owner_free"], net(name, help, ways))
}

const fn net(name: &'static str, help: &'static str, ways: &'static [Way]) -> Row {
    other(Group::Net, name, help, ways)
}
