//! Kernel threads that work on a process's memory: vhost's, up to 6.3. The kernel side learns of those to come.

use std::path::Path;

use anyhow::Result;
use tracer_ebpf::abi::Config;

use super::Session;
use crate::kernel::process;

/// True if a process may have kernel threads of its own. A kernel that has `PF_USER_WORKER` makes them threads of the
/// process.
pub(super) fn may_be(layout: &Config) -> bool {
    layout.user_worker == 0 && Path::new("/sys/module/vhost").exists()
}

impl Session {
    /// Enters those that work already, with their process's slot.
    pub(super) fn admit_workers(&mut self) -> Result<()> {
        if !self.names.is_initial() || !may_be(&self.config) {
            return Ok(());
        }
        for (worker, name) in process::kernel_threads() {
            let Some(process) = process_of(&name) else { continue };
            let mut slots = self.kernel.process_map("SLOTS")?;
            if let Ok(slot) = slots.get(&process, 0) {
                slots.insert(worker, slot, 0)?;
            }
        }
        Ok(())
    }
}

/// The process that a kernel thread works for: its name has the thread that asked for it (`vhost-%d`,
/// drivers/vhost/vhost.c).
fn process_of(name: &str) -> Option<u32> {
    process::process_of(name.strip_prefix("vhost-")?.parse().ok()?)
}
