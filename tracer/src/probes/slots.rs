//! Slots come and go with processes.

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use tracer_ebpf::abi;

use super::Kernel;

impl Kernel {
    /// Slots of processes that have ended since the last call.
    pub fn ended_slots(&mut self) -> Vec<u32> {
        let mut slots = Vec::new();
        while let Some(record) = self.ended.next() {
            slots.extend(record.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)));
        }
        slots
    }

    /// Counts one loss of userspace's own making.
    pub fn lose(&self, reason: abi::Loss) {
        let count = self.losses.get(reason as usize).unwrap_or(0);
        self.losses.set(reason as usize, count + 1);
    }

    /// A descriptor that becomes readable when [`Kernel::ended_slots`] has something to tell.
    pub fn ended_fd(&self) -> Result<OwnedFd> {
        self.ended.as_fd().try_clone_to_owned().context("cannot duplicate a descriptor")
    }

    /// Gives slots back whose last word was taken. Nobody may write to them any more.
    pub fn free(&mut self, slots: &[u32]) -> Result<()> {
        for &slot in slots {
            for shard in 0..self.sizes.shards {
                self.ledgers.set((slot * self.sizes.shards + shard) as usize, abi::Ledger::ZERO);
            }
            for shard in 0..self.sizes.copy_sizes_shards {
                if let Some(sizes) = &self.copy_sizes {
                    sizes.set((slot * self.sizes.copy_sizes_shards + shard) as usize, abi::CopySizes::ZERO);
                }
            }
            let generation = self.processes.get(slot as usize).map_or(0, |process| process.generation);
            self.processes.set(slot as usize, abi::Process { generation, ..abi::Process::default() });
        }
        let mut free = self.free_slots()?;
        slots.iter().try_for_each(|slot| free.push(slot, 0)).context("cannot give slots back")
    }
}

/// Room for one record per slot: a header of 8 bytes and 4 bytes, rounded up. A power of two of pages.
pub(super) fn ring_bytes(processes: u32) -> u32 {
    (processes * 16).next_power_of_two().max(4096)
}
