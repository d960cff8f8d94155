//! System calls that are entered and never return, and returns of what never entered: each program's calls are
//! known to the last one.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tracer_tests::harness::bench::Bench;
use tracer_tests::harness::compare::Differences;
use tracer_tests::harness::tracer::Tracer;
use tracer_tests::harness::{LIMIT, ledger, metrics, tiny};

use crate::{Check, on_any_kernel, on_each_way, sound};

const GETPID: &[u8] = b"\xb8\x27\0\0\0\x0f\x05";
const EXIT_GROUP: &[u8] = b"\xb8\xe7\0\0\0\x31\xff\x0f\x05";
const FORK: &[u8] = b"\xb8\x39\0\0\0\x0f\x05";
/// Behind a fork: wait4(-1, 0, 0, 0), unless this is the child. A child that nobody waits for may run after the
/// window, which ends with its parent.
const WAIT: &[u8] = b"\x85\xc0\x74\x13\xb8\x3d\0\0\0\xbf\xff\xff\xff\xff\x31\xf6\x31\xd2\x45\x31\xd2\x0f\x05";
/// By the 32-bit table, from 64-bit code: getpid, exit.
const GETPID_32: &[u8] = b"\xb8\x14\0\0\0\xcd\x80";
const EXIT_32: &[u8] = b"\xb8\x01\0\0\0\x31\xdb\xcd\x80";
/// kill(getpid(), SIGKILL)
const KILL_ITSELF: &[u8] = b"\xb8\x27\0\0\0\x0f\x05\x89\xc7\xbe\x09\0\0\0\xb8\x3e\0\0\0\x0f\x05";
/// Starts a thread that calls exit at once, and waits in user mode until the kernel clears its id:
/// `clone(CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_CHILD_CLEARTID, 0, 0, rsp)`.
const THREAD: &[u8] = b"\xb8\x38\0\0\0\xbf\x00\x09\x21\0\x31\xf6\x31\xd2\x49\x89\xe2\xc7\x04\x24\x01\0\0\0\
    \x0f\x05\x85\xc0\x75\x09\xb8\x3c\0\0\0\x31\xff\x0f\x05\xf3\x90\x83\x3c\x24\0\x75\xf8";
/// What follows up to `CHILD` is done 500 times over: `mov ebx, 500`.
const REPEAT: &[u8] = b"\xbb\xf4\x01\0\0";
/// Behind `REPEAT`, a fork and `WAIT`: counts down and jumps back, at last exit_group; the child goes on behind it.
const CHILD: &[u8] = b"\x85\xc0\x74\x0d\xff\xcb\x75\xda\xb8\xe7\0\0\0\x31\xff\x0f\x05";
/// execve of the path behind it, which is the last thing in the program.
const EXEC: &[u8] = b"\x48\x8d\x3d\x0b\0\0\0\xb8\x3b\0\0\0\x31\xf6\x31\xd2\x0f\x05";

/// Name, what it does, and its calls once it runs.
const EACH_WAY: [Program; 2] = [
    ("ends_many_threads", &[REPEAT, FORK, WAIT, CHILD, THREAD, EXIT_GROUP], 500 * (2 + 3) + 1),
    ("calls_by_32_bits", &[GETPID_32, EXIT_32], 2),
];
const PROGRAMS: [Program; 5] = [
    ("exits", &[GETPID, GETPID, EXIT_GROUP], 3),
    ("forks", &[FORK, WAIT, GETPID, EXIT_GROUP], 4 + 2),
    ("ends_a_thread", &[THREAD, EXIT_GROUP], 2 + 1),
    ("is_killed", &[GETPID, KILL_ITSELF], 3),
    ("calls_nothing_else", &[EXIT_GROUP], 1),
];

