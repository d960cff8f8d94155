//! Memory whose faults happen before the window, the pattern that is moved,
//! and its checksum.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

pub const PAGE: usize = 4096;

/// A mapping, unmapped when dropped.
pub struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: the mapping is owned memory like a Box<[u8]>.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Private memory, all pages present and of their own.
    pub fn anonymous(len: usize) -> io::Result<Self> {
        let mut mapping = Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None)?;
        // Written, since a page that was only read is the shared zero page.
        mapping.touch();
        Ok(mapping)
    }

    /// A shared view of a file, all pages present; writable pages dirty.
    pub fn shared(file: BorrowedFd, len: usize) -> io::Result<Self> {
        let mut mapping = Self::map(len, libc::MAP_SHARED, Some(file))?;
        mapping.touch();
        Ok(mapping)
    }

    /// A private view of a file, no page present.
    pub fn private_unread(file: BorrowedFd, len: usize) -> io::Result<Self> {
        Self::lazy(len, libc::MAP_PRIVATE, Some(file))
    }

    /// Private memory, no page present.
    pub fn anonymous_unread(len: usize) -> io::Result<Self> {
        Self::lazy(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None)
    }

    fn lazy(len: usize, flags: i32, file: Option<BorrowedFd>) -> io::Result<Self> {
        let mapping = Self::map(len, flags, file)?;
        // SAFETY: the range is the mapping's own.
        unsafe {
            // mlockall(MCL_FUTURE) of set-up has populated it: take that back.
            libc::munlock(mapping.start.cast(), len);
            libc::madvise(mapping.start.cast(), len, libc::MADV_NOHUGEPAGE);
        }
        mapping.discard()?;
        Ok(mapping)
    }

    fn map(len: usize, flags: i32, file: Option<BorrowedFd>) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let fd = file.map_or(-1, |file| file.as_raw_fd());
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { start: start.cast(), len })
    }

    /// Gives the pages back: the next touch of each is a fault.
    pub fn discard(&self) -> io::Result<()> {
        // SAFETY: the range is the mapping's own.
        let ret = unsafe { libc::madvise(self.start.cast(), self.len, libc::MADV_DONTNEED) };
        if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Writes one byte of each page, leaving its value.
    pub fn touch(&mut self) {
        for page in self.bytes_mut().chunks_mut(PAGE) {
            // SAFETY: a valid byte; volatile, so that it is not optimised away.
            unsafe {
                let byte = page.as_mut_ptr();
                byte.write_volatile(byte.read_volatile());
            }
        }
    }

    /// Writes (without reading before) one byte of each page.
    pub fn mark(&mut self, value: u8) {
        for page in self.bytes_mut().chunks_mut(PAGE) {
            // SAFETY: as in `touch`.
            unsafe { page.as_mut_ptr().write_volatile(value) };
        }
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for `len` bytes as long as self lives.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody borrows it any more.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// What a fault on a page of a cached file maps at most (`fault_around_bytes`, its default).
pub const FAULT_AROUND: usize = 64 * 1024;

/// Addresses kept free for a mapping of the window. They begin where a fault-around window does, so that the
/// number of faults on a mapping there is known.
pub struct Hole(Mapping);

impl Hole {
    pub fn of(len: usize) -> io::Result<Self> {
        Mapping::map(len + FAULT_AROUND, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None).map(Hole)
    }

    pub fn start(&self) -> usize {
        (self.0.start as usize).next_multiple_of(FAULT_AROUND)
    }
}

/// Keeps what is locked, and lets later mappings fault.
pub fn lock_present() {
    // SAFETY: takes no memory of ours.
    unsafe { libc::mlockall(libc::MCL_CURRENT) };
}

/// Pages of a file that are in the page cache. Asks without reading: a read that may not wait (RWF_NOWAIT)
/// begins to read ahead.
pub fn cached_pages(file: BorrowedFd, len: usize) -> io::Result<usize> {
    let mut pages = vec![0u8; len.div_ceil(PAGE)];
    // Locked memory would be read in at once.
    lock_present();
    let mapping = Mapping::map(len, libc::MAP_SHARED, Some(file))?;
    // SAFETY: one byte for each page of the mapping.
    let ret = unsafe { libc::mincore(mapping.start.cast(), len, pages.as_mut_ptr()) };
    let error = io::Error::last_os_error();
    drop(mapping);
    lock_all();
    if ret < 0 { Err(error) } else { Ok(pages.iter().filter(|page| **page & 1 != 0).count()) }
}

/// Locks all memory, present and future: no fault in the window. Without the
/// privilege a fault may be counted, which only the matrix would mind.
pub fn lock_all() {
    grow_stack();
    // SAFETY: takes no memory of ours.
    unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) };
}

/// Makes the stack larger than the window will need it.
#[inline(never)]
fn grow_stack() {
    let mut room = [0u8; 256 * 1024];
    std::hint::black_box(&mut room);
}

/// Byte `offset` of the source: no two pages are equal, and neither are two
/// neighbouring chunks.
pub fn fill(bytes: &mut [u8]) {
    for (index, word) in bytes.chunks_mut(8).enumerate() {
        let value = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
    }
}

/// FNV-1a over 8-byte words (bytes in the tail), carried from chunk to chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checksum {
    hash: u64,
    pending: [u8; 8],
    held: usize,
}

impl Default for Checksum {
    fn default() -> Self {
        Checksum { hash: 0xcbf2_9ce4_8422_2325, pending: [0; 8], held: 0 }
    }
}

impl Checksum {
    pub fn of(bytes: &[u8]) -> u64 {
        let mut sum = Self::default();
        sum.add(bytes);
        sum.value()
    }

    pub fn add(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.held == 0 {
            let words = bytes.chunks_exact(8);
            bytes = words.remainder();
            for word in words {
                self.mix(u64::from_le_bytes(word.try_into().expect("8 bytes")));
            }
        }
        for byte in bytes {
            self.pending[self.held] = *byte;
            self.held += 1;
            if self.held == 8 {
                self.mix(u64::from_le_bytes(self.pending));
                self.held = 0;
            }
        }
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }

    pub fn value(mut self) -> u64 {
        for index in 0..self.held {
            self.mix(u64::from(self.pending[index]));
        }
        self.hash
    }
}
