//! Frames that vhost-net sends for a program, as it does for a virtual machine.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering, fence};

use anyhow::{Result, ensure};

use super::super::memory::Mapping;
use super::super::{Options, lacking};
use super::sockets::{open_tap, quiet_and_up};
use super::{Scene, checked, descriptor, load_module, write_once};

pub const FRAMES: usize = 1000;
pub const FRAME: usize = 1510;
/// Frames for which the worker is woken once.
const BATCH: usize = 125;
pub const KICKS: usize = FRAMES / BATCH;
/// Descriptors of the ring.
const RING: usize = 256;
/// `struct virtio_net_hdr`, which the worker steps over.
const HEADER: usize = 10;

// Where things are in the memory that is shared with the worker.
const AVAILABLE: usize = 4096;
const USED: usize = 8192;
const BUFFER: usize = 16384;
const MEMORY: usize = 32768;

/// `VHOST_NET_F_VIRTIO_NET_HDR`: the header is not for the tap device.
const FEATURES: u64 = 1 << 27;
/// The queue that sends.
const SENDING: u32 = 1;

// include/uapi/linux/vhost.h
const SET_FEATURES: libc::c_ulong = 0x4008_af00;
const SET_OWNER: libc::c_ulong = 0xaf01;
const SET_MEM_TABLE: libc::c_ulong = 0x4008_af03;
const SET_VRING_NUM: libc::c_ulong = 0x4008_af10;
const SET_VRING_ADDR: libc::c_ulong = 0x4028_af11;
const SET_VRING_BASE: libc::c_ulong = 0x4008_af12;
const SET_VRING_KICK: libc::c_ulong = 0x4008_af20;
const NET_SET_BACKEND: libc::c_ulong = 0x4008_af30;

struct Vhost {
    device: File,
    tap: File,
    kick: OwnedFd,
    memory: Mapping,
    sent: u16,
}

/// Each window sends all frames.
pub fn sends(_: &Options) -> Result<Scene> {
    load_module("tun");
    load_module("vhost_net");
    let mut vhost = Vhost::new()?;
    Scene::new(move || (0..KICKS).try_for_each(|_| vhost.send_batch()))
}

impl Vhost {
    fn new() -> Result<Self> {
        let device =
            lacking("/dev/vhost-net", File::options().read(true).write(true).open("/dev/vhost-net"))?;
        let name = format!("vh{}", std::process::id());
        let tap = open_tap(&name)?;
        quiet_and_up(&name)?;
        // SAFETY: takes no memory of ours.
        let kick = descriptor("eventfd", unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })?;
        let mut memory = Mapping::anonymous(MEMORY)?;
        describe(&mut memory);
        let vhost = Vhost { device, tap, kick, memory, sent: 0 };
        vhost.set_up()?;
        Ok(vhost)
    }

    fn set_up(&self) -> Result<()> {
        let base = self.memory.bytes().as_ptr() as u64;
        let file = |fd: &dyn AsRawFd| [SENDING, fd.as_raw_fd() as u32];
        self.ask("SET_OWNER", SET_OWNER, &())?;
        self.ask("SET_FEATURES", SET_FEATURES, &FEATURES)?;
        // One region (struct vhost_memory), whose addresses are the process's own.
        self.ask("SET_MEM_TABLE", SET_MEM_TABLE, &[1u64, base, MEMORY as u64, base, 0])?;
        self.ask("SET_VRING_NUM", SET_VRING_NUM, &[SENDING, RING as u32])?;
        self.ask("SET_VRING_BASE", SET_VRING_BASE, &[SENDING, 0])?;
        let (used, available) = (base + USED as u64, base + AVAILABLE as u64);
        self.ask("SET_VRING_ADDR", SET_VRING_ADDR, &[SENDING as u64, base, used, available, 0])?;
        self.ask("SET_VRING_KICK", SET_VRING_KICK, &file(&self.kick))?;
        self.ask("NET_SET_BACKEND", NET_SET_BACKEND, &file(&self.tap))
    }

    fn ask<T>(&self, what: &str, request: libc::c_ulong, argument: &T) -> Result<()> {
        // SAFETY: the kernel reads as much as the request says, which is the argument.
        let ret = unsafe { libc::ioctl(self.device.as_raw_fd(), request, argument as *const T) };
        checked(what, ret as isize).map(drop)
    }

    /// Gives the worker one batch, and waits until it has sent it.
    fn send_batch(&mut self) -> Result<()> {
        for frame in 0..BATCH as u16 {
            let place = (self.sent.wrapping_add(frame)) as usize % RING;
            self.word(AVAILABLE + 4 + 2 * place).store(place as u16, Ordering::Relaxed);
        }
        self.sent = self.sent.wrapping_add(BATCH as u16);
        self.word(AVAILABLE + 2).store(self.sent, Ordering::Release);
        fence(Ordering::SeqCst);
        write_once(&self.kick, &1u64.to_ne_bytes())?;
        let deadline = std::time::Instant::now() + crate::harness::LIMIT;
        while self.word(USED + 2).load(Ordering::Acquire) != self.sent {
            ensure!(std::time::Instant::now() < deadline, "the worker sends nothing");
            std::thread::yield_now();
        }
        Ok(())
    }

    /// A word that the worker may write at any time.
    fn word(&self, at: usize) -> &AtomicU16 {
        // SAFETY: inside the mapping, aligned, and changed by nobody but through such words.
        unsafe { &*self.memory.bytes().as_ptr().add(at).cast::<AtomicU16>() }
    }
}

/// Fills the ring's descriptors: each is the one buffer, a header and a frame for everybody.
fn describe(memory: &mut Mapping) {
    let base = memory.bytes().as_ptr() as u64;
    let bytes = memory.bytes_mut();
    for descriptor in bytes[..16 * RING].chunks_exact_mut(16) {
        // struct vring_desc: address, length, flags, next.
        descriptor[..8].copy_from_slice(&(base + BUFFER as u64).to_ne_bytes());
        descriptor[8..12].copy_from_slice(&((HEADER + FRAME) as u32).to_ne_bytes());
    }
    // An Ethernet header of an experimental type, to everybody.
    let frame = &mut bytes[BUFFER + HEADER..][..FRAME];
    frame.fill(0xff);
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
}
