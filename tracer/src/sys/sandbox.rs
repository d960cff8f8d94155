//! What the daemon gives up once everything is attached.

use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus,
};

use crate::sys;

/// Bits of include/uapi/linux/capability.h.
const SYS_PTRACE: u32 = 19;
const BPF: u32 = 39;
/// What it says decides, up to 5.18, whether every bpf(2) call needs a capability; it may be changed at any time.
const UNPRIVILEGED_BPF: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// What the counting thread keeps, with the reason.
pub struct Kept {
    pub capabilities: Vec<&'static str>,
    pub landlock: bool,
}

/// Gives up what counting does not need. The threads of the server have given up everything before.
///
/// `exe`: executables are shown or selected, which takes CAP_SYS_PTRACE, and which Landlock would forbid (a
/// fenced process may not look into processes outside of its fence).
pub fn enter(exe: bool, readable: &[PathBuf]) -> Kept {
    let mut wanted = Vec::new();
    if !open_maps_are_free() {
        wanted.push((BPF, "CAP_BPF"));
    }
    if exe {
        wanted.push((SYS_PTRACE, "CAP_SYS_PTRACE"));
    }
    sys::no_new_privileges();
    let mask = wanted.iter().fold(0u64, |mask, (bit, _)| mask | 1 << bit);
    // Without any there is nothing to give up, and nothing that could fail.
    let kept = sys::keep_capabilities(mask).unwrap_or(0);
    let capabilities = wanted.iter().filter(|(bit, _)| kept & (1 << bit) != 0).map(|(_, name)| *name);
    let capabilities = capabilities.collect();
    let landlock = !exe && {
        let mut paths: Vec<PathBuf> = ["/proc", "/sys"].map(PathBuf::from).into();
        paths.extend_from_slice(readable);
        read_only(&paths)
    };
    Kept { capabilities, landlock }
}

/// True if maps that are open need no capability, as since 5.19: asked of the kernel by a thread that has none.
fn open_maps_are_free() -> bool {
    let is_forbidden = std::fs::read_to_string(UNPRIVILEGED_BPF).is_ok_and(|text| text.trim() != "0");
    let asks = || sys::keep_capabilities(0).is_ok() && sys::may_ask_of_maps();
    is_forbidden && std::thread::spawn(asks).join().unwrap_or(false)
}

/// For a thread of the server: no capability, and no file but those that it reads again.
pub fn enter_server(readable: &[PathBuf]) {
    sys::no_new_privileges();
    // It cannot fail for want of any: giving up is always allowed.
    let _ = sys::keep_capabilities(0);
    read_only(readable);
}

/// Fences this thread, and those that it starts: from here on it may read below these paths and write
/// nothing. False if the kernel has no Landlock (before 5.13, or not enabled at boot).
fn read_only(paths: &[PathBuf]) -> bool {
    let fence = || -> Result<bool, landlock::RulesetError> {
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V3))?
            .create()?;
        for path in paths {
            // What is not there cannot be read either way.
            let Ok(path) = PathFd::new(path) else { continue };
            rules =
                rules.add_rule(PathBeneath::new(path, AccessFs::from_read(ABI::V3) & !AccessFs::Execute))?;
        }
        Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
    };
    fence().unwrap_or(false)
}
