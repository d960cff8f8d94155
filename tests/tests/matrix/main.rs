//! The kernel matrix: every behaviour of the tracer that is promised, proved
//! in a VM of each kernel. One behaviour per file.
//!
//! Environment: TRACER and WORKLOAD (paths of the programs), KERNEL (one of
//! the matrix), VARIANT (set if the kernel was booted with the parameters of
//! that variant: its checks are others), PROMTOOL (optional), PROGRAMS (set if
//! Debian's programs are there). Without TRACER everything is ignored, and says so. Tests run one at
//! a time: they share the machine's signals, BPF objects and CPUs.

mod bad_input;
mod batched;
mod bystander;
mod calls;
mod check_ci;
mod check_ends;
mod check_failed;
mod check_inconclusive;
mod check_nginx;
mod check_pass;
mod check_pid;
mod check_record;
mod check_usage;
mod check_violated;
mod children;
mod context_switches;
mod copies;
mod copy_sizes;
mod core_dumps;
mod dashboards;
mod devices;
mod doctor;
mod documented;
mod exact;
mod fallbacks;
mod faults_forced;
mod filesystems;
mod fuse;
mod in_flight;
mod late_module;
mod lockdown;
mod mechanisms;
mod namespace_ends;
mod no_btf;
mod observer;
mod programs_haproxy;
mod programs_jvm;
mod programs_mariadb;
mod programs_nginx;
mod programs_openssl;
mod programs_reload;
mod programs_tools;
mod prometheus;
mod reduced;
mod refused;
mod release_label;
mod run_status;
mod serve_container;
mod serve_exact;
mod serve_pinned;
mod serve_unprivileged;
mod survey;
mod target_ends;
mod threads;
mod two_targets;
mod usercopy_off;
mod witness;
mod witness_memcpy;

use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tracer_tests::harness::bench::{Bench, cause_not_to_run, cause_to_leave_out};
use tracer_tests::harness::invariant;
use tracer_tests::harness::programs::batch::{Batch, Start};
use tracer_tests::harness::programs::cause_not_to_drive;
use tracer_tests::harness::programs::record::judge;
use tracer_tests::harness::session::block_signals;

use batched::Verdicts;

/// How a check ends if it does not fail.
pub enum Verdict {
    Passed,
    /// This kernel lacks the thing; the cause is shown.
    Skipped(String),
}

/// One test, by name.
pub struct Check {
    name: String,
    run: Run,
}

type Run = Box<dyn Fn(&Bench) -> Result<Verdict> + Send>;

/// A test that does not depend on anything the kernel may lack.
pub fn check(name: &str, run: impl Fn(&Bench) -> Result<()> + Send + 'static) -> Check {
    checked(name, move |bench| run(bench).map(|()| Verdict::Passed))
}

pub fn checked(name: &str, run: impl Fn(&Bench) -> Result<Verdict> + Send + 'static) -> Check {
    Check { name: name.into(), run: Box::new(run) }
}

/// Where tests run that are the same on every kernel.
pub const ANY_KERNEL: &[&str] = &["6.1"];

/// The kernels that do not preempt programs have one way to see system calls, 7.2 another: there is one of each.
pub const EACH_WAY: &[&str] = &["6.1", "7.2"];

/// A test of what tracer makes of its counts, of which the kernel knows nothing.
pub fn on_any_kernel(name: &str, run: impl Fn(&Bench) -> Result<()> + Send + 'static) -> Check {
    checked_on(ANY_KERNEL, name, move |bench| run(bench).map(|()| Verdict::Passed))
}

/// A test of what rests on system calls and the ends of tasks.
pub fn on_each_way(name: &str, run: impl Fn(&Bench) -> Result<()> + Send + 'static) -> Check {
    checked_on(EACH_WAY, name, move |bench| run(bench).map(|()| Verdict::Passed))
}

/// Not on other kernels, because each test attaches anew, which takes an emulated CPU 10 s.
pub fn checked_on(
    kernels: &'static [&'static str],
    name: &str,
    run: impl Fn(&Bench) -> Result<Verdict> + Send + 'static,
) -> Check {
    checked(name, move |bench| match cause_to_leave_out(&bench.kernel, kernels) {
        None => run(bench),
        Some(cause) => Ok(Verdict::Skipped(cause)),
    })
}

/// A test of programs from Debian packages.
pub fn program(name: &str, run: impl Fn(&Bench) -> Result<()> + Send + 'static) -> Check {
    checked(&format!("programs::{name}"), move |bench| match cause_not_to_drive(&bench.kernel) {
        Some(cause) => Ok(Verdict::Skipped(cause)),
        None => run(bench).map(|()| Verdict::Passed),
    })
}

/// Tests of programs that `start` starts, all in one window. None of a test's are started where the
/// kernel lacks what they are about, which `lacking` tells.
pub fn program_batch(
    names: &[&'static str],
    start: Start,
    lacking: fn(&str) -> Option<String>,
) -> Vec<Check> {
    let batch = Arc::new(Batch::new(start));
    let of = |name: &&'static str| {
        let (name, batch) = (*name, Arc::clone(&batch));
        checked(&format!("programs::{name}"), move |bench| {
            if let Some(cause) = cause_not_to_drive(&bench.kernel).or_else(|| lacking(name)) {
                return Ok(Verdict::Skipped(cause));
            }
            let measured = batch.measured(bench)?;
            let judged = judge(&bench.kernel, &measured.cases(name)?, &measured.total);
            Verdicts { differences: judged, sound: sound(&measured.total) }.both()?;
            Ok(Verdict::Passed)
        })
    };
    names.iter().map(of).collect()
}

