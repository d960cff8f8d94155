//! What each kernel must show for each scene, in bytes: plain data, computed from what the scene asks for.
//!
//! Beside [`expect`](crate::expect), whose amounts are multiples of one window's bytes and whose calls are known.

use crate::expect::{Fs, KERNELS, Place};
use crate::workload::scene::{
    compat, descriptors, discards, holes, messages, observed, pages, partial, rings, sockets, traced,
    vectors, vhost, xdp, zerocopy_receive,
};

const ALL: &[&str] = &KERNELS;
const UP_TO_6_1: &[&str] = &["5.10", "6.1"];
const FROM_6_1: &[&str] = &["6.1", "6.12", "7.2"];
const FROM_6_12: &[&str] = &["6.12", "7.2"];
const ONLY_7_2: &[&str] = &["7.2"];

/// One path of the scene's process. What a row does not name must be 0.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub path: &'static str,
    pub payload: Payload,
    pub to_user: Bytes,
    pub from_user: Bytes,
    pub in_kernel: u64,
    /// Thrown away, or made of nothing.
    pub discarded: u64,
    /// Moved by reference.
    pub zero_copied: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    Is(u64),
    /// By the workload's own books.
    Booked,
    /// The kernel's matter: not compared.
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    Is(u64),
    /// As much as the payload.
    Payload,
    /// Copies that end at memory that is not mapped: so much is left when what is cut short is taken off.
    CutShort(u64),
    /// The same of copies of which the kernel tells less: at least so much was counted, and it is not less than
    /// what is left when what is cut short is taken off.
    CutShortAtMost(u64),
}

#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub workload: &'static str,
    pub place: Place,
    pub kernels: &'static [&'static str],
    /// Why other kernels differ, or have no such thing.
    pub cause: &'static str,
    pub cells: &'static [Cell],
    /// Bytes of structures to user and from user, where all of them are known.
    pub control: Option<(u64, u64)>,
}

const fn cell(path: &'static str, payload: usize) -> Cell {
    Cell {
        path,
        payload: Payload::Is(payload as u64),
        to_user: Bytes::Is(0),
        from_user: Bytes::Is(0),
        in_kernel: 0,
        discarded: 0,
        zero_copied: 0,
    }
}

/// All of the payload is copied to user.
const fn to_user(path: &'static str, payload: usize) -> Cell {
    Cell { to_user: Bytes::Payload, ..cell(path, payload) }
}

const fn from_user(path: &'static str, payload: usize) -> Cell {
    Cell { from_user: Bytes::Payload, ..cell(path, payload) }
}

/// All of the payload is thrown away, or made of nothing.
const fn discarded(path: &'static str, payload: usize) -> Cell {
    Cell { discarded: payload as u64, ..cell(path, payload) }
}

/// All of the payload is handed on by reference.
const fn by_reference(path: &'static str, payload: usize) -> Cell {
    Cell { zero_copied: payload as u64, ..cell(path, payload) }
}

const fn row(workload: &'static str, cells: &'static [Cell]) -> Row {
    Row { workload, place: Place::Tmpfs, kernels: ALL, cause: "", cells, control: None }
}

impl Row {
    const fn only(self, kernels: &'static [&'static str], cause: &'static str) -> Row {
        Row { kernels, cause, ..self }
    }

    /// The least and the most of copies that end at memory that is not mapped.
    pub fn cut_short(&self) -> (u64, u64) {
        let turns = partial::TURNS as u64;
        let bounds =
            self.cells.iter().flat_map(|cell| [cell.to_user, cell.from_user]).map(|bytes| match bytes {
                Bytes::CutShort(_) => (turns, turns),
                // Into the fragments of a packet some kernels try once more, at the page where it ended.
                Bytes::CutShortAtMost(_) => (turns, 2 * turns),
                Bytes::Is(_) | Bytes::Payload => (0, 0),
            });
        bounds.max().unwrap_or_default()
    }

    const fn control(self, to_user: usize, from_user: usize) -> Row {
        Row { control: Some((to_user as u64, from_user as u64)), ..self }
    }

    const fn on(self, place: Place) -> Row {
        Row { place, ..self }
    }
}

