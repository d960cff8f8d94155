//! Processes that have ended give their slots back.

use std::os::fd::OwnedFd;

use anyhow::Result;
use tracer_ebpf::abi;

use super::Session;

impl Session {
    /// Takes the last word on processes that have ended, and gives their slots back.
    pub fn reap(&mut self) -> Result<()> {
        let slots = self.retire();
        for &slot in &slots {
            let process = self.kernel.processes.get(slot as usize).unwrap_or_default();
            let process = self.process(slot, &process);
            self.ended.push(process);
        }
        self.free(&slots)
    }

    /// Gives slots back whose last word was taken.
    pub fn free(&mut self, slots: &[u32]) -> Result<()> {
        self.begun.retain(|slot, _| !slots.contains(slot));
        self.kernel.free(slots)
    }

    /// Slots whose processes have ended, and to which nobody writes any more: the last word on each can be read, and the
    /// slot is then to be given back.
    ///
    /// Nothing is lost or counted twice: the entry in `SLOTS` went with the process; the new generation
    /// disowns what still refers to the slot (zero-copy packets on their way); and when the programs that run
    /// now have ended, nobody writes to it any more.
    pub fn retire(&mut self) -> Vec<u32> {
        let mut slots = self.kernel.ended_slots();
        slots.append(&mut self.left_over);
        slots.sort_unstable();
        slots.dedup();
        let processes = &self.kernel.processes;
        slots.retain(|&slot| {
            processes.get(slot as usize).is_some_and(|process| process.tgid != 0 && process.exited != 0)
        });
        if slots.is_empty() {
            return slots;
        }
        for &slot in &slots {
            let process = self.kernel.processes.get(slot as usize).unwrap_or_default();
            let generation = process.generation.wrapping_add(1);
            self.kernel.processes.set(slot as usize, abi::Process { generation, ..process });
        }
        crate::sys::wait_for_programs();
        slots
    }

    /// A descriptor that becomes readable when [`Session::reap`] has something to do.
    pub fn ended_fd(&self) -> Result<OwnedFd> {
        self.kernel.ended_fd()
    }
}
