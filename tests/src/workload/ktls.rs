//! TLS in the kernel: AES-128-GCM with a fixed key, the same on both ends.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::Result;

use super::lacking;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Version {
    Tls12 = 0x0303,
    Tls13 = 0x0304,
}

const TCP_ULP: i32 = 31;
const SOL_TLS: i32 = 282;
const TLS_TX: i32 = 1;
const TLS_RX: i32 = 2;
const TLS_CIPHER_AES_GCM_128: u16 = 51;

/// `struct tls12_crypto_info_aes_gcm_128` of linux/tls.h.
#[repr(C)]
struct CryptoInfo {
    version: u16,
    cipher: u16,
    iv: [u8; 8],
    key: [u8; 16],
    salt: [u8; 4],
    record_sequence: [u8; 8],
}

const _: () = assert!(size_of::<CryptoInfo>() == 40);

pub fn enable(version: Version, sender: BorrowedFd, receiver: BorrowedFd) -> Result<()> {
    let info = CryptoInfo {
        version: version as u16,
        cipher: TLS_CIPHER_AES_GCM_128,
        iv: [1; 8],
        key: [2; 16],
        salt: [3; 4],
        record_sequence: [0; 8],
    };
    for (fd, direction) in [(sender, TLS_TX), (receiver, TLS_RX)] {
        let name = b"tls";
        lacking("TCP_ULP tls (is the module `tls` there?)", set(fd, libc::IPPROTO_TCP, TCP_ULP, name))?;
        lacking("kTLS cipher", set(fd, SOL_TLS, direction, &info))?;
    }
    Ok(())
}

fn set<T>(fd: BorrowedFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    let (at, size) = ((value as *const T).cast(), size_of::<T>() as u32);
    // SAFETY: `value` lives through the call and is `size` bytes long.
    let ret = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, at, size) };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
