//! What this kernel offers. The only reader of `/sys/kernel` and `/proc/kallsyms`.

pub mod btf;
pub mod kallsyms;
pub mod layout;
pub mod names;

use std::fs;

use anyhow::{Context as _, Result};
use tracer_ebpf::abi::{Config, Preempt};

use self::btf::Btf;
use self::kallsyms::Kallsyms;
use crate::plan::Offers;

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel.
pub struct Facts {
    /// As `uname -r` says.
    pub release: String,
    version: (u16, u16),
    btf: Option<Btf>,
    /// Offsets for the BPF programs, or why there are none.
    pub layout: Result<Config, String>,
    preempts: bool,
}

impl Facts {
    pub fn read() -> Result<Self> {
        let release = release()?;
        let btf = fs::read(BTF)
            .with_context(|| format!("{BTF} is not there (CONFIG_DEBUG_INFO_BTF)"))
            .and_then(Btf::parse);
        let layout = match &btf {
            Ok(btf) => layout::config(btf).map_err(|error| format!("{error:#}")),
            Err(error) => Err(format!("{error:#}")),
        };
        let version = version(&release);
        let preempts = preempts(
            fs::read_to_string("/sys/kernel/debug/sched/preempt").ok().as_deref(),
            &fs::read_to_string("/proc/cmdline").unwrap_or_default(),
            version,
        );
        Ok(Facts { version, release, btf: btf.ok(), layout, preempts })
    }

    /// True if context switches can tell whom a preempted program concerns.
    pub fn watches_preemption(&self) -> bool {
        self.preempts && self.layout.as_ref().is_ok_and(|layout| layout.task_migration_disabled != 0)
    }

    /// The id in BTF of a function that programs may attach to.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.btf.as_ref()?.func_id(name)
    }

    /// True if the hardened-usercopy check runs before every copy of variable size.
    pub fn check_is_on(&self) -> Result<(), String> {
        let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        let off = command_line.split_whitespace().any(|word| {
            word.strip_prefix("hardened_usercopy=").is_some_and(|v| matches!(v, "off" | "0" | "n" | "no"))
        });
        // Up to 6.12 the function is called and returns early; newer kernels skip the call itself.
        if off && self.version >= (6, 13) {
            return Err("the kernel was booted with hardened_usercopy=off, which removes the check".into());
        }
        Ok(())
    }

    /// Where CPUs keep their `preempt_count`; `None` if the kernel does not tell.
    pub fn preempt(&self, symbols: &Kallsyms) -> Option<Preempt> {
        let preempt_count = match symbols.variable("__preempt_count") {
            Some(address) => address,
            // 6.12 and its neighbours: a member of the structure of a CPU's hot variables.
            None => {
                let offset = self.btf.as_ref()?.member_offset("pcpu_hot", "preempt_count")?;
                symbols.variable("pcpu_hot")? + u64::from(offset)
            }
        };
        Some(Preempt { per_cpu_offset: symbols.variable("__per_cpu_offset")?, preempt_count })
    }

    /// True if `preempt_count` tells whether a softirq is served. With PREEMPT_RT each task counts for itself
    /// (`softirq_disable_cnt`, include/linux/sched.h, 5.12).
    pub fn counts_softirqs(&self) -> bool {
        self.btf.as_ref().is_some_and(|btf| btf.member_offset("task_struct", "softirq_disable_cnt").is_none())
    }
}

impl Offers for Facts {
    fn release(&self) -> (u16, u16) {
        self.version
    }

    fn function_args(&self, name: &str) -> Option<usize> {
        Some(self.btf.as_ref()?.func_params(name)?.len())
    }

    fn tracepoint_args(&self, name: &str) -> Option<usize> {
        // `typedef void (*btf_trace_NAME)(void *, arguments...)`.
        let params = self.btf.as_ref()?.typedef_func_params(&format!("btf_trace_{name}"))?;
        Some(params.len().saturating_sub(1))
    }

    fn without_layout(&self) -> Option<&str> {
        self.layout.as_ref().err().map(String::as_str)
    }

    fn preempts(&self) -> bool {
        self.preempts
    }
}

/// True if the kernel may preempt its own code. `model` is `full (lazy)` or `none (voluntary) full`, the
/// model in force in parentheses; without debugfs the boot parameter tells, else the release: 7.0 took
/// `none` and `voluntary` away from x86, and they were Debian's choice before.
fn preempts(model: Option<&str>, command_line: &str, version: (u16, u16)) -> bool {
    let asked = || command_line.split_whitespace().rev().find_map(|word| word.strip_prefix("preempt="));
    let in_force = model.and_then(|text| text.split_once('(')?.1.split_once(')').map(|(model, _)| model));
    match in_force.or_else(asked) {
        Some(model) => matches!(model, "full" | "lazy"),
        None => version >= (7, 0),
    }
}

/// False if the kernel was built without kprobes, or at least without those that `perf_event_open` makes.
pub fn has_kprobes() -> bool {
    let pmu = std::path::Path::new("/sys/bus/event_source/devices");
    // Without sysfs nobody knows; the attach will tell.
    !pmu.exists() || pmu.join("kprobe").exists()
}

/// The kernel's, as `uname -r` prints it.
pub fn release() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease");
    let text = text.context("cannot read the kernel's release from /proc/sys/kernel/osrelease")?;
    Ok(text.trim().to_owned())
}

/// `(6, 12)` of `6.12.107+deb13-cloud-amd64`.
pub fn version(release: &str) -> (u16, u16) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// `none`, `integrity` or `confidentiality`; `None` where the kernel has no lockdown.
pub fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    text.split_whitespace().find_map(|word| Some(word.strip_prefix('[')?.strip_suffix(']')?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{preempts, version};

    #[test]
    fn preemption_models() {
        assert!(preempts(Some("full (lazy) \n"), "", (7, 2)));
        assert!(!preempts(Some("none (voluntary) full\n"), "preempt=full", (6, 12)));
        assert!(preempts(None, "quiet preempt=full", (6, 1)));
        assert!(!preempts(None, "quiet", (6, 12)));
        assert!(preempts(None, "quiet", (7, 0)));
    }

    #[test]
    fn releases() {
        assert_eq!(version("6.12.107+deb13-cloud-amd64"), (6, 12));
        assert_eq!(version("5.10.0-46-amd64"), (5, 10));
        assert_eq!(version("weird"), (0, 0));
    }
}
