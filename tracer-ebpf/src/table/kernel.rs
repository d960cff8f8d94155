//! Copies between kernel buffers, and what else touches every byte.

use super::row::{Meant, Row, copy, in_softirqs, kprobe, only, optional, trampoline, unpreempted};

/// Packets, pages, checksums, encryption; and the kprobes on call sites.
pub const ROWS: &[Row] = &[
    copy(
        "page_copy",
        "copy-on-write and migrated pages, reads of persistent memory",
        &[
            trampoline("copy_mc_to_kernel", 3, &["page_copy_fexit"]),
            unpreempted(kprobe("copy_mc_to_kernel", &["page_copy_kprobe"])),
        ],
        &[],
    ),
    only(
        Meant::Calls { function: "wp_page_copy", primitive: "copy_page" },
        copy(
            "cow",
            "copy-on-write pages (before copy_mc_to_kernel did it)",
            &[
                trampoline("wp_page_copy", 1, &["cow_fexit"]),
                kprobe("wp_page_copy", &["cow_entry", "cow_return"]),
            ],
            &["wp_page_copy"],
        ),
    ),
    optional(only(
        Meant::Has("copy_user_huge_page"),
        copy(
            "cow_huge",
            "copy-on-write of huge pages",
            &[
                trampoline("copy_user_huge_page", 5, &["cow_huge_fentry"]),
                kprobe("copy_user_huge_page", &["cow_huge_kprobe"]),
            ],
            &["copy_user_huge_page", "copy_subpage"],
        ),
    )),
    in_softirqs(copy(
        "skb_copy_bits",
        "packet data copied into kernel memory: linearise, pull, copy",
        &[
            trampoline("skb_copy_bits", 4, &["skb_copy_bits_fentry"]),
            kprobe("skb_copy_bits", &["skb_copy_bits_kprobe"]),
        ],
        &[],
    )),
    in_softirqs(copy(
        "skb_store_bits",
        "kernel memory copied into packet data",
        &[
            trampoline("skb_store_bits", 4, &["skb_store_bits_fentry"]),
            kprobe("skb_store_bits", &["skb_store_bits_kprobe"]),
        ],
        &[],
    )),
    in_softirqs(copy(
        "skb_copy_ubufs",
        "zero-copy sends that the kernel copied after all",
        &[
            trampoline("skb_copy_ubufs", 2, &["skb_copy_ubufs_fexit"]),
            kprobe("skb_copy_ubufs", &["skb_copy_ubufs_entry", "skb_copy_ubufs_return"]),
        ],
        &[],
    )),
    in_softirqs(copy(
        "skb_expand_head",
        "packet headers moved to a larger buffer",
        &[
            trampoline("pskb_expand_head", 4, &["skb_expand_head_fexit"]),
            kprobe("pskb_expand_head", &["skb_expand_head_entry", "skb_expand_head_return"]),
        ],
        &[],
    )),
    in_softirqs(copy(
        "skb_copy_headers",
        "packet headers copied for a retransmission",
        &[
            trampoline("__pskb_copy_fclone", 4, &["skb_copy_headers_fentry"]),
            kprobe("__pskb_copy_fclone", &["skb_copy_headers_kprobe"]),
        ],
        &[],
    )),
    in_softirqs(optional(copy(
        "swiotlb_bounce",
        "bounce buffers of devices that cannot reach the memory",
        &[
            trampoline("swiotlb_bounce", 0, &["swiotlb_bounce_fentry"]),
            kprobe("swiotlb_bounce", &["swiotlb_bounce_kprobe"]),
        ],
        &[],
    ))),
    // -- checksum and copy in one -------------------------------------------------------------------
    copy(
        "csum_from_user",
        "copies from user memory that compute a checksum",
        &[
            trampoline("csum_and_copy_from_user", 3, &["csum_from_user_fentry"]),
            kprobe("csum_and_copy_from_user", &["csum_from_user_kprobe"]),
        ],
        &[],
    ),
    copy(
        "csum_to_user",
        "copies to user memory that compute a checksum",
        &[
            trampoline("csum_and_copy_to_user", 3, &["csum_to_user_fentry"]),
            kprobe("csum_and_copy_to_user", &["csum_to_user_kprobe"]),
        ],
        &[],
    ),
    in_softirqs(copy(
        "skb_copy_and_csum_bits",
        "packet data copied and checksummed: segmentation for devices without scatter-gather",
        &[
            trampoline("skb_copy_and_csum_bits", 4, &["skb_copy_and_csum_bits_fentry"]),
            kprobe("skb_copy_and_csum_bits", &["skb_copy_and_csum_bits_kprobe"]),
        ],
        &[],
    )),
    // -- encryption ---------------------------------------------------------------------------------
    optional(copy(
        "ktls_send",
        "bytes that kTLS encrypted in software (module tls) and attached to packets",
        &[kprobe("tls_sw_sendmsg", &["ktls_send_entry", "ktls_send_return"])],
        &[],
    )),
    optional(only(
        Meant::Lacks("splice_to_socket"),
        copy(
            "ktls_sendpage",
            "the same for sendfile and splice (before tls_sw_sendmsg did it)",
            &[kprobe("tls_sw_sendpage", &["ktls_sendpage_entry", "ktls_sendpage_return"])],
            &[],
        ),
    )),
    optional(copy(
        "ktls_recv",
        "bytes that kTLS decrypted in software",
        &[kprobe("tls_sw_recvmsg", &["ktls_recv_entry", "ktls_recv_return"])],
        &[],
    )),
    // -- call sites that nothing above covers -------------------------------------------------------
    optional(copy(
        "call_site",
        "kprobes on the call instructions of copy primitives that no wrapper covers",
        &[],
        &[],
    )),
];