/// The checks of a variant in tests/kernels.toml, or, without one, of a kernel as it is.
fn all_checks(variant: Option<&str>) -> Result<Vec<Check>> {
    match variant {
        None => Ok(plain_checks()),
        Some("interface") => Ok(all_of(INTERFACE)),
        Some("lockdown") => Ok(lockdown::checks()),
        Some("usercopy_off") => Ok(usercopy_off::checks()),
        Some("usercopy_OFF") => Ok(usercopy_off::checks_of_the_spelling()),
        Some(other) => anyhow::bail!("VARIANT={other} has no checks"),
    }
}

/// The tests of one file.
type Checks = fn() -> Vec<Check>;

/// Of what tracer makes of its counts: the same on every kernel, so that another VM runs them.
const INTERFACE: &[Checks] = &[
    two_targets::checks,
    faults_forced::checks,
    refused::checks,
    prometheus::checks,
    serve_container::checks,
    copy_sizes::checks,
    dashboards::checks,
    run_status::checks,
    target_ends::checks,
    bad_input::checks,
    documented::checks,
    check_usage::checks,
    check_pass::checks,
    check_violated::checks,
    check_inconclusive::checks,
    check_failed::checks,
    check_ends::checks,
    check_pid::checks,
    check_record::checks,
    check_ci::checks,
];

const PLAIN: &[Checks] = &[
    copies::checks,
    mechanisms::checks,
    exact::checks,
    filesystems::checks,
    fuse::checks,
    witness::checks,
    witness_memcpy::checks,
    fallbacks::checks,
    bystander::checks,
    core_dumps::checks,
    observer::checks,
    calls::checks,
    children::checks,
    context_switches::checks,
    no_btf::checks,
    in_flight::checks,
    late_module::checks,
    serve_exact::checks,
    serve_pinned::checks,
    serve_unprivileged::checks,
    programs_nginx::checks,
    programs_reload::checks,
    programs_tools::checks,
    programs_haproxy::checks,
    programs_openssl::checks,
    programs_jvm::checks,
    programs_mariadb::checks,
    devices::checks,
    doctor::checks,
    release_label::checks,
    check_nginx::checks,
    survey::checks,
    // Last: if it fails, the machine may be of no more use.
    namespace_ends::checks,
];

fn all_of(files: &[Checks]) -> Vec<Check> {
    files.iter().flat_map(|checks| checks()).collect()
}

fn plain_checks() -> Vec<Check> {
    all_of(PLAIN)
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    block_signals();
    let variant = std::env::var("VARIANT").ok();
    let checks = all_checks(variant.as_deref()).unwrap_or_else(|error| give_up(&error));
    let bench = match cause_not_to_run() {
        Some(cause) => Err(cause),
        // Listing needs no bench.
        None if arguments.list => Err("only listed".into()),
        None => match Bench::from_environment() {
            Ok(bench) => Ok(Arc::new(bench)),
            Err(error) => give_up(&error),
        },
    };
    let trials = checks.into_iter().map(|check| trial(check, bench.clone())).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Before the exit, which runs no destructor: unmounts.
    drop(bench);
    conclusion.exit();
}

fn give_up(error: &anyhow::Error) -> ! {
    eprintln!("matrix: {error:#}");
    std::process::exit(101);
}

fn trial(check: Check, bench: Result<Arc<Bench>, String>) -> Trial {
    let name = match &bench {
        Ok(bench) => format!("{}::{}", bench.kernel, check.name),
        Err(_) => check.name,
    };
    Trial::ignorable_test(name, move || match bench {
        Err(cause) => Ok(Completion::ignored_with(cause)),
        Ok(bench) => match (check.run)(&bench) {
            Ok(Verdict::Passed) => Ok(Completion::Completed),
            Ok(Verdict::Skipped(cause)) => {
                Ok(Completion::ignored_with(format!("on {}: {cause}", bench.kernel)))
            }
            Err(error) => match inconclusive(&bench, &error) {
                Some(cause) => Ok(Completion::ignored_with(cause)),
                None => {
                    // At once as well: the summary comes only after the last test.
                    eprintln!("\n{error:#}");
                    Err(Failed::from(format!("{error:#}")))
                }
            },
        },
    })
}

/// The tracer says that the kernel skipped some of its programs' runs, so its numbers prove nothing.
#[derive(Debug)]
struct EventsLost(u64);

impl std::fmt::Display for EventsLost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "events were lost: {}", self.0)
    }
}

impl std::error::Error for EventsLost {}

/// Why a window in which events were lost is no failure, if it is not.
fn inconclusive(bench: &Bench, error: &anyhow::Error) -> Option<String> {
    let lost = error.downcast_ref::<EventsLost>()?.0;
    let cause = || format!("inconclusive: the kernel skipped {lost} runs of preempted programs, as reported");
    bench.preempts_programs().then(cause)
}

/// What every total must satisfy, whatever it is of.
pub fn sound(total: &serde_json::Value) -> Result<()> {
    invariant::check(total)?;
    nothing_lost(total)
}

/// As [`sound`], for windows in which copies are cut short on purpose.
pub fn sound_but_for_cut_short(total: &serde_json::Value) -> Result<()> {
    invariant::but_for_cut_short(total)?;
    nothing_lost(total)
}

fn nothing_lost(total: &serde_json::Value) -> Result<()> {
    anyhow::ensure!(total["lost_events"] == 0, EventsLost(total["lost_events"].as_u64().unwrap_or(0)));
    anyhow::ensure!(total["observed"]["copies"] == true, "copies were not observed");
    Ok(())
}
