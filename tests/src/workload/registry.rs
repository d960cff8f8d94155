//! Every workload by name: a plain table.

use anyhow::Result;

use super::job::{Job, Method, Moving};
use super::ktls::Version;
use super::receive::Receiver;
use super::scene::{
    self, compat, descriptors, discards, holes, kernel_files, messages, observed, pages, partial, rings,
    sockets, traced, vectors, vhost, xdp, zerocopy_receive,
};
use super::transport::Transport;
use super::uring::{Uring, Way};
use super::{Mechanism, Options, lacking, memory, methods, misaligned, threads};
use super::{children, cold, control, faults, fuse, pingpong, process_vm, remote, special};

pub struct Entry {
    pub name: &'static str,
    kind: Kind,
}

enum Kind {
    /// File to file.
    File(Method),
    /// File to file, perhaps on another filesystem.
    FileRange,
    /// File to /dev/null.
    Discard(Method),
    /// File to a mapped file.
    MappedFile(Method),
    /// File to a peer that receives.
    Stream(Transport, Receiver, Method),
    RingFile(Way),
    RingStream(Way, Receiver),
    Control(control::Kind),
    Faults(faults::Kind),
    /// As a stream over TCP, by a method that maps the source in the window.
    Mapping(Method),
    ProcessVm {
        write: bool,
    },
    Direct,
    Cold(cold::Kind),
    /// File to a host behind a network device; with MSG_ZEROCOPY or not.
    Remote(bool, Method),
    Echo,
    /// Files of a FUSE file system, opened so.
    Fuse(&'static str),
    Misaligned,
    ZeroToNull,
    Random,
    Generated,
    PingPong,
    Threads,
    Children(children::Flow),
    Idle,
    Scene(scene::Make),
}

use Kind::*;
use Receiver as R;
use Transport::*;

/// In the order in which the tests go through them.
pub const ALL: &[Entry] = &[
    Entry { name: "rw_file", kind: File(methods::read_write) },
    Entry { name: "readv_writev_file", kind: File(methods::readv_writev) },
    Entry { name: "pread_pwrite_file", kind: File(methods::pread_pwrite) },
    Entry { name: "preadv2_pwritev2_file", kind: File(methods::preadv2_pwritev2) },
    Entry { name: "mmap_write_file", kind: File(methods::mmap_write) },
    Entry { name: "mmap_mmap_file", kind: MappedFile(methods::mmap_mmap) },
    Entry { name: "sendfile_file", kind: File(methods::sendfile) },
    Entry { name: "splice_file", kind: File(methods::splice) },
    Entry { name: "vmsplice_file", kind: File(methods::vmsplice_splice) },
    Entry { name: "vmsplice_gift_file", kind: File(methods::vmsplice_gift_splice) },
    Entry { name: "copy_file_range", kind: FileRange },
    Entry { name: "odirect_rw", kind: Direct },
    Entry { name: "odirect_misaligned", kind: Misaligned },
    Entry { name: "uring_rw_file", kind: RingFile(Way::ReadWrite) },
    Entry { name: "uring_fixed_file", kind: RingFile(Way::Fixed) },
    Entry { name: "uring_sqpoll_file", kind: RingFile(Way::Polled) },
    Entry { name: "uring_splice_file", kind: RingFile(Way::Splice) },
    Entry { name: "rw_tcp", kind: Stream(Tcp, R::Read, methods::read_write) },
    Entry { name: "readv_writev_tcp", kind: Stream(Tcp, R::Readv, methods::readv_writev) },
    Entry { name: "mmap_write_tcp", kind: Stream(Tcp, R::Read, methods::mmap_write) },
    Entry { name: "map_write_tcp", kind: Mapping(methods::map_write) },
    Entry { name: "map_look_write_tcp", kind: Mapping(methods::map_look_write) },
    Entry { name: "sendfile_tcp", kind: Stream(Tcp, R::Read, methods::sendfile) },
    Entry { name: "splice_tcp", kind: Stream(Tcp, R::Read, methods::splice) },
    Entry { name: "vmsplice_tcp", kind: Stream(Tcp, R::Read, methods::vmsplice_splice) },
    Entry { name: "vmsplice_gift_tcp", kind: Stream(Tcp, R::Read, methods::vmsplice_gift_splice) },
    Entry { name: "zerocopy_tcp", kind: Stream(TcpZeroCopy, R::Read, methods::zerocopy) },
    Entry { name: "send_recv_tcp", kind: Stream(Tcp, R::Recv, methods::read_send) },
    Entry { name: "sendmsg_recvmsg_tcp", kind: Stream(Tcp, R::Recvmsg, methods::read_sendmsg) },
    Entry { name: "recv_trunc_tcp", kind: Stream(Tcp, R::Truncate, methods::mmap_write) },
    Entry { name: "recv_splice_tcp", kind: Stream(Tcp, R::Splice, methods::mmap_write) },
    Entry { name: "uring_send_recv_tcp", kind: RingStream(Way::Send, R::Uring) },
    Entry { name: "uring_sendzc_tcp", kind: RingStream(Way::SendZeroCopy, R::Read) },
    Entry { name: "uring_sendzc_usage_tcp", kind: RingStream(Way::SendZeroCopyUsage, R::Read) },
    Entry { name: "ktls12_write", kind: Stream(Tls(Version::Tls12), R::Read, methods::read_write) },
    Entry { name: "ktls13_write", kind: Stream(Tls(Version::Tls13), R::Read, methods::read_write) },
    Entry { name: "ktls13_sendfile", kind: Stream(Tls(Version::Tls13), R::Read, methods::sendfile) },
    Entry { name: "rw_pipe", kind: Stream(Pipe, R::Read, methods::read_write) },
    Entry { name: "writev_pipe", kind: Stream(Pipe, R::Readv, methods::mmap_writev) },
    Entry { name: "sendfile_pipe", kind: Stream(Pipe, R::Read, methods::sendfile) },
    Entry { name: "splice_pipe", kind: Stream(Pipe, R::Read, methods::splice_into_pipe) },
    Entry { name: "vmsplice_pipe", kind: Stream(Pipe, R::Read, methods::vmsplice_into_pipe) },
    Entry { name: "tee_null", kind: Discard(methods::tee) },
    Entry { name: "vmsplice_to_user", kind: MappedFile(methods::vmsplice_from_pipe) },
    Entry { name: "rw_unix", kind: Stream(UnixStream, R::Read, methods::read_write) },
    Entry { name: "sendfile_unix", kind: Stream(UnixStream, R::Read, methods::sendfile) },
    Entry { name: "splice_unix", kind: Stream(UnixStream, R::Read, methods::splice) },
    Entry { name: "vmsplice_unix", kind: Stream(UnixStream, R::Read, methods::vmsplice_splice) },
    Entry { name: "recv_splice_unix", kind: Stream(UnixStream, R::Splice, methods::mmap_write) },
    Entry { name: "send_unix_dgram", kind: Stream(UnixDatagram, R::Recv, methods::read_send) },
    Entry { name: "send_udp", kind: Stream(Udp, R::Recv, methods::read_send) },
    Entry { name: "sendmmsg_udp", kind: Stream(Udp, R::Recvmmsg, methods::sendmmsg) },
    Entry { name: "process_vm_readv", kind: ProcessVm { write: false } },
    Entry { name: "process_vm_writev", kind: ProcessVm { write: true } },
    Entry { name: "cow_after_fork", kind: Faults(faults::Kind::AfterFork) },
    Entry { name: "private_file_cow", kind: Faults(faults::Kind::PrivateFile) },
    Entry { name: "fresh_pages", kind: Faults(faults::Kind::Fresh) },
    Entry { name: "zero_to_null", kind: ZeroToNull },
    Entry { name: "urandom", kind: Random },
    Entry { name: "sendfile_proc", kind: Generated },
    Entry { name: "getpid_loop", kind: Control(control::Kind::Getpid) },
    Entry { name: "compat32_loop", kind: Control(control::Kind::Getpid32) },
    Entry { name: "fstat_loop", kind: Control(control::Kind::Fstat) },
    Entry { name: "open_loop", kind: Control(control::Kind::Open) },
    Entry { name: "fionread_loop", kind: Control(control::Kind::Fionread) },
    Entry { name: "ethtool_loop", kind: Control(control::Kind::Ethtool) },
    Entry { name: "getsockopt_loop", kind: Control(control::Kind::Getsockopt) },
    Entry { name: "setsockopt_loop", kind: Control(control::Kind::Setsockopt) },
    Entry { name: "pingpong", kind: PingPong },
    Entry { name: "threads", kind: Threads },
    Entry { name: "children", kind: Children(children::SINGLE) },
    Entry { name: "children_waves", kind: Children(children::WAVES) },
    Entry { name: "cold_read", kind: Cold(cold::Kind::Read) },
    Entry { name: "write_sync", kind: Cold(cold::Kind::Sync) },
    Entry { name: "rw_nic", kind: Remote(false, methods::read_write) },
    Entry { name: "sendfile_nic", kind: Remote(false, methods::sendfile) },
    Entry { name: "splice_nic", kind: Remote(false, methods::splice) },
    Entry { name: "zerocopy_nic", kind: Remote(true, methods::zerocopy) },
    Entry { name: "echo_nic", kind: Echo },
    Entry { name: "fuse_direct", kind: Fuse("direct") },
    Entry { name: "fuse_cached", kind: Fuse("cached") },
    Entry { name: "fuse_passthrough", kind: Fuse("passthrough") },
    Entry { name: "fuse_uring", kind: Fuse("uring") },
    Entry { name: "idle", kind: Idle },
    // What they must show is in exact.rs.
    Entry { name: "ring_enter", kind: Scene(rings::enter) },
    Entry { name: "ring_epoll", kind: Scene(rings::epoll) },
    Entry { name: "ring_spin", kind: Scene(rings::spin) },
    Entry { name: "ring_pipe", kind: Scene(rings::pipe) },
    Entry { name: "ring_futex", kind: Scene(rings::futex) },
    Entry { name: "ring_sleep", kind: Scene(rings::sleep) },
    Entry { name: "ring_sqpoll", kind: Scene(rings::polled) },
    Entry { name: "ring_deferred", kind: Scene(rings::deferred) },
    Entry { name: "ring_multishot", kind: Scene(rings::multishot) },
    Entry { name: "ring_pipe_multishot", kind: Scene(rings::pipe_multishot) },
    Entry { name: "ring_readv", kind: Scene(rings::readv) },
    Entry { name: "writev_udp", kind: Scene(vectors::writev_udp) },
    Entry { name: "sendmsg_pktinfo", kind: Scene(vectors::sendmsg_pktinfo) },
    Entry { name: "sendmsg_vectors", kind: Scene(vectors::sendmsg_vectors) },
    Entry { name: "readv_on_stack", kind: Scene(vectors::readv_on_stack) },
    Entry { name: "mqueue", kind: Scene(messages::posix) },
    Entry { name: "sysv_messages", kind: Scene(messages::system_v) },
    Entry { name: "copy_up", kind: Scene(pages::copy_up) },
    Entry { name: "uffd_copy", kind: Scene(pages::uffd_copy) },
    Entry { name: "socket_options", kind: Scene(sockets::socket_options) },
    Entry { name: "own_memory", kind: Scene(pages::own_memory) },
    Entry { name: "proc_mem", kind: Scene(pages::proc_mem) },
    Entry { name: "ptrace", kind: Scene(traced::ptrace) },
    Entry { name: "read_only", kind: Scene(pages::read_only) },
    Entry { name: "dontcache", kind: Scene(pages::dontcache) },
    Entry { name: "maps_bytewise", kind: Scene(kernel_files::bytewise) },
    Entry { name: "unmapped_tcp", kind: Scene(partial::tcp) },
    Entry { name: "unmapped_unix", kind: Scene(partial::unix_stream) },
    Entry { name: "unmapped_writev", kind: Scene(partial::vectors) },
    Entry { name: "unmapped_recv", kind: Scene(partial::datagrams) },
    Entry { name: "unix_seqpacket", kind: Scene(sockets::unix_seqpacket) },
    Entry { name: "sctp", kind: Scene(sockets::sctp) },
    Entry { name: "mptcp", kind: Scene(sockets::mptcp) },
    Entry { name: "vsock", kind: Scene(sockets::vsock) },
    Entry { name: "tcp6", kind: Scene(sockets::tcp6) },
    Entry { name: "udp6", kind: Scene(sockets::udp6) },
    Entry { name: "netlink", kind: Scene(sockets::netlink) },
    Entry { name: "packet", kind: Scene(sockets::packet) },
    Entry { name: "xdp_copy", kind: Scene(xdp::sends) },
    Entry { name: "tap", kind: Scene(sockets::tap) },
    Entry { name: "compat_moves", kind: Scene(compat::moves) },
    Entry { name: "compat_socketcall", kind: Scene(compat::socketcall) },
    Entry { name: "eventfd", kind: Scene(descriptors::eventfd) },
    Entry { name: "timerfd", kind: Scene(descriptors::timerfd) },
    Entry { name: "signalfd", kind: Scene(descriptors::signalfd) },
    Entry { name: "inotify", kind: Scene(descriptors::inotify) },
    Entry { name: "inotify_names", kind: Scene(descriptors::inotify_names) },
    Entry { name: "fanotify", kind: Scene(descriptors::fanotify) },
    Entry { name: "userfaultfd", kind: Scene(descriptors::userfaultfd) },
    Entry { name: "input", kind: Scene(descriptors::input) },
    Entry { name: "zero_null_vectored", kind: Scene(discards::vectored) },
    Entry { name: "null_sendfile", kind: Scene(discards::sendfile) },
    Entry { name: "zeroes", kind: Scene(discards::zeroes) },
    Entry { name: "null_pipe", kind: Scene(discards::pipe) },
    Entry { name: "trunc_tcp", kind: Scene(discards::stream) },
    Entry { name: "trunc_udp", kind: Scene(discards::datagrams) },
    Entry { name: "holes", kind: Scene(holes::direct) },
    Entry { name: "holes_dax", kind: Scene(holes::direct) },
    Entry { name: "ring_holes", kind: Scene(holes::ring) },
    Entry { name: "observed_writes", kind: Scene(observed::writes) },
    Entry { name: "vhost", kind: Scene(vhost::sends) },
    Entry { name: "zerocopy_receive", kind: Scene(zerocopy_receive::copied) },
    Entry { name: "zerocopy_receive_pages", kind: Scene(zerocopy_receive::mapped) },
];

pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter().find(|entry| entry.name == name)
}

