//! Calls that move no payload, a thousand of each: what they copy are structs
//! and names, which must never appear as payload.

use std::ffi::CString;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, ensure};

use super::counts::{Call, book};
use super::{Mechanism, Options, lacking, scratch};

pub const TURNS: usize = 1000;

/// What is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No copy at all: pure mode switches.
    Getpid,
    /// The same through `int 0x80`, the 32-bit entry.
    Getpid32,
    /// A struct of constant size to user.
    Fstat,
    /// A path from user.
    Open,
    /// One int to user, without any copy routine.
    Fionread,
    /// ETHTOOL_GSTRINGS of `lo`: a copy to user whose size is a variable.
    Ethtool,
    /// TCP_INFO, truncated to [`TCP_INFO_BYTES`].
    Getsockopt,
    /// SO_ATTACH_FILTER with [`FILTER`].
    Setsockopt,
}

pub const TCP_INFO_BYTES: usize = 104;
/// Four instructions of 8 bytes: accept everything.
pub const FILTER: [libc::sock_filter; 4] = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0xffff }; 4];

pub struct Control {
    kind: Kind,
    fd: OwnedFd,
    path: CString,
    strings: Strings,
    turns: u64,
}

impl Control {
    pub fn new(options: &Options, kind: Kind) -> Result<Self> {
        let fd: OwnedFd = match kind {
            Kind::Ethtool | Kind::Fionread | Kind::Setsockopt => {
                UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.into()
            }
            Kind::Getsockopt => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.into(),
            _ => scratch::nameless(&options.dir, 0)?.into(),
        };
        let path = CString::new(options.dir.as_os_str().as_bytes())?;
        let mut control = Control { kind, fd, path, strings: Strings::default(), turns: 0 };
        if kind == Kind::Ethtool {
            control.strings = lacking("ETHTOOL_GSTRINGS of lo", Strings::ask(control.fd.as_raw_fd()))?;
        }
        lacking("the call of this loop", control.turn())?;
        Ok(control)
    }

    fn turn(&mut self) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        match self.kind {
            // SAFETY: takes no memory; the raw call, since libc may cache.
            Kind::Getpid => book(Call::Getpid, unsafe { libc::syscall(libc::SYS_getpid) } as isize),
            Kind::Getpid32 => book(Call::Getpid, getpid32()),
            Kind::Fstat => fstat(fd),
            Kind::Open => return open_and_close(&self.path),
            Kind::Fionread => fionread(fd),
            Kind::Ethtool => self.strings.get(fd),
            Kind::Getsockopt => tcp_info(fd),
            Kind::Setsockopt => attach_filter(fd),
        }
        .map(drop)
    }
}

impl Mechanism for Control {
    fn window(&mut self) -> Result<()> {
        for _ in 0..TURNS {
            self.turn()?;
            self.turns += 1;
        }
        Ok(())
    }

    fn verify(&mut self, windows: u64) -> Result<()> {
        ensure!(self.turns == windows * TURNS as u64, "only {} turns", self.turns);
        Ok(())
    }

    fn visible_control(&self) -> (u64, u64) {
        match self.kind {
            Kind::Ethtool => (self.turns * (self.strings.bytes() + ifreq_copied_back()) as u64, 0),
            Kind::Getsockopt => (self.turns * TCP_INFO_BYTES as u64, 0),
            Kind::Setsockopt => (0, self.turns * size_of_val(&FILTER) as u64),
            _ => (0, 0),
        }
    }
}

/// `put_user_ifreq()` (5.15, net/socket.c) copies the request back with a size that depends on the caller's
/// ABI; before, the size was a constant, which no probe sees.
fn ifreq_copied_back() -> usize {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 15) { size_of::<libc::ifreq>() } else { 0 }
}

#[cfg(target_arch = "x86_64")]
fn getpid32() -> isize {
    let result: i64;
    // SAFETY: the 32-bit getpid(2) takes no arguments; the entry clears r8-r11.
    unsafe {
        std::arch::asm!(
            "int 0x80", inlateout("rax") 20i64 => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result as i32 as isize
}

#[cfg(not(target_arch = "x86_64"))]
fn getpid32() -> isize {
    -1
}

fn fstat(fd: i32) -> io::Result<usize> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: room for one struct stat. The raw call: libc may use another.
    let ret = unsafe { libc::syscall(libc::SYS_fstat, fd, stat.as_mut_ptr()) };
    book(Call::Fstat, ret as isize)
}

fn open_and_close(path: &CString) -> io::Result<()> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_DIRECTORY;
    // SAFETY: a terminated string; the descriptor is closed right away.
    unsafe {
        let fd = libc::openat(libc::AT_FDCWD, path.as_ptr(), flags);
        book(Call::Open, fd as isize)?;
        book(Call::Close, libc::close(fd) as isize).map(drop)
    }
}

fn fionread(fd: i32) -> io::Result<usize> {
    let mut ready: i32 = 0;
    // SAFETY: room for the one int.
    let ret = unsafe { libc::ioctl(fd, libc::FIONREAD, &mut ready) };
    book(Call::Ioctl, ret as isize)
}

fn tcp_info(fd: i32) -> io::Result<usize> {
    let mut info = [0u8; TCP_INFO_BYTES];
    let mut size = TCP_INFO_BYTES as u32;
    let at = info.as_mut_ptr().cast();
    // SAFETY: room for `size` bytes.
    let ret = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, at, &mut size) };
    book(Call::Getsockopt, ret as isize)
}

fn attach_filter(fd: i32) -> io::Result<usize> {
    let mut filter = FILTER;
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let (at, size) = ((&raw const program).cast(), size_of::<libc::sock_fprog>() as u32);
    // SAFETY: program and instructions live through the call.
    let ret = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, at, size) };
    book(Call::Setsockopt, ret as isize)
}

/// The names of the features of `lo`, as ETHTOOL_GSTRINGS gives them.
#[derive(Default)]
struct Strings {
    /// ethtool_gstrings and its data.
    words: Vec<u32>,
}

impl Strings {
    const GSTRINGS: u32 = 0x1b;
    const FEATURES: u32 = 4;
    const NAME_BYTES: usize = 32;

    fn ask(fd: i32) -> io::Result<Self> {
        let mut strings = Strings { words: vec![0; 3 + 256 * Self::NAME_BYTES / 4] };
        strings.get(fd)?;
        Ok(strings)
    }

    fn get(&mut self, fd: i32) -> io::Result<usize> {
        self.words[..2].copy_from_slice(&[Self::GSTRINGS, Self::FEATURES]);
        // SAFETY: all zeroes is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = self.words.as_mut_ptr().cast();
        // SAFETY: the data has room for 256 names; the kernel has under 80.
        let ret = unsafe { libc::ioctl(fd, libc::SIOCETHTOOL as _, &mut request) };
        book(Call::Ioctl, ret as isize)
    }

    fn bytes(&self) -> usize {
        self.words.get(2).map_or(0, |count| *count as usize * Self::NAME_BYTES)
    }
}
