//! When there is nothing that could be counted.

use anyhow::{Result, bail};
use tracer_ebpf::table::Group;

use super::Session;

impl Session {
    /// An error if nobody would tell when counting is to begin.
    pub(super) fn refuse_without_exec(&self) -> Result<()> {
        let row = self.kernel.rows.iter().find(|row| row.row.name == "exec");
        if let Some(Err(refusal)) = row.map(|row| &row.way) {
            bail!(
                "a program cannot be counted from its start on, because probe exec is not attached: {}\n  \
                 {}\n  `tracer --pid PID` counts one that runs already",
                refusal.why,
                refusal.hint
            );
        }
        Ok(())
    }

    /// An error if nothing at all attached.
    pub(super) fn refuse_blindness(&self) -> Result<()> {
        let blind = self.kernel.rows.iter().all(|row| row.way.is_err() || row.row.group == Group::Mark);
        if blind {
            let why = self.kernel.rows.iter().find_map(|row| row.way.as_ref().err());
            let why = why.map_or_else(String::new, |r| format!("{}\n  {}", r.why, r.hint));
            bail!("no probe attached, so nothing can be counted: {why}\n  `tracer doctor` shows every probe");
        }
        Ok(())
    }
}