const RECEIVED: usize = rings::CHUNK * rings::TURNS;
const RING: &[Cell] = &[to_user("io_uring", RECEIVED)];
const SENT: usize = sockets::MESSAGE * sockets::MESSAGES;
const EXCHANGED: &[Cell] = &[from_user("send", SENT), to_user("recv", SENT)];
const FRAMES: usize = sockets::FRAME * sockets::FRAMES;
const FORWARDED: u64 = (vhost::FRAME * vhost::FRAMES) as u64;
const MAPPABLE: usize = zerocopy_receive::MESSAGE * zerocopy_receive::MESSAGES;
const MAPPED: usize = zerocopy_receive::PAGES * zerocopy_receive::TURNS;
const TURNS: usize = descriptors::TURNS;
const HOLES: u64 = holes::HALF as u64;
const DROPPED: usize = discards::CHUNK * discards::TURNS;
const SMALL: usize = vectors::SMALL_VECTORS * vectors::SMALL * vectors::DATAGRAMS;
const QUIC: usize = vectors::QUIC * vectors::QUIC_PACKETS;
const VECTORED: usize = vectors::VECTORS * vectors::VECTOR * vectors::MESSAGES;
const SCORES: usize = vectors::SCORE * vectors::SCORES;
const READV: usize = rings::VECTORS * rings::VECTOR * rings::READS;
const BLOCKS: usize = 2 * compat::BLOCK * compat::BLOCKS;
const COMPAT: usize = compat::MESSAGE * compat::MESSAGES;
const QUEUED: usize = messages::MESSAGE * messages::MESSAGES;
const OBSERVED: usize = observed::CHUNK * observed::WRITES;
const UNMAPPED: u64 = (partial::MAPPED * partial::TURNS) as u64;
/// `struct iovec`
const IOVEC: usize = 16;
const IOVECS: &str = "up to 6.1 arrays of vectors are copied by copy_from_user, since then word by word";

