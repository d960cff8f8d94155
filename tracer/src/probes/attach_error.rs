//! Why a probe did not attach, in words, from the errno that the kernel gave.

use std::io;

use aya::programs::ProgramError;
use tracer_ebpf::table::{Method, Way};

use crate::kernel;
use crate::kernel::capabilities::Privilege;
use crate::model::attach::Refusal;
use crate::model::snapshot::Probe;

/// Cause and remedy of one failed attach. The cause begins with the way; the probe's symbol is shown
/// beside it, so that probes with one cause have the same words.
pub fn explain(way: &Way, error: &anyhow::Error) -> Refusal {
    let refusal = cause(way, error);
    if refusal == Refusal::locked_down() {
        return refusal;
    }
    Refusal { why: format!("{}: {}", way.method.name(), refusal.why), hint: refusal.hint }
}

fn cause(way: &Way, error: &anyhow::Error) -> Refusal {
    let said = |why: String, hint: &str| Refusal { why, hint: hint.to_owned() };
    if is_lockdown(error) {
        return Refusal::locked_down();
    }
    if let Some(verdict) = verdict(error) {
        return said(verdict, REPORT);
    }
    if way.method == Method::Kprobe && !kernel::has_kprobes() {
        return said("this kernel has no kprobes".to_owned(), KPROBES);
    }
    let symbol = way.symbol;
    match errno(error) {
        Some(libc::EPERM | libc::EACCES) if way.method == Method::Kprobe => {
            Privilege::read().refusal_of_kprobe()
        }
        Some(libc::EPERM | libc::EACCES) => Privilege::read().refusal(),
        Some(libc::ENOENT) => said(
            match way.method {
                Method::RawTracepoint | Method::BtfTracepoint => {
                    format!("this kernel has no tracepoint {symbol}")
                }
                _ => format!(
                    "this kernel has no function {symbol} (inlined, or in a module that is not loaded)"
                ),
            },
            "",
        ),
        Some(libc::EBUSY) => said(format!("{symbol} has no ftrace entry (notrace, or inlined)"), ""),
        // 524 is ENOTSUPP: kernel/bpf/trampoline.c without direct ftrace calls.
        Some(libc::EOPNOTSUPP | 524) => said(
            "this kernel has no BPF trampolines".to_owned(),
            "boot a kernel with CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y",
        ),
        Some(libc::EINVAL) if way.method == Method::Kprobe => {
            said(format!("the kernel refuses kprobes on {symbol} (notrace, or on its blacklist)"), "")
        }
        _ => said(first_line(&format!("{error:#}")), ""),
    }
}

const REPORT: &str = "report it with the output of `tracer doctor --format json`";
const KPROBES: &str =
    "boot a kernel with CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y (every Debian kernel has them)";

/// The kernel refuses the BPF object as a whole.
pub fn explain_object(error: &anyhow::Error) -> Refusal {
    let said = |why: String, hint: &str| Refusal { why, hint: hint.to_owned() };
    if is_lockdown(error) {
        let Refusal { why, hint } = Refusal::locked_down();
        return said(
            why,
            &format!("{hint}; with securityfs mounted, tracer counts what is left: {SECURITYFS}"),
        );
    }
    if let Some(verdict) = verdict(error) {
        return said(verdict, REPORT);
    }
    match errno(error) {
        Some(libc::EPERM | libc::EACCES) => Privilege::read().refusal(),
        Some(libc::ENOSYS) => said(
            "this kernel has no BPF".to_owned(),
            "boot a kernel with CONFIG_BPF_SYSCALL=y (every Debian kernel has it)",
        ),
        _ => said(
            first_line(&format!("{error:#}")),
            "tracer is tested on kernels 5.10, 6.1, 6.12 and 7.2; `uname -r` tells yours",
        ),
    }
}

const SECURITYFS: &str = "mount -t securityfs securityfs /sys/kernel/security";

/// The verifier knows no function that reads the kernel's memory: lockdown takes it away. (aya calls it by its old name
/// then, because it tries the new one itself.)
fn is_lockdown(error: &anyhow::Error) -> bool {
    verdict(error).is_some_and(|verdict| {
        let of_reading = verdict.contains("bpf_probe_read#") || verdict.contains("bpf_probe_read_kernel#");
        of_reading && (verdict.contains("unknown func") || verdict.contains("cannot use helper"))
    })
}

