//! Message queues, of POSIX and of System V.

use std::ffi::CString;
use std::io;

use anyhow::{Result, ensure};

use super::super::{Options, Skip};
use super::{Scene, checked};

pub const MESSAGE: usize = 8192;
pub const MESSAGES: usize = 64;

/// A queue that is gone with its descriptor.
struct Queue(libc::mqd_t);

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: ours, and used nowhere else.
        unsafe { libc::mq_close(self.0) };
    }
}

pub fn posix(_: &Options) -> Result<Scene> {
    let name = CString::new(format!("/scene-{}", std::process::id()))?;
    // SAFETY: all zeroes is a valid mq_attr.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    (attributes.mq_maxmsg, attributes.mq_msgsize) = (2, MESSAGE as i64);
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
    // SAFETY: a terminated name; the attributes live through the call.
    let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, &raw mut attributes) };
    if queue < 0 {
        return Err(Skip(format!("POSIX message queues: {}", io::Error::last_os_error())).into());
    }
    let queue = Queue(queue);
    // SAFETY: a terminated name.
    unsafe { libc::mq_unlink(name.as_ptr()) };
    let data = vec![0xa5u8; MESSAGE];
    let mut buffer = vec![0u8; MESSAGE];
    Scene::new(move || {
        for _ in 0..MESSAGES {
            let queue = &queue;
            // SAFETY: both buffers are as long as is said; no timeout, no priority.
            unsafe {
                let sent = libc::mq_timedsend(queue.0, data.as_ptr().cast(), MESSAGE, 0, std::ptr::null());
                checked("mq_timedsend", sent as isize)?;
                let at = buffer.as_mut_ptr().cast();
                let (priority, timeout) = (std::ptr::null_mut(), std::ptr::null());
                let got = libc::mq_timedreceive(queue.0, at, MESSAGE, priority, timeout);
                ensure!(checked("mq_timedreceive", got)? == MESSAGE, "a short message");
            }
        }
        Ok(())
    })
}

/// A queue without a name, removed with the process's scene.
struct Identifier(i32);

impl Drop for Identifier {
    fn drop(&mut self) {
        // SAFETY: takes no memory of ours.
        unsafe { libc::msgctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

pub fn system_v(_: &Options) -> Result<Scene> {
    // SAFETY: takes no memory of ours.
    let queue = unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) };
    if queue < 0 {
        return Err(Skip(format!("System V message queues: {}", io::Error::last_os_error())).into());
    }
    let queue = Identifier(queue);
    // Each begins with its type.
    let mut data = vec![1u64; 1 + MESSAGE / 8];
    Scene::new(move || {
        for _ in 0..MESSAGES {
            let queue = &queue;
            let at = data.as_mut_ptr();
            // SAFETY: the message is as long as is said, behind its type.
            unsafe {
                checked("msgsnd", libc::msgsnd(queue.0, at.cast(), MESSAGE, 0) as isize)?;
                let got = libc::msgrcv(queue.0, at.cast(), MESSAGE, 0, 0);
                ensure!(checked("msgrcv", got)? == MESSAGE, "a short message");
            }
        }
        Ok(())
    })
}
