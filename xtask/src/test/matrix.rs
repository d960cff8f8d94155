//! The matrix: the static test binary in one VM per kernel and one per variant of a kernel, some of them at a time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Job, Part, print, results};
use crate::kernels::{self, Kernel, Matrix, Variant};
use crate::vm::{self, Lines, Stream, VmSpec};
use crate::{build, programs, setup, sh};

/// A test is named when it begins, and its end is told. The slowest take 40 s under TCG, and what hangs in one mostly
/// ends by itself, after five or ten minutes (`LIMIT` of the harness).
const SILENCE: Duration = Duration::from_secs(15 * 60);
/// All kernels at once take half an hour to an hour under TCG on two CPUs; CI has 90 minutes.
const LIMIT: Duration = Duration::from_secs(90 * 60);

/// Which checks the test binary runs: those of the variant of this name.
const VARIANT: &str = "VARIANT";

/// What the VMs run.
pub struct Programs {
    pub tracer: PathBuf,
    matrix: PathBuf,
    workload: PathBuf,
    /// Of Prometheus, by the variable that names them.
    tools: Vec<(&'static str, PathBuf)>,
    /// Root of the Debian programs that some tests drive.
    root: Option<PathBuf>,
    /// Every test on every kernel.
    everywhere: bool,
}

/// Has all that a run with this filter needs: kernels booted once, programs built and fetched.
pub fn prepare(kernels: &[Kernel], filter: Option<&str>, everywhere: bool) -> Result<Programs> {
    setup::ensure_vm()?;
    setup::ensure_prometheus()?;
    for kernel in kernels {
        // What cannot be fetched or booted should be known before minutes of building, and one by
        // one: parallel probes would disturb each other.
        vm::prepare(&kernels::ensure(kernel)?)?;
    }
    let root = match filter {
        Some(filter) if !filter.contains("programs") => programs::cached(&programs::Wanted::load()?)?,
        // 110 MB to fetch if they are not there: only for a run that wants them.
        _ => Some(programs::ensure()?),
    };
    let tracer = build::tracer(false)?;
    let (matrix, workload) = build::matrix()?;
    let mut tools = Vec::new();
    for (variable, name) in [("PROMTOOL", "promtool"), ("PROMETHEUS", "prometheus")] {
        tools.extend(setup::tools::find(name)?.map(|path| (variable, path)));
    }
    Ok(Programs { tracer, matrix, workload, tools, root: root.map(|cached| cached.root()), everywhere })
}

/// One for each boot, those that take longest first.
pub fn jobs<'a>(
    matrix: &Matrix,
    kernels: &[Kernel],
    programs: &'a Programs,
    filter: Option<&'a str>,
) -> Result<Vec<Job<'a>>> {
    let boots = boots(matrix, kernels, programs, filter)?;
    let job = |chosen: Boot| -> Job<'a> { Box::new(move || Ok(Some(boot(&chosen, programs, filter)))) };
    Ok(boots.into_iter().map(job).collect())
}

/// A kernel to boot, as it is or with a variant's parameters.
struct Boot {
    kernel: String,
    variant: Option<Variant>,
}

impl Boot {
    /// `6.1`, or `6.1 lockdown`.
    fn name(&self) -> String {
        let variant = self.variant.as_ref().map_or_else(String::new, |variant| format!(" {}", variant.name));
        format!("{}{variant}", self.kernel)
    }
}

/// The boots in which the filter leaves a test: all kernels as they are, then the variants.
fn boots(
    matrix: &Matrix,
    kernels: &[Kernel],
    programs: &Programs,
    filter: Option<&str>,
) -> Result<Vec<Boot>> {
    let plain = std::iter::once(None);
    let variants = plain.chain(matrix.variants.iter().cloned().map(Some));
    let mut boots = Vec::new();
    for variant in variants {
        let tests = list(&programs.matrix, variant.as_ref())?;
        let boots_so = |variant: &Variant, kernel: &Kernel| {
            variant.is_of(&kernel.name) || (programs.everywhere && variant.append.is_empty())
        };
        let is_of = |kernel: &&Kernel| variant.as_ref().is_none_or(|variant| boots_so(variant, kernel));
        // The one that runs most tests, then the newest, whose windows are now and then repeated: none waits for them at
        // the end.
        let (default, others): (Vec<&Kernel>, Vec<&Kernel>) =
            kernels.iter().rev().filter(is_of).partition(|kernel| kernel.name == matrix.default);
        for kernel in default.into_iter().chain(others) {
            // In a VM a test is named after its kernel as well.
            let has = |filter| tests.iter().any(|test| format!("{}::{test}", kernel.name).contains(filter));
            if filter.is_none_or(has) {
                boots.push(Boot { kernel: kernel.name.clone(), variant: variant.clone() });
            }
        }
    }
    Ok(boots)
}