impl Entry {
    /// Datagrams must fit into the queues of their sockets.
    pub fn adapt(&self, options: &Options) -> Options {
        const DATAGRAM: usize = 32 * 1024;
        let mut options = options.clone();
        if let Stream(UnixDatagram | Udp, ..) = self.kind {
            options.chunk = options.chunk.min(DATAGRAM);
        }
        options
    }

    pub fn make(&self, options: &Options) -> Result<Box<dyn Mechanism>> {
        let moving = |job, method| -> Box<dyn Mechanism> { Box::new(Moving { job, method }) };
        Ok(match self.kind {
            File(method) => moving(Job::to_file(options)?, method),
            FileRange => {
                if options.to.is_some() {
                    let trial = methods::copy_one_byte(&Job::to_file(options)?);
                    lacking("copy_file_range to another filesystem", trial)?;
                }
                moving(Job::to_file(options)?, methods::copy_file_range)
            }
            Discard(method) => moving(Job::to_nothing(options)?, method),
            MappedFile(method) => moving(Job::to_mapped_file(options)?, method),
            Stream(transport, receiver, method) => {
                moving(Job::to_peer(options, transport, receiver)?, method)
            }
            RingFile(way) => Box::new(Uring::new(Job::to_file(options)?, way)?),
            RingStream(way, receiver) => Box::new(Uring::new(Job::to_peer(options, Tcp, receiver)?, way)?),
            Mapping(method) => {
                let job = Job::to_peer(options, Tcp, R::Read)?;
                memory::lock_present();
                moving(job, method)
            }
            Control(kind) => Box::new(control::Control::new(options, kind)?),
            Faults(kind) => Box::new(faults::Faults::new(options, kind)?),
            ProcessVm { write } => Box::new(process_vm::ProcessVm::new(options, write)?),
            Direct => Box::new(special::Direct::new(options)?),
            Cold(kind) => Box::new(cold::Cold::new(options, kind)?),
            Remote(zero_copy, method) => Box::new(remote::Remote::new(options, zero_copy, method)?),
            Echo => Box::new(remote::Echo::new(options)?),
            Misaligned => Box::new(misaligned::Misaligned::new(options)?),
            ZeroToNull => Box::new(special::Devices::zero_to_null(options)?),
            Random => Box::new(special::Devices::random(options)?),
            Generated => Box::new(special::Generated::new(options)?),
            PingPong => Box::new(pingpong::PingPong::new()?),
            Threads => Box::new(threads::Threads::new(options)?),
            Children(flow) => Box::new(children::Children::new(options, flow)?),
            Fuse(mode) => Box::new(fuse::Fuse::new(options, mode)?),
            Idle => Box::new(special::Idle),
            Scene(make) => Box::new(make(options)?),
        })
    }
}
