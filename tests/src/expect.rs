//! What each kernel must show for each workload, as plain data. Counts of calls are
//! not here: the workload's own books are compared for these. Amounts are in units of the bytes that the
//! window moves, so that `1` reads "each byte, once".

/// The kernels of the matrix, oldest first.
pub const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "7.2"];

const ALL: &[&str] = &KERNELS;
const ONLY_5_10: &[&str] = &["5.10"];
const FROM_6_1: &[&str] = &["6.1", "6.12", "7.2"];

const FROM_6_12: &[&str] = &["6.12", "7.2"];

pub mod files;

pub use files::Fs;

/// Who of the two is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The workload itself, whose calls are known.
    Worker,
    /// The process at the other end: only its bytes are known.
    Peer,
}

/// Where the files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Tmpfs,
    Ext4,
    /// On ext4, the source not in the page cache.
    Ext4Cold,
    /// From ext4 to tmpfs.
    Across,
    On(Fs),
}

impl Place {
    pub const ALL: [Place; 4] = [Place::Tmpfs, Place::Ext4, Place::Ext4Cold, Place::Across];

    /// What follows a workload's name: `rw_file@ext4`.
    pub fn suffix(self) -> &'static str {
        match self {
            Place::Tmpfs => "",
            Place::Ext4 => "@ext4",
            Place::Ext4Cold => "@ext4-cold",
            Place::Across => "@across",
            Place::On(fs) => fs.suffix(),
        }
    }
}

/// Times the bytes of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    Times(u64),
    /// No fewer; the rest is the kernel's doing, see the row.
    AtLeast(u64),
    /// Depends on timing, or is not defined: not compared.
    Any,
}

/// One path of one process. Paths that a row does not name must be all zero.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub path: &'static str,
    pub to_user: u64,
    pub from_user: u64,
    pub in_kernel: Amount,
    /// Moved by reference.
    pub zero_copied: Amount,
}

#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub workload: &'static str,
    pub role: Role,
    pub place: Place,
    pub kernels: &'static [&'static str],
    /// Why these kernels differ from the others.
    pub cause: &'static str,
    pub cells: &'static [Cell],
    /// Bytes that the kernel's TLS encrypted or decrypted.
    pub crypto: u64,
    /// So many of the window's pages to each user-mode fault; 0 if there is none.
    pub pages_per_fault: u64,
}

const fn cell(path: &'static str) -> Cell {
    Cell { path, to_user: 0, from_user: 0, in_kernel: Amount::Times(0), zero_copied: Amount::Times(0) }
}

const fn to_user(path: &'static str) -> Cell {
    Cell { to_user: 1, ..cell(path) }
}

const fn from_user(path: &'static str) -> Cell {
    Cell { from_user: 1, ..cell(path) }
}

const fn in_kernel(path: &'static str, times: u64) -> Cell {
    Cell { in_kernel: Amount::Times(times), ..cell(path) }
}

/// Moved without a copy, so many times.
const fn moved(path: &'static str, times: u64) -> Cell {
    Cell { zero_copied: Amount::Times(times), ..cell(path) }
}

impl Cell {
    const fn and_moved(self, zero_copied: Amount) -> Cell {
        Cell { zero_copied, ..self }
    }
}

const fn row(workload: &'static str, cells: &'static [Cell]) -> Row {
    Row {
        workload,
        role: Role::Worker,
        place: Place::Tmpfs,
        kernels: ALL,
        cause: "",
        cells,
        crypto: 0,
        pages_per_fault: 0,
    }
}

const fn peer(workload: &'static str, cells: &'static [Cell]) -> Row {
    Row { role: Role::Peer, ..row(workload, cells) }
}

const fn on_cold(workload: &'static str, cells: &'static [Cell]) -> Row {
    Row { place: Place::Ext4Cold, ..row(workload, cells) }
}

const fn across(workload: &'static str, cells: &'static [Cell]) -> Row {
    Row { place: Place::Across, ..row(workload, cells) }
}

const fn on_ext4(workload: &'static str, cells: &'static [Cell]) -> Row {
    Row { place: Place::Ext4, ..row(workload, cells) }
}

