//! How probes are to be attached, and why some are not.

use serde::{Deserialize, Serialize};

/// `--attach`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize, Deserialize)]
pub enum Attach {
    /// The cheapest way that is exact: trampolines, else kprobes.
    Auto,
    /// Trampolines (fentry, fexit) only.
    Fentry,
    /// kprobes and kretprobes only; loses the returns of functions that sleep in large numbers.
    Kprobe,
    /// kprobes on the call instructions of the copy primitives in place of wrappers; does not see
    /// copy_to_user and copy_from_user (argument blocks, older drivers).
    Callsite,
}

/// Why something is not attached, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub why: String,
    pub hint: String,
}

impl Refusal {
    /// No structure's layout is known.
    pub fn no_layout(cause: &str) -> Refusal {
        Refusal {
            why: format!("structure offsets are unknown: {cause}"),
            hint: "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (every Debian kernel since 5.10)".to_owned(),
        }
    }

    /// Programs may not read the kernel's memory (`LOCKDOWN_BPF_READ_KERNEL`).
    pub fn locked_down() -> Refusal {
        Refusal {
            why:
                "not permitted: the kernel is locked down (confidentiality), which forbids reading its memory"
                    .to_owned(),
            hint: "boot without `lockdown=confidentiality` on the kernel's command line".to_owned(),
        }
    }

    /// Both, each said once; lockdown is cause enough.
    pub fn and(self, other: Refusal) -> Refusal {
        if self == Refusal::locked_down() {
            return self;
        }
        let join = |a: String, b: String, between: &str| match (a.is_empty(), a.contains(&b)) {
            (true, _) => b,
            (_, true) => a,
            _ => format!("{a}{between}{b}"),
        };
        Refusal { why: join(self.why, other.why, "; "), hint: join(self.hint, other.hint, ", or ") }
    }
}
