//! Counting every process: nobody is missed at the start, and everybody is read slot by slot.

use anyhow::{Context as _, Result, bail};
use aya::maps::MapError;
use tracer_ebpf::abi::{self, FIRST_PROCESS, Loss};

use super::Session;
use crate::kernel::process;
use crate::model::reading::Reading;
use crate::model::snapshot::Tally;

/// `BPF_NOEXIST`, include/uapi/linux/bpf.h.
const NO_EXIST: u64 = 1;

impl Session {
    /// Enters every process that runs. The fork hook is attached already, so whoever is not in `/proc` yet is
    /// entered by the kernel side; who is entered by both has one slot, by `BPF_NOEXIST`.
    pub(super) fn admit_everyone(&mut self) -> Result<()> {
        if !self.names.is_initial() {
            bail!(
                "every process is counted by its pid on the host, and this is another pid namespace\n  \
                 run it in the host's (docker run --pid=host, or hostPID: true in Kubernetes)"
            );
        }
        for pid in process::everyone() {
            let Some(found) = process::countable(pid) else { continue };
            self.admit_one(pid, &found)?;
        }
        Ok(())
    }

    fn admit_one(&mut self, pid: u32, found: &process::Found) -> Result<()> {
        if self.kernel.process_map("SLOTS")?.get(&pid, 0).is_ok() {
            return Ok(());
        }
        let slot = self.kernel.free_slots()?.pop(0).unwrap_or(abi::OVERFLOW);
        if slot == abi::OVERFLOW {
            self.kernel.lose(Loss::SlotsUsedUp);
        } else {
            let free = self.kernel.processes.get(slot as usize).unwrap_or_default();
            let start_boottime = u64::try_from(found.started.as_nanos()).unwrap_or(0).max(1);
            let comm = abi::Process::name(&found.comm);
            self.kernel
                .processes
                .set(slot as usize, abi::Process { tgid: pid, start_boottime, comm, ..free });
        }
        let entered = self.kernel.process_map("SLOTS")?.insert(pid, slot, NO_EXIST);
        let gone = match entered {
            Ok(()) => {
                process::countable(pid).is_none() && self.kernel.process_map("SLOTS")?.remove(&pid).is_ok()
            }
            // The fork hook was first.
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EEXIST) => true,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot enter process {pid} into the map of processes"));
            }
        };
        if gone && slot != abi::OVERFLOW {
            self.kernel.free(&[slot])?;
        }
        Ok(())
    }

    /// The process in a slot; `None` if the slot is free.
    fn process_in(&self, slot: u32) -> Option<abi::Process> {
        self.kernel.processes.get(slot as usize).filter(|process| process.tgid != 0)
    }

    /// What was counted for the process in a slot; `None` if the slot is free.
    pub fn reading(&self, slot: u32) -> Option<Reading> {
        Some(self.read(slot, self.process_in(slot)?))
    }

    /// What was counted for the process that is in a slot.
    pub fn read(&self, slot: u32, process: abi::Process) -> Reading {
        let Tally { ledger, unexplained } = self.tally(slot);
        Reading { slot, process, ledger, unexplained }
    }

    /// Everybody who has a slot.
    pub fn occupied(&self) -> impl Iterator<Item = (u32, abi::Process)> + '_ {
        (FIRST_PROCESS..self.kernel.sizes.slots()).filter_map(|slot| Some((slot, self.process_in(slot)?)))
    }

    /// What [`stamp`](crate::model::snapshot::stamp) makes of what was counted in a slot, for less than it takes to read that.
    pub fn stamp(&self, slot: u32) -> u64 {
        self.shards(slot).fold(0, |sum, shard| sum.wrapping_add(self.kernel.ledgers.sum(shard)))
    }
}
