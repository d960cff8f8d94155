//! Work that outlives this process: a child that closes descriptors.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Leaves the closing of BPF objects to a child: it holds those that are open now, begins to close them when what
/// is returned is dropped, and ends; until then it holds `turn` as well. Who closes their own copies first waits
/// for nothing. `None` if there can be no child.
pub fn leave_closing(turn: Option<&File>) -> Option<io::PipeWriter> {
    let (reader, writer) = io::pipe().ok()?;
    let kept: Vec<i32> = turn.map(AsRawFd::as_raw_fd).into_iter().chain([reader.as_raw_fd()]).collect();
    let (objects, others) = descriptors();
    let others: Vec<i32> = others.into_iter().filter(|other| !kept.contains(other)).collect();
    // SAFETY: the child of a process with threads calls nothing but functions that are safe there, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above. A child of the child is nobody's to wait for.
        unsafe {
            if libc::fork() == 0 {
                libc::setsid();
                libc::chdir(c"/".as_ptr());
                libc::prctl(libc::PR_SET_NAME, c"tracer-detach".as_ptr());
                libc::close(writer.as_raw_fd());
                others.iter().for_each(|descriptor| _ = libc::close(*descriptor));
                let mut end = [0u8; 1];
                // Returns when the last writer is gone, which is this process's parent's parent.
                libc::read(reader.as_raw_fd(), end.as_mut_ptr().cast(), 1);
                objects.iter().for_each(|descriptor| _ = libc::close(*descriptor));
            }
            libc::_exit(0)
        }
    }
    if child < 0 {
        return None;
    }
    // SAFETY: a child of this process, which ends at once; no status is written.
    while unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    Some(writer)
}

/// Open descriptors: those of BPF objects and their like, whose inodes have no type, and those of files, pipes and
/// sockets.
fn descriptors() -> (Vec<i32>, Vec<i32>) {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return (Vec::new(), vec![0, 1, 2]) };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.collect::<Vec<i32>>().into_iter().partition(|descriptor| {
        // SAFETY: all zeros are a valid `stat`, and the kernel writes one.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            libc::fstat(*descriptor, &raw mut stat) == 0 && stat.st_mode & libc::S_IFMT == 0
        }
    })
}
