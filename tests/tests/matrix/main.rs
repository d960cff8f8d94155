//! The kernel matrix: every behaviour of the tracer that is promised, proved
//! in a VM of each kernel. One behaviour per file.
//!
//! Environment: TRACER and WORKLOAD (paths of the programs), KERNEL (one of
//! the matrix), PROMTOOL (optional). Without TRACER everything is ignored,
//! and says so. Tests run one at a time: they share the machine's signals,
//! BPF objects and CPUs.

mod bad_input;
mod bystander;
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
mod doctor;
mod fallbacks;
mod faults_forced;
mod in_flight;
mod prometheus;
mod run_status;
mod target_ends;
mod threads;
mod two_targets;
mod witness;

use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tracer_tests::harness::bench::{Bench, cause_not_to_run};
use tracer_tests::harness::invariant;
use tracer_tests::harness::session::block_signals;

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

fn all_checks() -> Vec<Check> {
    let mut checks = copies::checks();
    checks.extend(witness::checks());
    checks.extend(fallbacks::checks());
    checks.extend(bystander::checks());
    checks.extend(two_targets::checks());
    checks.extend(threads::checks());
    checks.extend(children::checks());
    checks.extend(context_switches::checks());
    checks.extend(faults_forced::checks());
    checks.extend(in_flight::checks());
    checks.extend(prometheus::checks());
    checks.extend(run_status::checks());
    checks.extend(target_ends::checks());
    checks.extend(bad_input::checks());
    checks.extend(doctor::checks());
    checks.extend(check_usage::checks());
    checks.extend(check_pass::checks());
    checks.extend(check_violated::checks());
    checks.extend(check_inconclusive::checks());
    checks.extend(check_failed::checks());
    checks.extend(check_ends::checks());
    checks.extend(check_pid::checks());
    checks.extend(check_record::checks());
    checks.extend(check_ci::checks());
    checks.extend(check_nginx::checks());
    checks
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    block_signals();
    let bench = match cause_not_to_run() {
        Some(cause) => Err(cause),
        // Listing needs no bench.
        None if arguments.list => Err("only listed".into()),
        None => match Bench::from_environment() {
            Ok(bench) => Ok(Arc::new(bench)),
            Err(error) => {
                eprintln!("matrix: {error:#}");
                std::process::exit(101);
            }
        },
    };
    let trials = all_checks().into_iter().map(|check| trial(check, bench.clone())).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Before the exit, which runs no destructor: unmounts.
    drop(bench);
    conclusion.exit();
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
            Err(error) if inconclusive(&bench.kernel, &error).is_some() => {
                Ok(Completion::ignored_with(inconclusive(&bench.kernel, &error).unwrap_or_default()))
            }
            Err(error) => {
                // At once as well: the summary comes only after the last test.
                eprintln!("\n{error:#}");
                Err(Failed::from(format!("{error:#}")))
            }
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

/// 7.2 preempts tracing programs (PREEMPT_LAZY), and skips one that another task meets half-way on the same
/// CPU (`recursion_misses`). A window in which the tracer reports that is inconclusive, not a failure.
fn inconclusive(kernel: &str, error: &anyhow::Error) -> Option<String> {
    let lost = error.downcast_ref::<EventsLost>()?.0;
    (kernel == "7.2")
        .then(|| format!("inconclusive: the kernel skipped {lost} runs of preempted programs, as reported"))
}

/// What every total must satisfy, whatever it is of.
pub fn sound(total: &serde_json::Value) -> Result<()> {
    invariant::check(total)?;
    anyhow::ensure!(total["lost_events"] == 0, EventsLost(total["lost_events"].as_u64().unwrap_or(0)));
    anyhow::ensure!(total["observed"]["copies"] == true, "copies were not observed");
    Ok(())
}
