//! File systems in user space and disks in memory: what they move by plain `memcpy`, which is no primitive; and what
//! direct I/O hands on by reference to something other than a block device.

use super::row::{Group, Row, copy, kprobe, optional, other, trampoline};

/// Each function lies in a module on some kernels, whose functions 5.10 describes nowhere.
pub const ROWS: &[Row] = &[
    optional(copy(
        "fuse_copy",
        "requests and replies of FUSE file systems, on the daemon's side (memcpy)",
        &[
            trampoline("fuse_copy_do", 3, &["fuse_copy_fexit"]),
            kprobe("fuse_copy_do", &["fuse_copy_entry", "fuse_copy_return"]),
        ],
        &[],
    )),
    optional(copy(
        "pmem_write",
        "writes to persistent memory by its block driver (__memcpy_flushcache)",
        &[kprobe("pmem_do_write", &["pmem_write_kprobe"])],
        &[],
    )),
    optional(copy(
        "brd_io",
        "reads and writes of RAM disks (memcpy)",
        &[kprobe("brd_submit_bio", &["brd_io_kprobe"])],
        &[],
    )),
    direct(
        "fuse_direct",
        "user pages handed to a FUSE daemon by direct I/O",
        &[
            trampoline("fuse_direct_io", 4, &["fuse_direct_fexit"]),
            kprobe("fuse_direct_io", &["fuse_direct_entry", "fuse_direct_return"]),
        ],
    ),
    direct(
        "nfs_direct_read",
        "user pages handed to NFS by direct reads",
        &[kprobe("nfs_file_direct_read", &["nfs_direct_read_entry", "nfs_direct_read_return"])],
    ),
    direct(
        "nfs_direct_write",
        "user pages handed to NFS by direct writes",
        &[kprobe("nfs_file_direct_write", &["nfs_direct_write_entry", "nfs_direct_write_return"])],
    ),
    direct(
        "netfs_direct_read",
        "user pages handed to a network file system (9p, SMB, AFS) by direct reads",
        &[kprobe(
            "netfs_unbuffered_read_iter_locked",
            &["netfs_direct_read_entry", "netfs_direct_read_return"],
        )],
    ),
    direct(
        "netfs_direct_write",
        "user pages handed to a network file system (9p, SMB, AFS) by direct writes",
        &[kprobe(
            "netfs_unbuffered_write_iter_locked",
            &["netfs_direct_write_entry", "netfs_direct_write_return"],
        )],
    ),
    direct(
        "v9fs_direct",
        "user pages handed to 9p by direct I/O (before netfs did it)",
        &[kprobe("v9fs_direct_IO", &["v9fs_direct_entry", "v9fs_direct_return"])],
    ),
    direct(
        "btrfs_clone",
        "blocks that btrfs shares between files: copy_file_range, FICLONE",
        &[kprobe("btrfs_remap_file_range", &["btrfs_clone_entry", "btrfs_clone_return"])],
    ),
    direct(
        "xfs_clone",
        "blocks that XFS shares between files: copy_file_range, FICLONE",
        &[kprobe("xfs_file_remap_range", &["xfs_clone_entry", "xfs_clone_return"])],
    ),
];

const fn direct(name: &'static str, help: &'static str, ways: &'static [super::row::Way]) -> Row {
    optional(other(Group::Reference, name, help, ways))
}