fn errno(error: &anyhow::Error) -> Option<i32> {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).find_map(io::Error::raw_os_error)
}

/// What the verifier said, if it got as far as that.
fn verdict(error: &anyhow::Error) -> Option<String> {
    let log = error.chain().find_map(|cause| match cause.downcast_ref::<ProgramError>() {
        Some(ProgramError::LoadError { verifier_log, .. }) => Some(verifier_log.to_string()),
        _ => None,
    })?;
    Some(format!("refused by the verifier: {}", last_words(&log)?))
}

/// The verifier's verdict: the last line of its log before the statistics.
fn last_words(log: &str) -> Option<&str> {
    // 7.2 says "insns processed".
    let noise = ["processed ", "insns processed ", "verification time", "stack depth"];
    let mut lines = log.lines().rev().map(str::trim);
    lines.find(|line| !line.is_empty() && !noise.iter().any(|noise| line.starts_with(noise)))
}

/// An error in words: of a verifier's log, which has hundreds of lines, only the verdict.
pub fn in_short(error: &anyhow::Error) -> String {
    verdict(error).unwrap_or_else(|| format!("{error:#}"))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The gaps that required probes leave, one sentence for those with one cause.
pub fn gaps(probes: &[Probe]) -> Vec<String> {
    let mut by_cause: Vec<(&str, Vec<&str>)> = Vec::new();
    for probe in probes.iter().filter(|probe| probe.required && !probe.attached) {
        match by_cause.iter_mut().find(|(cause, _)| *cause == probe.cause) {
            Some((_, names)) => names.push(probe.name),
            None => by_cause.push((&probe.cause, vec![probe.name])),
        }
    }
    let sentence = |(cause, names): (&str, Vec<&str>)| match names.as_slice() {
        [only] => format!("probe {only} is not attached: {cause}"),
        [a, b] => format!("probes {a} and {b} are not attached: {cause}"),
        [a, b, rest @ ..] => {
            format!("{} probes are not attached ({a}, {b} and {} more): {cause}", names.len(), rest.len())
        }
        [] => String::new(),
    };
    by_cause.into_iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(name: &'static str, cause: &str) -> Probe {
        Probe {
            name,
            method: "",
            symbol: String::new(),
            attached: false,
            required: true,
            reduced: false,
            missed: 0,
            skipped: 0,
            runs: 0,
            run_time_ns: 0,
            cause: cause.to_owned(),
            remedy: String::new(),
        }
    }

    #[test]
    fn probes_with_one_cause_are_one_sentence() {
        let mut probes =
            vec![probe("check", "no kprobes"), probe("cow", "no function"), probe("a", "no kprobes")];
        assert_eq!(
            gaps(&probes),
            ["probes check and a are not attached: no kprobes", "probe cow is not attached: no function"]
        );
        probes.extend([probe("b", "no kprobes"), probe("c", "no kprobes")]);
        assert_eq!(gaps(&probes)[0], "4 probes are not attached (check, a and 2 more): no kprobes");
        probes.iter_mut().for_each(|probe| probe.required = false);
        assert!(gaps(&probes).is_empty());
    }

    #[test]
    fn the_verdict_is_the_last_line_before_the_statistics() {
        let log = "0: (b7) r0 = 1\nR1 invalid mem access 'scalar'\nprocessed 5 insns (limit 1000000)\n";
        assert_eq!(last_words(log), Some("R1 invalid mem access 'scalar'"));
        assert_eq!(last_words("\n"), None);
    }

    #[test]
    fn an_errno_is_found_behind_its_context() {
        let error = anyhow::Error::new(io::Error::from_raw_os_error(libc::EBUSY)).context("cannot attach");
        let way = Way {
            method: Method::Trampoline,
            symbol: "skb_free",
            args: 0,
            programs: &[],
            unpreempted: false,
            reads: tracer_ebpf::table::Reads::Structures,
            reduced: false,
        };
        let refusal = explain(&way, &error);
        assert_eq!(refusal.why, "fentry: skb_free has no ftrace entry (notrace, or inlined)");
    }
}
