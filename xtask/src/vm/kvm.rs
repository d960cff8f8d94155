//! KVM or TCG? /dev/kvm may be there and not work (nested, or filtered): only a boot tells. The
//! verdict is remembered until the host reboots.

use std::env;
use std::fs::{self, OpenOptions};
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Accel, run};
use crate::kernels::Cached;
use crate::{paths, sh};

/// With a working KVM a boot takes 2 s.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

pub fn choose(kernel: &Cached) -> Result<Accel> {
    match env::var("TRACER_KVM").as_deref() {
        Ok("0") => return Ok(Accel::Tcg),
        Ok("1") => return Ok(Accel::Kvm),
        Ok(other) if !other.is_empty() => bail!("TRACER_KVM is {other:?}; it has to be 0 or 1"),
        _ => {}
    }
    if OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    // One probe at a time: parallel VMs would slow it down beyond its limit.
    let _lock = paths::lock("kvm")?;
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let (boot_id, release) = (boot_id.trim(), kernel.record.release.as_str());
    let file = paths::cache()?.join("kvm");
    let known = fs::read_to_string(&file).unwrap_or_default();
    // A KVM that fails, fails for all kernels; one that starts one may hang with another.
    if let Some(verdict) = remembered(&known, boot_id, release) {
        return Ok(verdict);
    }
    sh::progress(&format!("trying KVM with {release} (once; TRACER_KVM=0 skips it)"));
    let accel = match run::probe(kernel, Accel::Kvm, PROBE_LIMIT) {
        Ok(()) => Accel::Kvm,
        Err(error) => {
            let text = error.to_string();
            let why = text.lines().next().unwrap_or_default();
            sh::progress(&format!("KVM does not work here, emulating instead: {why}"));
            Accel::Tcg
        }
    };
    // Verdicts of earlier boots of the host are dropped here.
    let same_boot = known.lines().filter(|line| line.starts_with(boot_id));
    let text: String = same_boot.map(|line| format!("{line}\n")).collect();
    // Not remembering costs a probe next time, no more.
    let _ = fs::write(&file, format!("{text}{boot_id} {release} {accel}\n"));
    Ok(accel)
}

/// `known`: lines of boot id, release, verdict.
fn remembered(known: &str, boot_id: &str, release: &str) -> Option<Accel> {
    let verdicts: Vec<(&str, &str)> = known
        .lines()
        .filter_map(|line| line.strip_prefix(boot_id)?.strip_prefix(' ')?.split_once(' '))
        .collect();
    if verdicts.iter().any(|(_, verdict)| *verdict == "tcg") {
        return Some(Accel::Tcg);
    }
    verdicts.contains(&(release, "kvm")).then_some(Accel::Kvm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_per_boot_and_kernel() {
        let known = "b1 6.1.0-56-amd64 kvm\nb2 6.1.0-56-amd64 tcg\n";
        assert_eq!(remembered(known, "b1", "6.1.0-56-amd64"), Some(Accel::Kvm));
        assert_eq!(remembered(known, "b1", "6.1.0"), None);
        assert_eq!(remembered(known, "b1", "7.2.13"), None);
        assert_eq!(remembered(known, "b2", "7.2.13"), Some(Accel::Tcg));
        assert_eq!(remembered(known, "b3", "6.1.0-56-amd64"), None);
    }
}
