//! 32-bit system calls, by `int 0x80` and with memory below 4 GiB.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use anyhow::{Result, ensure};

use super::super::scratch::Pipe;
use super::super::{Options, Skip};
use super::Scene;

pub const BLOCK: usize = 4096;
pub const BLOCKS: usize = 16;
pub const MESSAGE: usize = 1000;
pub const MESSAGES: usize = 16;

const READ: u32 = 3;
const WRITE: u32 = 4;
const SOCKETCALL: u32 = 102;
const READV: u32 = 145;
const WRITEV: u32 = 146;
const SENDMSG: u32 = 370;
const RECVMSG: u32 = 372;
/// Calls within socketcall (include/uapi/linux/net.h), and their number of arguments.
const SEND: u32 = 9;
const RECV: u32 = 10;
pub const SOCKETCALL_ARGUMENTS: usize = 4 * 4;

/// One call of the 32-bit table.
///
/// # Safety
///
/// As the call itself, whose pointers must be below 4 GiB.
#[cfg(target_arch = "x86_64")]
unsafe fn call(number: u32, arguments: [u32; 3]) -> Result<usize> {
    let [first, second, third] = arguments.map(u64::from);
    let result: u64;
    // SAFETY: the caller's; rbx, which the compiler keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {first}, rbx", "int 0x80", "xchg {first}, rbx",
            first = inout(reg) first => _,
            inlateout("rax") u64::from(number) => result,
            in("rcx") second, in("rdx") third, in("rsi") 0u64, in("rdi") 0u64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let result = result as i32;
    ensure!(result >= 0, "call {number} of the 32-bit table: {}", io::Error::from_raw_os_error(-result));
    Ok(result as usize)
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn call(_: u32, _: [u32; 3]) -> Result<usize> {
    Err(Skip("no 32-bit calls".into()).into())
}

/// Memory below 4 GiB, never unmapped: words of arguments, then data.
#[derive(Clone, Copy)]
struct Low(*mut u8);

const DATA: usize = 4096;

impl Low {
    fn new() -> Result<Self> {
        let (access, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT | libc::MAP_POPULATE,
        );
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), DATA + BLOCK, access, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            return Err(Skip(format!("memory below 4 GiB: {}", io::Error::last_os_error())).into());
        }
        Ok(Low(at.cast()))
    }

    fn data(self) -> u32 {
        self.0 as u32 + DATA as u32
    }

    /// Writes words at `offset`; their address.
    fn words(self, offset: usize, words: &[u32]) -> u32 {
        assert!(offset.is_multiple_of(4) && offset + size_of_val(words) <= DATA);
        for (index, word) in words.iter().enumerate() {
            // SAFETY: within the mapping's first page, and aligned.
            unsafe { self.0.add(offset).cast::<u32>().add(index).write_volatile(*word) };
        }
        self.0 as u32 + offset as u32
    }
}

/// read, write, readv, writev, sendmsg and recvmsg.
pub fn moves(_: &Options) -> Result<Scene> {
    let (low, pipe) = (Low::new()?, Pipe::new()?);
    let (sender, receiver) = UnixDatagram::pair()?;
    let [reads, writes] = [pipe.read.as_raw_fd(), pipe.write.as_raw_fd()].map(|fd| fd as u32);
    let [sends, receives] = [sender.as_raw_fd(), receiver.as_raw_fd()].map(|fd| fd as u32);
    let half = BLOCK as u32 / 2;
    let halves = low.words(0, &[low.data(), half, low.data() + half, half]);
    let message = low.words(64, &[low.data(), MESSAGE as u32]);
    // struct compat_msghdr: no name, one vector, no control, no flags.
    let header = low.words(128, &[0, 0, message, 1, 0, 0, 0]);
    Scene::new(move || {
        let _open = (&pipe, &sender, &receiver);
        // SAFETY: all memory is that of `low`.
        unsafe {
            for _ in 0..BLOCKS {
                ensure!(call(WRITE, [writes, low.data(), BLOCK as u32])? == BLOCK, "a short write");
                ensure!(call(READ, [reads, low.data(), BLOCK as u32])? == BLOCK, "a short read");
                ensure!(call(WRITEV, [writes, halves, 2])? == BLOCK, "a short write");
                ensure!(call(READV, [reads, halves, 2])? == BLOCK, "a short read");
            }
            for _ in 0..MESSAGES {
                ensure!(call(SENDMSG, [sends, header, 0])? == MESSAGE, "a short message");
                ensure!(call(RECVMSG, [receives, header, 0])? == MESSAGE, "a short message");
            }
        }
        Ok(())
    })
}

/// send and recv by socketcall.
pub fn socketcall(_: &Options) -> Result<Scene> {
    let low = Low::new()?;
    let (sender, receiver) = UnixDatagram::pair()?;
    let [sends, receives] = [sender.as_raw_fd(), receiver.as_raw_fd()].map(|fd| fd as u32);
    let sent = low.words(0, &[sends, low.data(), MESSAGE as u32, 0]);
    let received = low.words(64, &[receives, low.data(), MESSAGE as u32, 0]);
    Scene::new(move || {
        let _open = (&sender, &receiver);
        // SAFETY: all memory is that of `low`.
        unsafe {
            for _ in 0..MESSAGES {
                ensure!(call(SOCKETCALL, [SEND, sent, 0])? == MESSAGE, "a short message");
                ensure!(call(SOCKETCALL, [RECV, received, 0])? == MESSAGE, "a short message");
            }
        }
        Ok(())
    })
}