pub const ROWS: &[Row] = &[
    // io_uring, the task in different places.
    row("ring_enter", RING).control(0, 0),
    row("ring_epoll", RING).control(0, 0),
    row("ring_spin", RING).control(0, 0),
    row("ring_pipe", &[to_user("io_uring", RECEIVED), to_user("read", rings::TURNS)]).control(0, 0),
    row("ring_futex", RING).control(0, 0),
    row("ring_sleep", RING).control(0, 0),
    row("ring_sqpoll", RING).control(0, 0),
    row("ring_deferred", RING).only(FROM_6_1, "DEFER_TASKRUN came with 6.1").control(0, 0),
    row("ring_multishot", RING).only(FROM_6_1, "multishot receives came with 6.0").control(0, 0),
    row("ring_pipe_multishot", &[to_user("io_uring", rings::PIPE_CHUNK * rings::PIPE_TURNS)])
        .only(FROM_6_12, "READ_MULTISHOT came with 6.7")
        .control(0, 0),
    row("ring_readv", &[to_user("io_uring", READV)])
        .only(UP_TO_6_1, IOVECS)
        .control(0, rings::VECTORS * IOVEC * rings::READS),
    row("ring_readv", &[to_user("io_uring", READV)]).only(FROM_6_12, IOVECS).control(0, 0),
    // Data that looks like an argument block.
    row("writev_udp", &[from_user("write", SMALL), to_user("recv", SMALL)])
        .only(UP_TO_6_1, IOVECS)
        .control(0, vectors::SMALL_VECTORS * IOVEC * vectors::DATAGRAMS),
    row("writev_udp", &[from_user("write", SMALL), to_user("recv", SMALL)])
        .only(FROM_6_12, IOVECS)
        .control(0, 0),
    row("sendmsg_pktinfo", &[from_user("send", QUIC), to_user("recv", QUIC)])
        .only(UP_TO_6_1, IOVECS)
        .control(0, (vectors::PKTINFO + IOVEC) * vectors::QUIC_PACKETS),
    row("sendmsg_pktinfo", &[from_user("send", QUIC), to_user("recv", QUIC)])
        .only(FROM_6_12, IOVECS)
        .control(0, vectors::PKTINFO * vectors::QUIC_PACKETS),
    row("sendmsg_vectors", &[from_user("send", VECTORED), to_user("recv", VECTORED)])
        .only(UP_TO_6_1, IOVECS)
        .control(0, vectors::VECTORS * IOVEC * vectors::MESSAGES),
    row("sendmsg_vectors", &[from_user("send", VECTORED), to_user("recv", VECTORED)])
        .only(FROM_6_12, IOVECS)
        .control(0, 0),
    row("readv_on_stack", &[to_user("read", SCORES)])
        .only(UP_TO_6_1, IOVECS)
        .control(0, 2 * IOVEC * vectors::SCORES),
    row("readv_on_stack", &[to_user("read", SCORES)]).only(FROM_6_12, IOVECS).control(0, 0),
    // Messages.
    row("mqueue", &[from_user("send", QUEUED), to_user("recv", QUEUED)]).control(0, 0),
    row("sysv_messages", &[from_user("send", QUEUED), to_user("recv", QUEUED)]).control(0, 0),
    // What was asked for is not what was copied.
    row("maps_bytewise", &[Cell { payload: Payload::Booked, ..to_user("read", 0) }]),
    // One copy from the lower layer's page cache to the upper's.
    row("copy_up", &[Cell { in_kernel: pages::BYTES as u64, ..cell("other_syscall", 0) }]),
    row("uffd_copy", &[Cell { from_user: Bytes::Is(pages::BYTES as u64), ..cell("ioctl", 0) }]),
    row("own_memory", &[Cell { in_kernel: pages::OWN as u64, ..to_user("read", pages::OWN) }]).control(0, 0),
    // Once more between the other's pages and the kernel's own.
    row(
        "proc_mem",
        &[Cell { in_kernel: REMOTE, ..READ_REMOTE }, Cell { in_kernel: REMOTE, ..WRITTEN_REMOTE }],
    )
    .control(0, 0),
    row(
        "ptrace",
        &[Cell { in_kernel: (2 * traced::WORDS * traced::WORD) as u64, ..cell("other_syscall", 0) }],
    )
    .control(0, 0),
    row("read_only", &[to_user("read", pages::BYTES)]).on(Place::On(Fs::Squashfs)).control(0, 0),
    row("dontcache", &[from_user("write", pages::BYTES), to_user("read", pages::BYTES)])
        .only(ONLY_7_2, "RWF_DONTCACHE came with 6.14")
        .on(Place::Ext4),
    row(
        "unmapped_tcp",
        &[Cell { from_user: Bytes::CutShort(UNMAPPED), ..UNMAPPED_WRITES }, RECEIVED_OF_THEM],
    ),
    // Which fragment of a packet was the last is not told.
    row(
        "unmapped_unix",
        &[Cell { from_user: Bytes::CutShortAtMost(UNMAPPED), ..UNMAPPED_WRITES }, RECEIVED_OF_THEM],
    ),
    // Nor how long the vectors are that follow.
    row(
        "unmapped_writev",
        &[Cell { from_user: Bytes::CutShortAtMost(UNMAPPED), ..UNMAPPED_WRITES }, RECEIVED_OF_THEM],
    ),
    row(
        "unmapped_recv",
        &[
            from_user("send", DATAGRAM * partial::TURNS),
            Cell { to_user: Bytes::CutShort(UNMAPPED), ..cell("recv", 0) },
        ],
    )
    .control(0, 0),
    // Sockets.
    row("unix_seqpacket", EXCHANGED).control(0, 0),
    row("sctp", EXCHANGED).control(0, 0),
    row("mptcp", EXCHANGED).only(FROM_6_1, "Debian's 5.10 is built without MPTCP").control(0, 0),
    row("vsock", EXCHANGED).control(0, 0),
    row("tcp6", EXCHANGED).control(0, 0),
    row("udp6", EXCHANGED).control(0, 0),
    row("netlink", EXCHANGED).control(0, 0),
    row("socket_options", &[])
        .control(size_of::<i32>() * sockets::OPTIONS, 8 * sockets::FILTER * sockets::OPTIONS),
    row("packet", &[from_user("send", FRAMES), to_user("recv", FRAMES)]).control(0, 0),
    // sendto(2) returns 0: what it sends is in memory that both share.
    row("xdp_copy", &[Cell { in_kernel: (xdp::FRAME * xdp::FRAMES) as u64, ..cell("send", 0) }])
        .control(0, 0),
    row(
        "tap",
        &[
            from_user("write", FRAMES),
            to_user("recv", FRAMES),
            from_user("send", FRAMES),
            to_user("read", FRAMES),
        ],
    )
    .control(0, 0),
    row(
        "vhost",
        &[
            from_user("write", descriptors::COUNTER * vhost::KICKS),
            Cell { from_user: Bytes::Is(FORWARDED), ..cell("kernel_thread", 0) },
        ],
    ),
    row("zerocopy_receive", &[from_user("send", MAPPABLE), to_user("recv", MAPPABLE)])
        .only(FROM_6_1, "the copy buffer came with 5.11"),
    row(
        "zerocopy_receive_pages",
        &[from_user("write", MAPPED), by_reference("splice", MAPPED), by_reference("recv", MAPPED)],
    ),
    // 32-bit programs.
    row(
        "compat_moves",
        &[
            from_user("write", BLOCKS),
            to_user("read", BLOCKS),
            from_user("send", COMPAT),
            to_user("recv", COMPAT),
        ],
    )
    .control(0, 0),
    row("compat_socketcall", &[from_user("send", COMPAT), to_user("recv", COMPAT)])
        .control(0, 2 * compat::SOCKETCALL_ARGUMENTS * compat::MESSAGES),
    // Structures of constant size that are the payload.
    row(
        "eventfd",
        &[from_user("write", descriptors::COUNTER * TURNS), to_user("read", descriptors::COUNTER * TURNS)],
    )
    .control(0, 0),
    row("timerfd", &[to_user("read", descriptors::COUNTER * TURNS)]).control(0, 0),
    row("signalfd", &[to_user("read", descriptors::SIGNAL * TURNS)]).control(0, 0),
    row("inotify", &[to_user("read", descriptors::INOTIFY * TURNS)]).control(0, 0),
    row("inotify_names", &[to_user("read", (descriptors::INOTIFY + descriptors::NAME) * TURNS)])
        .control(0, 0),
    row("fanotify", &[to_user("read", descriptors::FANOTIFY * TURNS)]).control(0, 0),
    row("userfaultfd", &[to_user("read", descriptors::FAULT * TURNS)]),
    row(
        "input",
        &[
            from_user("write", 2 * descriptors::EVENT * TURNS),
            to_user("read", 2 * descriptors::EVENT * TURNS),
        ],
    ),
    // Thrown away, or made of nothing.
    row("zero_null_vectored", &[discarded("read", DROPPED), discarded("write", DROPPED)]),
    row("null_sendfile", &[discarded("sendfile", DROPPED)]),
    row("zeroes", &[discarded("read", 2 * DROPPED)]).control(0, 0),
    row("null_pipe", &[from_user("write", DROPPED), discarded("splice", DROPPED)]),
    row("trunc_tcp", &[from_user("send", DROPPED), discarded("recv", DROPPED)]).control(0, 0),
    row("trunc_udp", &[from_user("send", DATAGRAMS), TRUNCATED]).control(0, 0),
    row("holes", &[Cell { discarded: HOLES, ..cell("read", 2 * holes::HALF) }]).on(Place::Ext4).control(0, 0),
    // The row takes what `dax_iomap_rw` returns, zeros with it.
    row("holes_dax", &[to_user("read", 2 * holes::HALF)]).on(Place::On(Fs::Dax)).control(0, 0),
    // Direct I/O through io_uring is payload as far as no device moves it.
    row("ring_holes", &[discarded("io_uring", holes::HALF)]).on(Place::Ext4).control(0, 0),
    // The matrix runs it beside another observer as well (`observer`).
    row("observed_writes", &[from_user("write", OBSERVED)]).control(0, 0),
];

