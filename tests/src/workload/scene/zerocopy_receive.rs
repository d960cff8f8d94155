//! TCP_ZEROCOPY_RECEIVE: whole pages of packets are mapped, the rest is copied.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Result, ensure};

use super::super::Options;
use super::super::scratch::Pipe;
use super::super::transport::{self, Transport};
use super::{Scene, checked, send_once, write_once};

/// Too little to be mapped: all of it is copied.
pub const MESSAGE: usize = 2048;
pub const MESSAGES: usize = 64;

const TCP_ZEROCOPY_RECEIVE: i32 = 35;

/// `struct tcp_zerocopy_receive`, include/uapi/linux/tcp.h, as of 5.11.
#[repr(C)]
#[derive(Default)]
struct Request {
    address: u64,
    length: u32,
    recv_skip_hint: u32,
    inq: u32,
    err: i32,
    copybuf_address: u64,
    copybuf_len: i32,
    flags: u32,
    msg_control: u64,
    msg_controllen: u64,
    msg_flags: u32,
    reserved: u32,
}

/// Sends itself small messages, and receives them into a copy buffer.
pub fn copied(_: &Options) -> Result<Scene> {
    let ends = transport::connect(Transport::Tcp, MESSAGE)?;
    let data = vec![0xa5u8; MESSAGE];
    let mut buffer = vec![0u8; MESSAGE];
    Scene::new(move || {
        for _ in 0..MESSAGES {
            send_once(&ends.sender, &data)?;
            let mut received = 0;
            while received < MESSAGE {
                let rest = &mut buffer[received..];
                let mut request = Request {
                    copybuf_address: rest.as_mut_ptr() as u64,
                    copybuf_len: rest.len() as i32,
                    ..Request::default()
                };
                receive(&ends.receiver, &mut request)?;
                ensure!(request.length == 0, "{} bytes were mapped", request.length);
                received += request.copybuf_len as usize;
            }
        }
        Ok(())
    })
}

/// What is mapped at once: pages of a pipe, which belong to no file. At the end of a segment of loopback (65,483 bytes),
/// or of the receiver's window, a page is split; this fits into a half of it, from where on it is widened again.
pub const PAGES: usize = 4 * 4096;
pub const TURNS: usize = 60;

/// Gives itself a pipe's pages, which are mapped on the other side.
pub fn mapped(_: &Options) -> Result<Scene> {
    let ends = transport::connect(Transport::Tcp, PAGES)?;
    let pipe = Pipe::new()?;
    let data = vec![0xa5u8; PAGES];
    let view = View::of(&ends.receiver)?;
    Scene::new(move || {
        let view = &view;
        for _ in 0..TURNS {
            write_once(&pipe.write, &data)?;
            let (from, to) = (pipe.read.as_raw_fd(), ends.sender.as_raw_fd());
            let nowhere = std::ptr::null_mut();
            // SAFETY: both are open, and have no offsets.
            let moved = unsafe { libc::splice(from, nowhere, to, nowhere, PAGES, 0) };
            ensure!(checked("splice", moved)? == PAGES, "only {moved} bytes were spliced");
            let mut received = 0;
            while received < PAGES {
                // Whole packets: what has not arrived yet would be left out.
                let mut request =
                    Request { address: view.0 as u64, length: PAGES as u32, ..Request::default() };
                receive(&ends.receiver, &mut request)?;
                let left = request.recv_skip_hint;
                ensure!(request.length > 0 || left == 0, "{left} bytes cannot be mapped");
                received += request.length as usize;
            }
        }
        Ok(())
    })
}

/// Addresses at which a socket's pages may be mapped, read only.
struct View(*mut libc::c_void);

impl View {
    fn of(socket: &OwnedFd) -> Result<Self> {
        let (at, flags) = (std::ptr::null_mut(), libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(at, PAGES, libc::PROT_READ, flags, socket.as_raw_fd(), 0) };
        ensure!(start != libc::MAP_FAILED, "mmap of a socket: {}", io::Error::last_os_error());
        Ok(View(start))
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: ours, and nothing refers to it.
        unsafe { libc::munmap(self.0, PAGES) };
    }
}

fn receive(socket: &OwnedFd, request: &mut Request) -> Result<()> {
    let mut length = size_of::<Request>() as libc::socklen_t;
    // SAFETY: the request lives through the call; its addresses are the view's and the buffer's.
    let ret = unsafe {
        let (level, at) = (libc::IPPROTO_TCP, (request as *mut Request).cast());
        libc::getsockopt(socket.as_raw_fd(), level, TCP_ZEROCOPY_RECEIVE, at, &raw mut length)
    };
    checked("TCP_ZEROCOPY_RECEIVE", ret as isize).map(drop)
}
