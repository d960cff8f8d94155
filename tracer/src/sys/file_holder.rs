//! Files that the kernel closes in a worker of its own, and never in a process: the file table of an io_uring.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use super::check;

const REGISTER_FILES: libc::c_long = 2;
const REGISTER_FILES_UPDATE: libc::c_long = 6;
/// Files of one table: fewer than the smallest usual limit of open files, which bounds it as well.
const TABLE: u32 = 256;

/// `struct io_uring_files_update`, include/uapi/linux/io_uring.h.
#[repr(C)]
struct FilesUpdate {
    offset: u32,
    _pad: u32,
    files: u64,
}

/// Holds further references to files. When the last descriptor of its tables is closed, also by SIGKILL, a kernel
/// worker closes the files that nothing else holds (`io_ring_exit_work`): a process that holds the same files has
/// given up its own references by then, because a table is closed as task work, after all descriptors.
pub struct FileHolder {
    tables: Mutex<Vec<Table>>,
}

struct Table {
    ring: OwnedFd,
    used: u32,
}

impl FileHolder {
    /// # Errors
    /// The kernel has no io_uring, or refuses it (seccomp, `kernel.io_uring_disabled`).
    pub fn new() -> io::Result<Self> {
        Ok(FileHolder { tables: Mutex::new(vec![Table::new()?]) })
    }

    /// Holds the file of this descriptor as well.
    pub fn hold(&self, descriptor: RawFd) -> io::Result<()> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.last().is_none_or(|table| table.used == TABLE) {
            tables.push(Table::new()?);
        }
        let Some(table) = tables.last_mut() else { return Ok(()) };
        table.hold(descriptor)
    }
}

impl Table {
    fn new() -> io::Result<Self> {
        // `struct io_uring_params`: 120 bytes, which the kernel fills in.
        let mut params = [0u64; 15];
        // SAFETY: `params` outlives the call.
        let ring = check(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) })?;
        // SAFETY: a new descriptor that nobody else owns.
        let ring = unsafe { OwnedFd::from_raw_fd(ring as i32) };
        let none = [-1i32; TABLE as usize];
        // SAFETY: the kernel reads as many numbers as it is told.
        check(unsafe {
            let number = ring.as_raw_fd();
            libc::syscall(libc::SYS_io_uring_register, number, REGISTER_FILES, none.as_ptr(), TABLE)
        })?;
        Ok(Table { ring, used: 0 })
    }

    fn hold(&mut self, descriptor: RawFd) -> io::Result<()> {
        let update = FilesUpdate { offset: self.used, _pad: 0, files: &raw const descriptor as u64 };
        // SAFETY: `update` and the number that it points to outlive the call.
        check(unsafe {
            let ring = self.ring.as_raw_fd();
            libc::syscall(libc::SYS_io_uring_register, ring, REGISTER_FILES_UPDATE, &raw const update, 1)
        })?;
        self.used += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Read as _};

    use super::*;

    #[test]
    fn a_file_is_open_as_long_as_its_holder_is() {
        let Ok(holder) = FileHolder::new() else {
            eprintln!("skipped: this kernel refuses io_uring");
            return;
        };
        let (mut reader, writer): (_, PipeWriter) = io::pipe().expect("a pipe");
        holder.hold(writer.as_raw_fd()).expect("held");
        drop(writer);
        let waits = std::thread::spawn(move || reader.read(&mut [0; 1]).expect("readable"));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waits.is_finished(), "the writer was closed although it is held");
        drop(holder);
        assert_eq!(waits.join().expect("no panic"), 0);
    }

    #[test]
    fn more_files_than_one_table_has_are_held() {
        let Ok(holder) = FileHolder::new() else { return };
        let (_reader, writer) = io::pipe().expect("a pipe");
        for _ in 0..=TABLE {
            holder.hold(writer.as_raw_fd()).expect("held");
        }
        assert_eq!(holder.tables.lock().expect("no panic").len(), 2);
    }
}