/// The names of all tests of a variant, or of a plain boot.
fn list(matrix: &Path, variant: Option<&Variant>) -> Result<Vec<String>> {
    let mut command = Command::new(matrix);
    command.arg("--list").env_remove("TRACER").env_remove(VARIANT);
    if let Some(variant) = variant {
        command.env(VARIANT, &variant.name);
    }
    let text = sh::capture(&mut command, "list the matrix tests")?;
    Ok(text.lines().filter_map(|line| line.trim().strip_suffix(": test")).map(str::to_owned).collect())
}

fn boot(chosen: &Boot, programs: &Programs, filter: Option<&str>) -> Part {
    let (name, kernel) = (&chosen.name(), &chosen.kernel);
    sh::progress(&format!("{name}: booting"));
    let started = Instant::now();
    // stdout and stderr come from two threads; each line is printed and judged at once.
    let (counts, begun) = (Mutex::new(Vec::new()), Mutex::new(None));
    let line = |line: &str| {
        counts.lock().unwrap_or_else(|e| e.into_inner()).extend(results::parse_line(line));
        if let Some(test) = results::begun(line) {
            *begun.lock().unwrap_or_else(|e| e.into_inner()) = Some(test.to_owned());
        }
        print(&format!("[{name}] {line}"));
    };
    let streams = [Mutex::new(Lines::new(&line)), Mutex::new(Lines::new(&line))];
    let result = spec(kernel, programs, filter).and_then(|mut spec| {
        if let Some(variant) = &chosen.variant {
            spec.kernel_args = format!("{} {}", spec.kernel_args, variant.append);
            spec.env.push((VARIANT.into(), variant.name.clone()));
        }
        vm::run(&spec, &|stream, bytes| {
            let which = usize::from(stream == Stream::Err);
            streams[which].lock().unwrap_or_else(|e| e.into_inner()).push(bytes);
        })
    });
    for stream in &streams {
        stream.lock().unwrap_or_else(|e| e.into_inner()).flush();
    }
    let lines = counts.lock().unwrap_or_else(|e| e.into_inner()).clone();
    let (succeeded, error) = match result {
        Ok(outcome) if lines.is_empty() => {
            (false, Some(format!("no test result (exit status {})", outcome.status)))
        }
        Ok(outcome) => (outcome.status == 0, None),
        Err(error) => {
            let begun = begun.lock().unwrap_or_else(|e| e.into_inner()).take();
            let next = begun.map(|test| {
                format!("\nto run {test} alone: cargo xtask test --vm-only --kernel {kernel} {test}")
            });
            (false, Some(format!("{error:#}{}", next.unwrap_or_default())))
        }
    };
    if let Some(error) = &error {
        error.lines().for_each(|line| print(&format!("[{name}] error: {line}")));
    }
    Part {
        name: name.clone(),
        counts: results::judge(&lines, succeeded),
        seconds: started.elapsed().as_secs_f64(),
        error,
    }
}

/// Two pieces of memory that the kernel takes for persistent: `/dev/pmem0` and `/dev/pmem1` once `nd_pmem` and `nd_e820`
/// are loaded.
const PERSISTENT_MEMORY: &str = "memmap=32M!1G memmap=32M!1536M";

/// A VM that runs the matrix's tests.
pub fn spec(kernel: &str, programs: &Programs, filter: Option<&str>) -> Result<VmSpec> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut spec = VmSpec { timeout: LIMIT, silence: SILENCE, ..VmSpec::new(kernel) };
    spec.kernel_args = PERSISTENT_MEMORY.into();
    spec.command = vec![text(&programs.matrix), "--test-threads=1".into()];
    spec.command.extend(filter.map(String::from));
    let all = [&programs.tracer, &programs.matrix, &programs.workload];
    for program in all.into_iter().chain(programs.tools.iter().map(|(_, path)| path)) {
        vm::cli::reach(&mut spec, program.parent().unwrap_or(program));
    }
    spec.env = vm::cli::test_environment(kernel, &programs.tracer, &programs.workload)?;
    let mut set = |key: &str, value: String| spec.env.push((key.to_string(), value));
    if programs.everywhere {
        set("EVERYWHERE", "1".into());
    }
    if let Some(root) = &programs.root {
        set("PROGRAMS", "1".into());
        spec.programs = Some(root.clone());
    }
    programs.tools.iter().for_each(|(variable, path)| set(variable, text(path)));
    Ok(spec)
}