type Program = (&'static str, &'static [&'static [u8]], u64);

pub fn checks() -> Vec<Check> {
    let name = |program: Program| format!("calls::{}", program.0);
    let mut checks = Vec::new();
    checks.extend(EACH_WAY.map(|program| on_each_way(&name(program), move |bench| runs(bench, program))));
    checks.extend(PROGRAMS.map(|program| on_any_kernel(&name(program), move |bench| runs(bench, program))));
    checks.push(on_any_kernel("calls::executes_another", executes));
    checks.push(on_each_way("calls::of_a_helper_that_the_kernel_starts", helper));
    checks
}

fn runs(bench: &Bench, (name, parts, calls): Program) -> Result<()> {
    counted(bench, &tiny::program(&bench.tmpfs, name, &parts.concat())?, calls)
}

/// `tracer run` counts so many system calls of a program, all told.
fn counted(bench: &Bench, program: &Path, calls: u64) -> Result<()> {
    let arguments = ["run", "--format", "json", "--", &program.display().to_string()].map(str::to_owned);
    let total = Tracer::start(&bench.tracer, &arguments)?.wait(LIMIT)?.last_json_of_run()?;
    sound(&total)?;
    let mut differences = Differences::default();
    // What a thread did that came after its slot was given back is in `overflow`.
    let ledgers = ledger::processes(&total).into_iter().chain([ledger::overflow(&total)]);
    let switches = ledgers.map(|ledger| ledger.mode_switches("syscall")).sum();
    differences.equal("mode_switches.syscall", switches, 2 * calls);
    differences.into_result(&format!("{total}"))
}

/// Its own exec is the first thing that is not counted; the second is one of its calls.
fn executes(bench: &Bench) -> Result<()> {
    let other = tiny::program(&bench.tmpfs, "executed", &[GETPID, EXIT_GROUP].concat())?;
    let mut path = other.display().to_string().into_bytes();
    path.push(0);
    let program = tiny::program(&bench.tmpfs, "executes", &[EXEC, path.as_slice()].concat())?;
    counted(bench, &program, 1 + 2)
}

/// Puts a program in modprobe's place until it is dropped.
struct Modprobe(String);

impl Modprobe {
    const SETTING: &str = "/proc/sys/kernel/modprobe";

    fn replaced_by(program: &Path) -> Result<Self> {
        let before = fs::read_to_string(Self::SETTING)?;
        fs::write(Self::SETTING, program.display().to_string()).context("cannot replace modprobe")?;
        Ok(Modprobe(before.trim().to_owned()))
    }
}

impl Drop for Modprobe {
    fn drop(&mut self) {
        // The next test needs modules at most, and says so.
        let _ = fs::write(Self::SETTING, &self.0);
    }
}

/// The kernel executes it, so it returns from a call that nobody made.
fn helper(bench: &Bench) -> Result<()> {
    let program = tiny::program(&bench.tmpfs, "kernels-helper", &[GETPID, GETPID, EXIT_GROUP].concat())?;
    let address = metrics::free_address()?;
    let arguments = ["serve", "--group-by", "comm", "--listen", &address.to_string()].map(str::to_owned);
    let mut tracer = Tracer::start(&bench.tracer, &arguments)?;
    tracer.wait_counting_everybody()?;
    let modprobe = Modprobe::replaced_by(&program)?;
    // A family that no kernel has in it: the kernel asks for `net-pf-9`, and waits for who looks for it.
    // SAFETY: no memory is passed.
    let socket = unsafe { libc::socket(libc::AF_X25, libc::SOCK_SEQPACKET, 0) };
    drop(modprobe);
    ensure!(socket < 0, "there is a socket of X.25, so no helper was asked for it");
    let page = metrics::scrape(address)?;
    let labels = [("comm", "kernels-helper")];
    let mut differences = Differences::default();
    differences.equal("syscalls", metrics::sum(&page, "tracer_syscalls_total", &labels), 3);
    differences.into_result(&page)?;
    let outcome = tracer.terminate()?;
    ensure!(outcome.status.success(), "{}: {}", outcome.status, outcome.stderr);
    Ok(())
}
