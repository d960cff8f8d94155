//! Why a probe did not attach, in words, from the errno that the kernel gave.

use std::io;

use tracer_ebpf::table::{Method, Way};

use crate::plan::Refusal;
use crate::sys;

/// Cause and remedy of one failed attach.
pub fn explain(way: &Way, error: &anyhow::Error) -> Refusal {
    let errno =
        error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).find_map(io::Error::raw_os_error);
    let target = format!("{} {}", way.method.name(), way.symbol);
    let (why, hint) = match errno {
        Some(libc::EPERM | libc::EACCES) if !sys::is_root() => {
            ("not permitted".to_owned(), "run as root, or grant CAP_BPF and CAP_PERFMON")
        }
        Some(libc::EPERM) => (
            "not permitted to root either: lockdown, a seccomp filter or a container".to_owned(),
            "see /sys/kernel/security/lockdown; run on the host with `--privileged`",
        ),
        Some(libc::ENOENT) => match way.method {
            Method::Kprobe => ("no such function, or no kprobes in this kernel".to_owned(), KPROBES),
            _ => ("no such function or tracepoint".to_owned(), ""),
        },
        Some(libc::EBUSY) => ("the function has no ftrace entry (notrace, or inlined)".to_owned(), ""),
        // 524 is ENOTSUPP: kernel/bpf/trampoline.c without direct ftrace calls.
        Some(libc::EOPNOTSUPP | 524) => (
            "this kernel has no BPF trampolines".to_owned(),
            "boot a kernel with CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y",
        ),
        Some(libc::EACCES) => (last_words(&format!("{error:#}")), ""),
        Some(libc::EINVAL) if format!("{error:#}").contains("Verifier output: ") => {
            (last_words(&format!("{error:#}")), "")
        }
        Some(libc::EINVAL) => ("refused as invalid here".to_owned(), KPROBES),
        _ => (first_line(&format!("{error:#}")), ""),
    };
    Refusal { why: format!("{target}: {why}"), hint: hint.to_owned() }
}

const KPROBES: &str =
    "boot a kernel with CONFIG_KPROBES=y and CONFIG_FUNCTION_TRACER=y (every Debian kernel)";

/// The verifier's verdict: the last line of its log before the statistics.
fn last_words(text: &str) -> String {
    let noise = ["processed ", "verification time", "stack depth", ": "];
    let line =
        text.lines().rev().find(|line| !line.trim().is_empty() && !noise.iter().any(|n| line.starts_with(n)));
    format!("refused by the verifier: {}", line.unwrap_or_default().trim())
}

/// An error in words: of a verifier's log, which has hundreds of lines, only the verdict.
pub fn in_short(error: &anyhow::Error) -> String {
    match format!("{error:#}") {
        text if text.contains("Verifier output: ") => last_words(&text),
        text => text,
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
