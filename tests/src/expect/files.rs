//! What each kernel must show on file systems besides tmpfs and ext4.

use super::{
    Amount, Cell, FROM_6_12, MMAP_WRITE, NOTHING, Place, RANGE_COPIES, READ_WRITE, Row, SENDFILE_MOVES,
    from_user, in_kernel, moved, row, to_user,
};

/// A file system, and what it lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fs {
    Xfs,
    Btrfs,
    BtrfsZstd,
    F2fs,
    Vfat,
    Overlay,
    /// ext4 on a RAM disk.
    RamDisk,
    /// ext4 on persistent memory.
    Pmem,
    /// The same with `-o dax`.
    Dax,
    /// ext4 in a file of a tmpfs.
    Loop,
    /// One compressed file, which can only be read.
    Squashfs,
    /// A directory of a tmpfs that this kernel serves itself, by NFS 4.2 over loopback.
    Nfs,
    /// The same without a cache of attributes: each read first asks the server whether the file is still the same.
    NfsNoac,
}

impl Fs {
    pub const ALL: [Fs; 13] = [
        Fs::Xfs,
        Fs::Btrfs,
        Fs::BtrfsZstd,
        Fs::F2fs,
        Fs::Vfat,
        Fs::Overlay,
        Fs::RamDisk,
        Fs::Pmem,
        Fs::Dax,
        Fs::Loop,
        Fs::Squashfs,
        Fs::Nfs,
        Fs::NfsNoac,
    ];

    /// What follows a workload's name.
    pub const fn suffix(self) -> &'static str {
        match self {
            Fs::Xfs => "@xfs",
            Fs::Btrfs => "@btrfs",
            Fs::BtrfsZstd => "@btrfs-zstd",
            Fs::F2fs => "@f2fs",
            Fs::Vfat => "@vfat",
            Fs::Overlay => "@overlay",
            Fs::RamDisk => "@ramdisk",
            Fs::Pmem => "@pmem",
            Fs::Dax => "@dax",
            Fs::Loop => "@loop",
            Fs::Squashfs => "@squashfs",
            Fs::Nfs => "@nfs",
            Fs::NfsNoac => "@nfs-noac",
        }
    }

    pub fn name(self) -> &'static str {
        &self.suffix()[1..]
    }
}

const fn on(fs: Fs, workload: &'static str, cells: &'static [Cell]) -> Row {
    Row { place: Place::On(fs), ..row(workload, cells) }
}

const UP_TO_6_1: &[&str] = &["5.10", "6.1"];

/// The driver of a disk in memory copies what direct I/O moves.
const DRIVER_COPIES: &[Cell] = &[in_kernel("read", 1), in_kernel("write", 1)];
/// Blocks that two files share.
const RANGE_SHARED: &[Cell] = &[moved("copy_file_range", 1)];

pub const ROWS: &[Row] = &[
    on(Fs::Xfs, "rw_file", READ_WRITE),
    on(Fs::Xfs, "mmap_write_file", MMAP_WRITE),
    on(Fs::Xfs, "sendfile_tcp", SENDFILE_MOVES),
    on(Fs::Xfs, "odirect_rw", NOTHING),
    on(Fs::Xfs, "copy_file_range", RANGE_SHARED),
    on(Fs::Btrfs, "rw_file", READ_WRITE),
    on(Fs::Btrfs, "mmap_write_file", MMAP_WRITE),
    on(Fs::Btrfs, "sendfile_tcp", SENDFILE_MOVES),
    on(Fs::Btrfs, "odirect_rw", NOTHING).only(
        UP_TO_6_1,
        "before 6.12.118 and 6.15 (btrfs: always fallback to buffered write if the inode requires checksum)",
    ),
    on(Fs::Btrfs, "odirect_rw", &[from_user("write")])
        .only(FROM_6_12, "data with checksums is written through the page cache"),
    on(Fs::Btrfs, "copy_file_range", RANGE_SHARED),
    on(Fs::BtrfsZstd, "rw_file", READ_WRITE),
    on(Fs::BtrfsZstd, "sendfile_tcp", SENDFILE_MOVES),
    on(Fs::F2fs, "rw_file", READ_WRITE),
    on(Fs::F2fs, "mmap_write_file", MMAP_WRITE),
    on(Fs::F2fs, "sendfile_tcp", SENDFILE_MOVES),
    on(Fs::F2fs, "odirect_rw", NOTHING),
    on(Fs::F2fs, "copy_file_range", RANGE_COPIES),
    on(Fs::Vfat, "rw_file", READ_WRITE),
    on(Fs::Vfat, "mmap_write_file", MMAP_WRITE),
    on(Fs::Vfat, "sendfile_tcp", SENDFILE_MOVES),
    on(Fs::Vfat, "odirect_rw", NOTHING),
    on(Fs::Vfat, "copy_file_range", RANGE_COPIES),
    on(Fs::Overlay, "rw_file", READ_WRITE),
    on(Fs::Overlay, "mmap_write_file", MMAP_WRITE),
    on(Fs::Overlay, "sendfile_tcp", SENDFILE_MOVES),
    on(Fs::Overlay, "copy_file_range", RANGE_COPIES),
    on(Fs::RamDisk, "odirect_rw", DRIVER_COPIES),
    on(Fs::Pmem, "odirect_rw", DRIVER_COPIES),
    // New blocks of DAX are zeroed through the block driver, which copies the page of zeros (`sb_issue_zeroout`).
    on(Fs::Dax, "rw_file", &[to_user("read"), Cell { in_kernel: Amount::Times(1), ..from_user("write") }]),
    on(Fs::Dax, "mmap_write_file", &[Cell { in_kernel: Amount::Times(1), ..from_user("write") }]),
    on(Fs::Dax, "sendfile_tcp", &[in_kernel("sendfile", 1)]),
    on(Fs::Dax, "odirect_rw", &[to_user("read"), from_user("write")]),
    on(Fs::Dax, "copy_file_range", &[in_kernel("copy_file_range", 3)]),
    on(Fs::Loop, "rw_file", READ_WRITE),
    // What a server and its client do for each other are kernel threads' copies.
    on(Fs::Nfs, "rw_file", READ_WRITE),
    on(Fs::Nfs, "mmap_write_file", MMAP_WRITE),
    on(Fs::Nfs, "sendfile_tcp", SENDFILE_MOVES),
    // What the client asks it sends within the read, from a buffer of the kernel's.
    on(Fs::NfsNoac, "rw_tcp", &[Cell { in_kernel: Amount::Any, ..to_user("read") }, from_user("write")]),
];
