//! What this kernel offers. The only reader of `/sys/kernel` and `/proc/kallsyms`.

pub mod btf;
pub mod capabilities;
pub mod in_flight;
pub mod kallsyms;
pub mod layout;
pub mod name_index;
pub mod netdev;
pub mod pid_namespace;
pub mod process;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use tracer_ebpf::abi::{Config, Preempt};

use self::btf::{Btf, ModuleBtf, Param};
use self::kallsyms::Kallsyms;
use crate::model::attach::Refusal;

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel.
pub struct Facts {
    /// As `uname -r` says.
    pub release: String,
    btf: Option<Btf>,
    /// Offsets for the BPF programs, or why there are none.
    pub layout: Result<Config, String>,
    preempts: bool,
    /// Programs may not read the kernel's memory (`LOCKDOWN_BPF_READ_KERNEL`, security/lockdown).
    locked_down: bool,
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
        let preempts = preempts(
            fs::read_to_string("/sys/kernel/debug/sched/preempt").ok().as_deref(),
            &fs::read_to_string("/proc/cmdline").unwrap_or_default(),
            &fs::read_to_string("/proc/version").unwrap_or_default(),
            version(&release),
        );
        let locked_down = lockdown().as_deref() == Some("confidentiality");
        Ok(Facts { release, btf: btf.ok(), layout, preempts, locked_down })
    }

    /// True if context switches can tell whom a preempted program concerns.
    pub fn watches_preemption(&self) -> bool {
        self.preempts
            && !self.locked_down
            && self.layout.as_ref().is_ok_and(|layout| layout.task_migration_disabled != 0)
    }

    /// Why programs read little or nothing here; `None` where they read all they need.
    pub fn reduced(&self) -> Option<Refusal> {
        match &self.layout {
            Err(cause) => Some(Refusal::no_layout(cause)),
            Ok(_) => self.locked_down.then(Refusal::locked_down),
        }
    }

    /// The id in BTF of the type of a tracepoint's programs.
    pub fn tracepoint_id(&self, name: &str) -> Option<u32> {
        self.btf.as_ref()?.typedef_id(&format!("btf_trace_{name}"))
    }

    /// The id in BTF of a function that programs may attach to.
    pub fn function_id(&self, name: &str) -> Option<u32> {
        self.btf.as_ref()?.func_id(name)
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

impl Facts {
    /// Types of the parameters of a function of the kernel proper.
    pub fn params(&self, function: &str) -> Option<Vec<String>> {
        Some(types(self.btf.as_ref()?.func_params(function)?))
    }

    /// The same of a function in this module, if it is loaded.
    pub fn module_params(&self, module: &str, function: &str) -> Option<Vec<String>> {
        let kernel = self.btf.as_ref()?;
        let data = fs::read(Path::new(BTF).with_file_name(module)).ok()?;
        let name: Vec<u8> = [&[0], function.as_bytes(), &[0]].concat();
        // To parse all of them would take as long as the kernel's own.
        memchr::memmem::find(&data, &name)?;
        Some(types(ModuleBtf::parse(kernel, data).ok()?.func_params(function)?))
    }

    /// True if BTF has this function; there may be others.
    pub fn describes(&self, function: &str) -> bool {
        self.function_id(function).is_some()
    }

    /// Number of arguments of a tracepoint that BTF knows.
    pub fn tracepoint_args(&self, name: &str) -> Option<usize> {
        // `typedef void (*btf_trace_NAME)(void *, arguments...)`.
        let params = self.btf.as_ref()?.typedef_func_params(&format!("btf_trace_{name}"))?;
        Some(params.len().saturating_sub(1))
    }

    /// True if iterators have no `iter_type`, as before 5.14 (8cd54c1c8480).
    pub fn has_old_iterators(&self) -> bool {
        self.layout.as_ref().is_ok_and(|layout| layout.iter_is_flags != 0)
    }

    /// True if programs may not read the kernel's memory.
    pub fn is_locked_down(&self) -> bool {
        self.locked_down
    }

    /// True if the kernel may preempt BPF programs.
    pub fn preempts(&self) -> bool {
        self.preempts
    }

    /// True if a grace period of RCU tasks may wait for a process that exits; true also if nobody knows. Since 6.9 such
    /// processes are on lists instead (1612160b9127).
    pub fn waits_for_exits(&self) -> bool {
        let lists = |btf: &Btf| btf.member_offset("task_struct", "rcu_tasks_exit_list").is_some();
        !self.btf.as_ref().is_some_and(lists)
    }

    /// True if the link of a kprobe tells how often its program did not run, since 6.7.
    pub fn tells_missed_probes(&self) -> bool {
        let told = |btf: &Btf| btf.member_offset("bpf_link_info", "perf_event.kprobe.missed").is_some();
        self.btf.as_ref().is_some_and(told)
    }
}

/// Loaded modules whose types the kernel tells.
pub fn modules_with_types() -> Vec<String> {
    let entries = Path::new(BTF).parent().and_then(|all| fs::read_dir(all).ok());
    let names = entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name != "vmlinux").collect()
}

fn types(params: Vec<Param>) -> Vec<String> {
    params.into_iter().map(|param| param.type_desc).collect()
}

/// True if the kernel may preempt its own code. `model` is `full (lazy)` or `none (voluntary) full`, the
/// model in force in parentheses; without debugfs the boot parameter tells, else how the kernel was built (`uname -v`).
/// One that leaves the model to its boot (`PREEMPT_DYNAMIC`) does not tell its default. Only there the release does, and
/// decides which of two ways goes first: 7.0 took `none` and `voluntary` away from x86, and they were Debian's choice
/// before.
fn preempts(model: Option<&str>, command_line: &str, built: &str, version: (u16, u16)) -> bool {
    let asked = || command_line.split_whitespace().rev().find_map(|word| word.strip_prefix("preempt="));
    let in_force = model.and_then(|text| text.split_once('(')?.1.split_once(')').map(|(model, _)| model));
    let flag = || built.split_whitespace().find(|word| word.starts_with("PREEMPT"));
    match (in_force.or_else(asked), flag()) {
        (Some(model), _) => matches!(model, "full" | "lazy"),
        (None, Some("PREEMPT_DYNAMIC")) => version >= (7, 0),
        (None, flag) => flag.is_some(),
    }
}

/// False if the kernel was built without kprobes, or at least without those that `perf_event_open` makes.
pub fn has_kprobes() -> bool {
    let pmu = Path::new("/sys/bus/event_source/devices");
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
        const DYNAMIC: &str =
            "Linux version 6.1.0 (gcc) #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-02)";
        assert!(preempts(Some("full (lazy) \n"), "", DYNAMIC, (7, 2)));
        assert!(!preempts(Some("none (voluntary) full\n"), "preempt=full", DYNAMIC, (6, 12)));
        assert!(preempts(None, "quiet preempt=full", DYNAMIC, (6, 1)));
        assert!(!preempts(None, "quiet", DYNAMIC, (6, 12)));
        assert!(preempts(None, "quiet", DYNAMIC, (7, 0)));
        // Built for one model: whatever the release is called.
        for version in [(4, 18), (9, 9)] {
            assert!(!preempts(None, "quiet", "#1 SMP Debian 5.10.262-1 (2026-10-30)", version));
            assert!(preempts(None, "quiet", "#1 SMP PREEMPT_RT Debian 5.10.262-1", version));
        }
    }

    #[test]
    fn releases() {
        assert_eq!(version("6.12.107+deb13-cloud-amd64"), (6, 12));
        assert_eq!(version("5.10.0-46-amd64"), (5, 10));
        assert_eq!(version("weird"), (0, 0));
    }
}
