//! What this kernel offers. The only reader of `/sys/kernel` and `/proc/kallsyms`.

pub mod btf;
pub mod kallsyms;
pub mod layout;
pub mod names;

use std::fs;

use anyhow::{Context as _, Result};
use tracer_ebpf::abi::Config;

use self::btf::Btf;
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
}

impl Facts {
    pub fn read() -> Result<Self> {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("cannot read the kernel's release from /proc/sys/kernel/osrelease")?
            .trim()
            .to_owned();
        let btf = fs::read(BTF)
            .with_context(|| format!("{BTF} is not there (CONFIG_DEBUG_INFO_BTF)"))
            .and_then(Btf::parse);
        let layout = match &btf {
            Ok(btf) => layout::config(btf).map_err(|error| format!("{error:#}")),
            Err(error) => Err(format!("{error:#}")),
        };
        Ok(Facts { version: version(&release), release, btf: btf.ok(), layout })
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
}

/// False if the kernel was built without kprobes, or at least without those that `perf_event_open` makes.
pub fn has_kprobes() -> bool {
    let pmu = std::path::Path::new("/sys/bus/event_source/devices");
    // Without sysfs nobody knows; the attach will tell.
    !pmu.exists() || pmu.join("kprobe").exists()
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
    use super::version;

    #[test]
    fn releases() {
        assert_eq!(version("6.12.107+deb13-cloud-amd64"), (6, 12));
        assert_eq!(version("5.10.0-46-amd64"), (5, 10));
        assert_eq!(version("weird"), (0, 0));
    }
}
