//! Requests and replies of a FUSE daemon by io_uring (Linux 6.14), one ring with an entry for each CPU.
//!
//! include/uapi/linux/fuse.h: header, what each operation is asked with, and `struct fuse_uring_ent_in_out` are in one
//! buffer, `struct fuse_uring_req_header`; what else a request and a reply have is in another.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::{Context, Result, bail, ensure};
use io_uring::types::Fd;
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::fuse_daemon::{MOST, REPLY, REQUEST};
use super::memory::Mapping;
use super::{lacking, sys};

const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;
/// Offsets in the header: of what the operation is asked with, and of the entry's number and its payload's size.
const OPERATION: usize = 128;
const COMMIT_ID: usize = 264;
const PAYLOAD_SIZE: usize = 272;
const HEADER: usize = 288;
/// `len` in `struct io_uring_sqe`: how many buffers `addr` points to. The crate has no name for it.
const SQE_LEN: usize = 24;

/// Has the module speak by io_uring, or says that it does not know how.
pub fn enable() -> Result<()> {
    lacking("FUSE over io_uring", fs::write("/sys/module/fuse/parameters/enable_uring", "Y"))
}

/// The two buffers of a CPU's entry.
struct Slot {
    header: Mapping,
    payload: Mapping,
    /// Of both, for the kernel.
    vectors: [libc::iovec; 2],
}

/// A request that has come, by the slot that it is in.
pub struct Arrived(usize);

pub struct Ring<'a> {
    ring: IoUring<squeue::Entry128, cqueue::Entry>,
    device: BorrowedFd<'a>,
    slots: Vec<Slot>,
}

impl<'a> Ring<'a> {
    /// Registers an entry for each CPU that this machine may have: requests wait until all are there.
    pub fn new(device: BorrowedFd<'a>) -> Result<Self> {
        let slots = (0..possible_cpus()?).map(|_| Slot::new()).collect::<Result<Vec<_>>>()?;
        let ring = IoUring::builder().build(slots.len().next_power_of_two() as u32).context("io_uring")?;
        let mut ring = Ring { ring, device, slots };
        for slot in 0..ring.slots.len() {
            ring.submit(REGISTER, slot)?;
        }
        Ok(ring)
    }

    fn submit(&mut self, command: u32, slot: usize) -> Result<()> {
        let buffers = &self.slots[slot];
        // `struct fuse_uring_cmd_req`: flags, number, queue.
        let mut request = [0; 80];
        request[8..16].copy_from_slice(&buffers.header.bytes()[COMMIT_ID..][..8]);
        request[16..18].copy_from_slice(&(slot as u16).to_ne_bytes());
        let mut entry = opcode::UringCmd80::new(Fd(self.device.as_raw_fd()), command)
            .cmd(request)
            .addr(Some(buffers.vectors.as_ptr() as u64))
            .build()
            .user_data(slot as u64);
        // SAFETY: an entry is `struct io_uring_sqe`, and no shorter.
        unsafe { (&raw mut entry).cast::<u8>().add(SQE_LEN).cast::<u32>().write_unaligned(2) };
        // SAFETY: the buffers live as long as the ring.
        unsafe { self.ring.submission().push(&entry) }.context("a full queue")
    }

    /// Waits for requests; `None`: the file system is unmounted.
    pub fn wait(&mut self) -> Result<Option<Vec<Arrived>>> {
        self.ring.submit_and_wait(1).context("io_uring_enter")?;
        let mut arrived = Vec::new();
        for entry in self.ring.completion() {
            match -entry.result() {
                0 => arrived.push(Arrived(entry.user_data() as usize)),
                libc::ENOTCONN | libc::ECANCELED | libc::ENODEV | libc::ECONNABORTED => return Ok(None),
                error => bail!("FUSE over io_uring: {}", std::io::Error::from_raw_os_error(error)),
            }
        }
        Ok(Some(arrived))
    }

    /// Puts a request together as read(2) of the device would give it. Returns its length.
    pub fn take(&self, arrived: &Arrived, request: &mut [u8]) -> Result<usize> {
        let Slot { header, payload, .. } = &self.slots[arrived.0];
        let (header, word) = (header.bytes(), |at: usize| {
            u32::from_ne_bytes(header.bytes()[at..at + 4].try_into().expect("4 bytes")) as usize
        });
        let (length, rest, begin) = (word(0), word(PAYLOAD_SIZE), REQUEST as usize);
        let operation = length.checked_sub(begin + rest).context("a request longer than it says")?;
        ensure!(operation <= 128, "an operation asked with {operation} bytes");
        request[..begin].copy_from_slice(&header[..begin]);
        request[begin..begin + operation].copy_from_slice(&header[OPERATION..][..operation]);
        request[begin + operation..length].copy_from_slice(&payload.bytes()[..rest]);
        Ok(length)
    }

    /// Gives a reply, as it would be written to the device, and asks for the next request.
    pub fn reply(&mut self, arrived: &Arrived, reply: &[u8]) -> Result<()> {
        let slot = &mut self.slots[arrived.0];
        let (head, body) = reply.split_at(REPLY as usize);
        slot.header.bytes_mut()[..head.len()].copy_from_slice(head);
        slot.header.bytes_mut()[PAYLOAD_SIZE..][..4].copy_from_slice(&(body.len() as u32).to_ne_bytes());
        slot.payload.bytes_mut()[..body.len()].copy_from_slice(body);
        self.submit(COMMIT_AND_FETCH, arrived.0)
    }
}

impl Slot {
    fn new() -> Result<Self> {
        let (mut header, mut payload) = (Mapping::anonymous(HEADER)?, Mapping::anonymous(MOST)?);
        let vectors = [sys::vector(header.bytes_mut()), sys::vector(payload.bytes_mut())];
        Ok(Slot { header, payload, vectors })
    }
}

/// `0-3`, or `0`.
fn possible_cpus() -> Result<usize> {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit(['-', ',']).next().unwrap_or_default();
    Ok(last.parse::<usize>().with_context(|| format!("possible CPUs are {text:?}"))? + 1)
}