impl Row {
    const fn only(self, kernels: &'static [&'static str], cause: &'static str) -> Row {
        Row { kernels, cause, ..self }
    }

    const fn faulting(self, pages_per_fault: u64) -> Row {
        Row { pages_per_fault, ..self }
    }

    const fn encrypted(self) -> Row {
        Row { crypto: 1, ..self }
    }
}

const READ_WRITE: &[Cell] = &[to_user("read"), from_user("write")];
const MMAP_WRITE: &[Cell] = &[from_user("write")];
const READ_SEND: &[Cell] = &[to_user("read"), from_user("send")];
const READER: &[Cell] = &[to_user("read")];
const NOTHING: &[Cell] = &[];
const SENDFILE_COPIES: &[Cell] = &[in_kernel("sendfile", 1)];
const SENDFILE_MOVES: &[Cell] = &[moved("sendfile", 1)];
/// Into the pipe by reference, out of it by a copy.
const SPLICE_COPIES: &[Cell] = &[in_kernel("splice", 1).and_moved(Amount::Times(1))];
/// By reference twice.
const SPLICE_MOVES: &[Cell] = &[moved("splice", 2)];
const VMSPLICE_MOVES: &[Cell] = &[moved("vmsplice", 1), moved("splice", 1)];
const RANGE_COPIES: &[Cell] = &[in_kernel("copy_file_range", 1)];
const URING_BOTH: &[Cell] = &[Cell { to_user: 1, from_user: 1, ..cell("io_uring") }];
/// The receiver's first hop may copy the linear part of each skb, unseen.
const SPLICING_READER: &[Cell] = &[in_kernel("splice", 1).and_moved(Amount::Any)];
const COPIED_AFTER_ALL: Cell = Cell { in_kernel: Amount::AtLeast(1), ..cell("softirq") };
const DECRYPTING_READER: &[Cell] = &[Cell { in_kernel: Amount::Any, ..to_user("read") }];

