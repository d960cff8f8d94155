//! Frames that are sent through an AF_XDP socket in copy mode, over loopback, where nobody takes them.

use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};

use super::super::memory::Mapping;
use super::super::{Options, lacking};
use super::{Scene, checked, descriptor_or_skip};

pub const FRAME: usize = 1024;
pub const FRAMES: usize = 256;
/// Room of a frame.
const CHUNK: usize = 2048;

// include/uapi/linux/if_xdp.h
const MMAP_OFFSETS: i32 = 1;
const TX_RING: i32 = 3;
const UMEM_REG: i32 = 4;
const FILL_RING: i32 = 5;
const COMPLETION_RING: i32 = 6;
const COPY: u16 = 2;
const TX_RING_AT: libc::off_t = 0x8000_0000;
/// `struct xdp_ring_offset` of the rings for receiving, sending, filling and completing: producer, consumer,
/// descriptors, flags.
type Offsets = [[u64; 4]; 4];
const SENDING: usize = 1;
/// For experiments (IEEE 802), so that it is dropped.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// The ring of frames to send: shared with the kernel, as long as the socket is.
struct Ring {
    start: *mut u8,
    offsets: [u64; 4],
}

impl Ring {
    fn of(socket: &OwnedFd) -> Result<Self> {
        let mut offsets: Offsets = [[0; 4]; 4];
        let mut length = size_of::<Offsets>() as libc::socklen_t;
        let at = offsets.as_mut_ptr().cast();
        // SAFETY: the kernel writes no more than `length` bytes there.
        let ret =
            unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, MMAP_OFFSETS, at, &raw mut length) };
        checked("XDP_MMAP_OFFSETS", ret as isize)?;
        let offsets = offsets[SENDING];
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
        let len = offsets[2] as usize + FRAMES * size_of::<[u64; 2]>();
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), len, access, shared, socket.as_raw_fd(), TX_RING_AT) };
        ensure!(start != libc::MAP_FAILED, "mmap of a ring: {}", std::io::Error::last_os_error());
        Ok(Ring { start: start.cast(), offsets })
    }

    fn counter(&self, which: usize) -> &AtomicU32 {
        // SAFETY: within the mapping, aligned, and changed by atomic operations alone.
        unsafe { AtomicU32::from_ptr(self.start.add(self.offsets[which] as usize).cast()) }
    }

    /// All frames, one a descriptor: its address in the memory, then length and options.
    fn fill(&self) {
        for frame in 0..FRAMES {
            // SAFETY: the ring has as many descriptors as there are frames.
            unsafe {
                let descriptor = self.start.add(self.offsets[2] as usize).cast::<[u64; 2]>().add(frame);
                descriptor.write_volatile([(frame * CHUNK) as u64, FRAME as u64]);
            }
        }
        self.counter(0).fetch_add(FRAMES as u32, Ordering::Release);
    }

    fn is_empty(&self) -> bool {
        self.counter(0).load(Ordering::Acquire) == self.counter(1).load(Ordering::Acquire)
    }
}

fn set(socket: &OwnedFd, option: i32, value: &[u64]) -> Result<()> {
    // The sizes of rings are of 4 bytes, and small.
    let length = if value.len() == 1 { size_of::<u32>() } else { size_of_val(value) };
    let at = value.as_ptr().cast();
    // SAFETY: the value is as long as is said.
    let ret = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, at, length as u32) };
    checked("an option of AF_XDP", ret as isize).map(|_| ())
}

fn bind(socket: &OwnedFd) -> std::io::Result<()> {
    // SAFETY: a terminated string.
    let interface = unsafe { libc::if_nametoindex(c"lo".as_ptr()) };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: COPY,
        sxdp_ifindex: interface,
        sxdp_queue_id: 0,
        sxdp_shared_umem_fd: 0,
    };
    let length = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the address is as long as is said.
    let ret = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if ret == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Each is copied from the socket's memory into a packet.
pub fn sends(_: &Options) -> Result<Scene> {
    // SAFETY: takes no memory of ours.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    let socket = descriptor_or_skip("AF_XDP", fd)?;
    let mut memory = Mapping::anonymous(FRAMES * CHUNK)?;
    for frame in memory.bytes_mut().chunks_mut(CHUNK) {
        frame[12..14].copy_from_slice(&ETHERTYPE);
    }
    set(&socket, UMEM_REG, &[memory.bytes().as_ptr() as u64, memory.bytes().len() as u64, CHUNK as u64, 0])?;
    for ring in [FILL_RING, COMPLETION_RING, TX_RING] {
        set(&socket, ring, &[FRAMES as u64])?;
    }
    let ring = Ring::of(&socket)?;
    lacking("AF_XDP in copy mode on loopback", bind(&socket))?;
    Scene::new(move || {
        let _there = &memory;
        ring.fill();
        while !ring.is_empty() {
            // As many as the kernel takes at once.
            // SAFETY: no memory is given.
            let ret = unsafe {
                libc::sendto(socket.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0)
            };
            let again = [Some(libc::EAGAIN), Some(libc::EBUSY), Some(libc::ENOBUFS)];
            ensure!(
                ret >= 0 || again.contains(&std::io::Error::last_os_error().raw_os_error()),
                "sendto: {}",
                std::io::Error::last_os_error()
            );
        }
        Ok(())
    })
}