const REMOTE: u64 = pages::BYTES as u64;
const READ_REMOTE: Cell = to_user("read", pages::BYTES);
const WRITTEN_REMOTE: Cell = from_user("write", pages::BYTES);
const DATAGRAMS: usize = discards::DATAGRAM * discards::DATAGRAMS;
/// Of every second datagram.
const CUT: usize = (discards::DATAGRAM - discards::TAKEN) * discards::DATAGRAMS / 2;
const TRUNCATED: Cell =
    Cell { to_user: Bytes::Is((DATAGRAMS - CUT) as u64), discarded: CUT as u64, ..cell("recv", DATAGRAMS) };
/// The socket may have taken some of it, which is then received.
const UNMAPPED_WRITES: Cell = Cell { payload: Payload::Any, ..cell("write", 0) };
const RECEIVED_OF_THEM: Cell = Cell { payload: Payload::Any, ..to_user("recv", 0) };
/// Each is thrown away when its receive fails.
const DATAGRAM: usize = partial::DATAGRAM;

/// The row of a scene on a kernel.
pub fn find(kernel: &str, workload: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.workload == workload && row.kernels.contains(&kernel))
}

/// The scenes, each once.
pub fn workloads() -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for row in ROWS {
        if !names.contains(&row.workload) {
            names.push(row.workload);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::registry;

    #[test]
    fn every_row_names_a_workload_and_is_unique() {
        for row in ROWS {
            assert!(registry::find(row.workload).is_some(), "{} is no workload", row.workload);
            for kernel in row.kernels {
                let same = ROWS.iter().filter(|other| other.workload == row.workload);
                let rows = same.filter(|other| other.kernels.contains(kernel)).count();
                assert_eq!(rows, 1, "rows of {} for {kernel}", row.workload);
            }
        }
    }

    #[test]
    fn what_differs_between_kernels_says_why() {
        for row in ROWS {
            assert_eq!(row.kernels.len() < KERNELS.len(), !row.cause.is_empty(), "{row:?}");
        }
    }
}
