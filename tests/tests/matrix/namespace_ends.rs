//! A pid namespace (a container, a CI job, a debug sidecar) that ends with tracer in it or right after it: it does
//! end, tracer leaves nothing behind, and a second tracer outside counts exactly.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tracer_tests::expect::{self, Place, Role};
use tracer_tests::harness::bench::{Bench, cause_to_leave_out};
use tracer_tests::harness::{compare, ledger, until};

use crate::{Check, check, sound};

/// Of these forms each takes an emulated CPU 5 to 15 s.
const LIMIT: Duration = Duration::from_secs(120);

/// `sh` is the first process of the namespace unless the form says otherwise. `$TRACER` is tracer, `$DIR` is empty.
const FORMS: &[(&str, &[&str])] = &[
    (
        "it ends right after tracer",
        &["sh", "-c", "mount -t proc proc /proc; sleep 100 & $TRACER --pid $! --duration 2s"],
    ),
    (
        "it ends while tracer counts",
        &[
            "sh",
            "-c",
            "mount -t proc proc /proc; sleep 100 & $TRACER --pid $! 2>$DIR/err &
            until grep -q counting $DIR/err; do sleep 0.05; done",
        ],
    ),
    (
        "it ends while tracer detaches",
        &[
            "sh",
            "-c",
            "mount -t proc proc /proc; sleep 100 & $TRACER --pid $! --duration 1s >$DIR/out &
            until [ -s $DIR/out ]; do sleep 0.02; done",
        ],
    ),
    (
        "it ends after tracer was killed",
        &[
            "sh",
            "-c",
            "mount -t proc proc /proc; sleep 100 & $TRACER --pid $! 2>$DIR/err & tracer=$!
            until grep -q counting $DIR/err; do sleep 0.05; done; kill -9 $tracer; wait $tracer",
        ],
    ),
    ("tracer is its first process", &["sh", "-c", "mount -t proc proc /proc; exec $TRACER run -- true"]),
    // The daemon attaches, and then says that it belongs into the host's namespace.
    (
        "the daemon is refused in it",
        &["sh", "-c", "mount -t proc proc /proc; $TRACER serve --listen 127.0.0.1:0; [ $? = 1 ]"],
    ),
    ("it has no /proc", &["sh", "-c", "umount -l /proc; $TRACER run -- true; true"]),
];

pub fn checks() -> Vec<Check> {
    vec![check("namespace_ends::and_a_tracer_outside_counts_exactly", ends)]
}

fn ends(bench: &Bench) -> Result<()> {
    let programs = programs()?;
    for (number, (form, command)) in forms(&bench.kernel).iter().enumerate() {
        let dir = bench.tmpfs.join(format!("namespace-{number}"));
        fs::create_dir_all(&dir)?;
        let child = Command::new("unshare")
            .args(["-p", "-m", "-f"])
            .args(*command)
            .env("TRACER", &bench.tracer)
            .env("DIR", &dir)
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("stderr"))?)
            .process_group(0)
            .spawn();
        // Neither killed nor waited for if it hangs: nothing would come of it.
        let mut child = child.context("cannot start unshare")?;
        let ended = until(&format!("namespace, {form}: it ends"), LIMIT, || Ok(child.try_wait()?));
        let said = fs::read_to_string(dir.join("stderr"))?;
        let status = ended.with_context(|| format!("tracer said:\n{said}\n{}", stuck()))?;
        // If the first process ends first, tracer is killed, and the kernel's workers still detach.
        ensure!(status.code().is_some(), "{form}: {status}\n{said}");
        until(&format!("namespace, {form}: no program is left attached"), LIMIT, || {
            Ok((self::programs()? <= programs).then_some(()))
        })
        .with_context(stuck)?;
    }
    let window = bench.window("rw_file", &[])?;
    sound(&window.total)?;
    let row = expect::find(&bench.kernel, "rw_file", Place::Tmpfs, Role::Worker).context("no row")?;
    let ledger = ledger::process(&window.total, window.worker)?;
    compare::row(row, ledger, &compare::Facts::new(&window.books)).into_result("rw_file")
}

/// Since 6.9 no grace period waits for a process in exit: there the first form shows that tracer ends.
fn forms(kernel: &str) -> &'static [(&'static str, &'static [&'static str])] {
    if cause_to_leave_out(kernel, &["5.10", "6.1"]).is_some() { &FORMS[..1] } else { FORMS }
}

/// Functions with a BPF trampoline, as ftrace has them. (Another tracer's may go meanwhile, none may come.)
fn programs() -> Result<usize> {
    let path = "/sys/kernel/tracing/enabled_functions";
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.lines().filter(|line| line.contains("direct-->")).count())
}

/// Where processes stand that no signal ends.
fn stuck() -> String {
    let mut text = String::from("processes that wait in the kernel:\n");
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let stat = read("stat");
        let waits = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D'));
        let is_stack_told = waits || read("stack").contains("zap_pid_ns_processes");
        if is_stack_told {
            text += &format!("{}{}\n", read("comm"), read("stack"));
        }
    }
    text
}