pub const ROWS: &[Row] = &[
    // File to file, page cache.
    row("rw_file", READ_WRITE),
    row("readv_writev_file", READ_WRITE),
    row("pread_pwrite_file", READ_WRITE),
    row("preadv2_pwritev2_file", READ_WRITE),
    row("mmap_write_file", MMAP_WRITE),
    row("mmap_mmap_file", NOTHING),
    row("sendfile_file", SENDFILE_COPIES),
    row("splice_file", SPLICE_COPIES),
    row("vmsplice_file", &[moved("vmsplice", 1), in_kernel("splice", 1)]),
    row("vmsplice_gift_file", &[moved("vmsplice", 1), in_kernel("splice", 1)]),
    row("copy_file_range", RANGE_COPIES),
    // Where it is not refused: see the matrix's `mechanisms`.
    across("copy_file_range", RANGE_COPIES),
    row("uring_rw_file", URING_BOTH),
    row("uring_fixed_file", URING_BOTH),
    row("uring_sqpoll_file", URING_BOTH),
    row("uring_splice_file", &[in_kernel("io_uring", 1).and_moved(Amount::Any)]),
    on_ext4("rw_file", READ_WRITE),
    on_ext4("readv_writev_file", READ_WRITE),
    on_ext4("mmap_write_file", MMAP_WRITE),
    on_ext4("sendfile_file", SENDFILE_COPIES),
    on_ext4("splice_file", SPLICE_COPIES),
    on_ext4("copy_file_range", RANGE_COPIES),
    on_ext4("uring_rw_file", URING_BOTH),
    on_ext4("uring_fixed_file", URING_BOTH),
    on_ext4("odirect_rw", NOTHING),
    // Refused: called, and nothing moved.
    on_ext4("odirect_misaligned", NOTHING),
    on_ext4("rw_tcp", READ_WRITE),
    on_ext4("sendfile_tcp", SENDFILE_MOVES),
    // What is not cached comes from the device; what the CPU copies is the same.
    on_cold("rw_tcp", READ_WRITE),
    on_cold("map_write_tcp", MMAP_WRITE),
    on_cold("sendfile_tcp", SENDFILE_MOVES),
    on_cold("splice_tcp", SPLICE_MOVES),
    on_cold("sendfile_file", SENDFILE_COPIES),
    // File to TCP over loopback.
    row("rw_tcp", READ_WRITE),
    peer("rw_tcp", READER),
    row("readv_writev_tcp", READ_WRITE),
    peer("readv_writev_tcp", READER),
    row("mmap_write_tcp", MMAP_WRITE),
    peer("mmap_write_tcp", READER),
    // The kernel takes these faults while it copies: they are no switches.
    row("map_write_tcp", MMAP_WRITE),
    peer("map_write_tcp", READER),
    // A fault maps the 16 cached pages around it.
    row("map_look_write_tcp", MMAP_WRITE).faulting(16),
    peer("map_look_write_tcp", READER),
    row("sendfile_tcp", SENDFILE_MOVES),
    peer("sendfile_tcp", READER),
    row("splice_tcp", SPLICE_MOVES),
    peer("splice_tcp", READER),
    row("vmsplice_tcp", VMSPLICE_MOVES),
    peer("vmsplice_tcp", READER),
    row("vmsplice_gift_tcp", VMSPLICE_MOVES),
    peer("vmsplice_gift_tcp", READER),
    // Loopback cannot hand user pages to the receiver: the copy that was put
    // off is made in softirq (skb_copy_ubufs), and belongs to the sender.
    // On loopback every packet is copied after all; one that is sent again, or whose headers are pulled
    // meanwhile, is copied again.
    row("zerocopy_tcp", &[moved("send", 1), COPIED_AFTER_ALL]),
    peer("zerocopy_tcp", READER),
    row("send_recv_tcp", READ_SEND),
    peer("send_recv_tcp", &[to_user("recv")]),
    row("sendmsg_recvmsg_tcp", READ_SEND),
    peer("sendmsg_recvmsg_tcp", &[to_user("recv")]),
    row("recv_trunc_tcp", MMAP_WRITE),
    peer("recv_trunc_tcp", &[cell("recv").and_moved(Amount::Any)]),
    row("recv_splice_tcp", MMAP_WRITE),
    peer("recv_splice_tcp", SPLICING_READER),
    row("uring_send_recv_tcp", URING_BOTH),
    peer("uring_send_recv_tcp", &[to_user("io_uring")]),
    row("uring_sendzc_tcp", &[moved("io_uring", 1), COPIED_AFTER_ALL])
        .only(FROM_6_1, "SEND_ZC came with 6.0"),
    peer("uring_sendzc_tcp", READER).only(FROM_6_1, "SEND_ZC came with 6.0"),
    row("uring_sendzc_usage_tcp", &[moved("io_uring", 1), COPIED_AFTER_ALL])
        .only(FROM_6_12, "IORING_SEND_ZC_REPORT_USAGE came with 6.2"),
    peer("uring_sendzc_usage_tcp", READER).only(FROM_6_12, "IORING_SEND_ZC_REPORT_USAGE came with 6.2"),
    // The cipher reads the user's pages: sending copies nothing.
    row("ktls12_write", &[to_user("read"), moved("write", 1)]).encrypted(),
    row("ktls13_write", &[to_user("read"), moved("write", 1)]).encrypted(),
    row("ktls13_sendfile", SENDFILE_MOVES).encrypted(),
    // Records that cross skbs are put together first.
    // No row for the reader of ktls12_write: a TLS 1.2 record that is there when it asks is decrypted right
    // into its buffer (tls_sw_recvmsg, zc), one that is not is decrypted first and copied then.
    peer("ktls13_write", DECRYPTING_READER).encrypted(),
    peer("ktls13_sendfile", DECRYPTING_READER).encrypted(),
    // File to pipe.
    row("rw_pipe", READ_WRITE),
    peer("rw_pipe", READER),
    row("writev_pipe", MMAP_WRITE),
    peer("writev_pipe", READER),
    row("sendfile_pipe", SENDFILE_COPIES)
        .only(ONLY_5_10, "sendfile to a pipe is iter_file_splice_write there: pipe_write copies"),
    row("sendfile_pipe", SENDFILE_MOVES).only(FROM_6_1, "splice_file_to_pipe moves pages"),
    peer("sendfile_pipe", READER),
    row("splice_pipe", &[moved("splice", 1)]),
    peer("splice_pipe", READER),
    row("vmsplice_pipe", &[moved("vmsplice", 1)]),
    peer("vmsplice_pipe", READER),
    // Into the pipe; what a pipe loses to /dev/null is neither copied nor moved anywhere.
    row("tee_null", &[moved("splice", 1), moved("tee", 1)]),
    row("vmsplice_to_user", &[moved("splice", 1), to_user("vmsplice")]),
    // File to AF_UNIX.
    row("rw_unix", READ_WRITE),
    peer("rw_unix", READER),
    row("sendfile_unix", SENDFILE_MOVES),
    peer("sendfile_unix", READER),
    row("splice_unix", SPLICE_MOVES),
    peer("splice_unix", READER),
    row("vmsplice_unix", VMSPLICE_MOVES),
    peer("vmsplice_unix", READER),
    row("recv_splice_unix", MMAP_WRITE),
    peer("recv_splice_unix", SPLICING_READER),
    row("send_unix_dgram", READ_SEND),
    peer("send_unix_dgram", &[to_user("recv")]),
    // UDP over loopback.
    row("send_udp", READ_SEND),
    peer("send_udp", &[to_user("recv")]),
    row("sendmmsg_udp", &[from_user("send")]),
    peer("sendmmsg_udp", &[to_user("recv")]),
    // Another process's memory.
    row("process_vm_readv", &[to_user("process_vm")]),
    peer("process_vm_readv", NOTHING),
    row("process_vm_writev", &[from_user("process_vm")]),
    peer("process_vm_writev", NOTHING),
    // Faults.
    row("cow_after_fork", &[in_kernel("mmap_fault", 1)]).faulting(1),
    // By copy_page's call site up to 6.1, by copy_mc_to_kernel from 6.12 on.
    row("private_file_cow", &[in_kernel("mmap_fault", 1)]).faulting(1),
    row("fresh_pages", NOTHING).faulting(1),
    // Devices and generated files.
    row("zero_to_null", &[cell("read"), cell("write")]),
    row("urandom", READER),
    row("sendfile_proc", &[in_kernel("sendfile", 2)]),
    // Calls without payload.
    row("getpid_loop", NOTHING),
    row("compat32_loop", NOTHING),
    row("fstat_loop", NOTHING),
    row("open_loop", NOTHING),
    row("fionread_loop", NOTHING),
    row("ethtool_loop", NOTHING),
    row("getsockopt_loop", NOTHING),
    row("setsockopt_loop", NOTHING),
    row("idle", NOTHING),
];

