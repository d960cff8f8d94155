//! Memory of processes.

use super::Shows::Nothing;
use super::{
    ALL, Entry, FROM_6_1, FROM_6_12, ONLY_5_10, SITES, UP_TO_6_1, entry, inlined, part, remade, rows,
};

pub const ENTRIES: &[Entry] = &[
    inlined(
        &["5.10", "6.1", "6.12"],
        entry(
            "memory of another process: /proc/PID/mem, ptrace",
            &["__access_remote_vm"],
            "memcpy",
            "",
            ALL,
            rows(&["remote_vm"]),
        ),
    ),
    entry("process_vm_readv and process_vm_writev", &[], "", "", ALL, rows(&["process_vm"])),
    entry(
        "copy-on-write",
        &["do_wp_page", "wp_page_copy", "copy_mc_user_highpage"],
        "copy_mc_to_kernel",
        "",
        FROM_6_1,
        rows(&["page_copy"]),
    ),
    entry("copy-on-write (older)", &["wp_page_copy"], "copy_page", "", ONLY_5_10, rows(&["cow"])),
    entry(
        "copy-on-write of huge pages",
        &["copy_user_huge_page"],
        "copy_page",
        "",
        UP_TO_6_1,
        rows(&["cow_huge"]),
    ),
    entry(
        "copy-on-write of huge pages (newer)",
        &["copy_user_large_folio", "copy_subpage"],
        "copy_mc_to_kernel",
        "",
        FROM_6_12,
        rows(&["page_copy"]),
    ),
    entry(
        "migration, khugepaged, KSM, pinned pages at fork",
        &[
            "folio_copy",
            "migrate_page_copy",
            "collapse_file",
            "collapse_huge_page",
            "ksm_might_need_to_copy",
            "copy_page_range",
        ],
        "copy_page",
        "",
        ALL,
        SITES,
    ),
    entry(
        "swap to memory: zswap",
        &[
            "zswap_decompress",
            "zswap_frontswap_load",
            "zswap_writeback_entry",
            "zs_map_object",
            "zs_obj_read_begin",
        ],
        "memcpy",
        "",
        ALL,
        remade(Nothing),
    ),
    entry("System V messages, POSIX message queues", &[], "", "", ALL, rows(&["check"])),
    entry("keys", &["user_preparse", "user_read"], "memcpy", "", ALL, part(Nothing, "up to 32 KiB a key")),
];
