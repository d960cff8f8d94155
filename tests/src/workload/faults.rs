//! Page faults: fresh memory, and the two kinds of copy-on-write. The system
//! makes no call here; what is counted are faults, N / 4096 of them.

use std::os::fd::AsFd;

use anyhow::{Result, ensure};

use super::counts::{Call, book};
use super::memory::{Mapping, PAGE};
use super::{Mechanism, Options, scratch, signals};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anonymous pages touched for the first time: cleared, not copied.
    Fresh,
    /// Pages shared with a forked child, written by the parent.
    AfterFork,
    /// Pages of a private file mapping, written without being read before.
    PrivateFile,
}

pub struct Faults {
    kind: Kind,
    memory: Mapping,
    /// One more of the kind, for the rehearsal.
    rehearsal: Mapping,
    /// The child that shares the memory.
    child: Option<i32>,
    value: u8,
}

impl Faults {
    pub fn new(options: &Options, kind: Kind) -> Result<Self> {
        let (memory, rehearsal) = match kind {
            Kind::Fresh => (Mapping::anonymous_unread(options.bytes)?, Mapping::anonymous_unread(PAGE)?),
            Kind::AfterFork => (Mapping::anonymous(options.bytes)?, Mapping::anonymous(PAGE)?),
            Kind::PrivateFile => {
                let file = scratch::source(&options.dir, options.bytes)?;
                let memory = Mapping::private_unread(file.as_fd(), options.bytes)?;
                (memory, Mapping::private_unread(file.as_fd(), PAGE)?)
            }
        };
        let mut faults = Faults { kind, memory, rehearsal, child: None, value: 1 };
        if kind == Kind::AfterFork {
            faults.fork()?;
        }
        // Once through the code of the window, with another page: the stack
        // and the statics that it writes are then our own again too.
        faults.rehearsal.mark(1);
        Ok(faults)
    }

    fn fork(&mut self) -> Result<()> {
        let parent = std::process::id();
        // SAFETY: the child calls only prctl, getppid, pause and _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            signals::die_with_parent();
            // SAFETY: as above. The parent may be gone before the prctl.
            unsafe {
                if libc::getppid() as u32 == parent {
                    libc::pause();
                }
                libc::_exit(0);
            }
        }
        book(Call::Fork, child as isize)?;
        self.child = Some(child);
        self.own_again()
    }

    /// Writes to every other page that the child shares (stack, statics, heap), so that only the window's
    /// pages are left to be copied in it.
    fn own_again(&self) -> Result<()> {
        let window = self.memory.bytes().as_ptr_range();
        for line in std::fs::read_to_string("/proc/self/maps")?.lines().filter(|line| line.contains(" rw-p "))
        {
            let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
            let Some((start, end)) = range else { continue };
            let (start, end) = (usize::from_str_radix(start, 16)?, usize::from_str_radix(end, 16)?);
            for page in (start..end).step_by(PAGE).filter(|page| !window.contains(&(*page as *const u8))) {
                let page = page as *mut u8;
                // SAFETY: a writable page of ours; the byte is written back as it was, by the only thread.
                unsafe { page.write_volatile(page.read_volatile()) };
            }
        }
        Ok(())
    }

    fn reap(&mut self) {
        if let Some(child) = self.child.take() {
            // SAFETY: our own child, waited for once.
            unsafe {
                book(Call::Kill, libc::kill(child, libc::SIGKILL) as isize).ok();
                let ended = libc::waitpid(child, std::ptr::null_mut(), 0);
                book(Call::Wait, ended as isize).ok();
            }
        }
    }
}

impl Mechanism for Faults {
    fn rewind(&mut self) -> Result<()> {
        self.value = self.value.wrapping_add(1);
        if self.kind == Kind::AfterFork {
            self.reap();
            return self.fork();
        }
        book(Call::Madvise, 0)?;
        Ok(self.memory.discard()?)
    }

    fn window(&mut self) -> Result<()> {
        self.memory.mark(self.value);
        Ok(())
    }

    fn verify(&mut self, windows: u64) -> Result<()> {
        self.reap();
        let marked = self.memory.bytes().chunks(PAGE).all(|page| page[0] == self.value);
        ensure!(marked || windows == 0, "a page lost its mark");
        Ok(())
    }
}