/// The rows of a kernel.
pub fn rows(kernel: &str) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(files::ROWS).filter(move |row| row.kernels.contains(&kernel))
}

/// The row of one process of one run.
pub fn find(kernel: &str, workload: &str, place: Place, role: Role) -> Option<&'static Row> {
    // Who receives does not see where the bytes come from.
    let place = if role == Role::Peer { Place::Tmpfs } else { place };
    rows(kernel).find(|row| row.workload == workload && row.place == place && row.role == role)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::registry;

    #[test]
    fn every_row_names_a_workload_and_is_unique() {
        for row in ROWS {
            assert!(registry::find(row.workload).is_some(), "{} is no workload", row.workload);
        }
        for kernel in KERNELS {
            let mut seen = Vec::new();
            for row in rows(kernel) {
                let key = (row.workload, row.place, row.role);
                assert!(!seen.contains(&key), "{key:?} is there twice for {kernel}");
                seen.push(key);
            }
        }
    }

    #[test]
    fn every_workload_has_a_row_or_a_test_of_its_own() {
        const OWN: [&str; 15] = [
            "pingpong",
            "threads",
            "children",
            "children_waves",
            // devices.rs
            "cold_read",
            "write_sync",
            "rw_nic",
            "sendfile_nic",
            "splice_nic",
            "zerocopy_nic",
            "echo_nic",
            // fuse.rs
            "fuse_direct",
            "fuse_cached",
            "fuse_passthrough",
            "fuse_uring",
        ];
        for entry in registry::ALL {
            let has_row = ROWS.iter().any(|row| row.workload == entry.name)
                || crate::exact::ROWS.iter().any(|row| row.workload == entry.name);
            assert!(has_row || OWN.contains(&entry.name), "{} is tested nowhere", entry.name);
        }
    }

    #[test]
    fn what_differs_between_kernels_says_why() {
        for row in ROWS {
            assert_eq!(row.kernels.len() < KERNELS.len(), !row.cause.is_empty(), "{row:?}");
        }
    }
}
