//! `cargo xtask bench`: what tracer costs, in instructions, on every kernel.

mod document;
mod guard;
mod measured;
mod tables;
mod targets;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::kernels::Matrix;
use crate::programs::{self, Wanted};
use crate::vm::{self, Mount, VmSpec};
use crate::{build, paths, setup, sh};
pub use guard::Accepted;
use measured::Measured;

/// Counts the instructions that operations take untraced, with tracer, and with its peers (bpftrace, perf trace,
/// strace: the newest of Debian), and writes docs/overhead.md.
///
/// Three VMs per kernel, one after the other, some minutes each: operations, many processes, two CPUs. Then, as root
/// where `tracer --pid` runs on this machine, the same operations in time. The measured lines are kept in
/// target/overhead.jsonl, from which `--measured target/overhead.jsonl --no-vm` writes again without measuring.
#[derive(clap::Args)]
pub struct Args {
    /// Only these kernels of tests/kernels.toml (repeatable, or separated by commas)
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    kernel: Vec<String>,
    /// Fewer rounds, no peers, one process; prints the figures, and writes no document
    #[arg(long, conflicts_with = "only")]
    short: bool,
    /// The short form on the default kernel, some times; writes the highest figures into tests/overhead.toml, by which
    /// `cargo xtask test` judges
    #[arg(long, conflicts_with_all = ["kernel", "short", "only", "measured", "no_vm"])]
    accept: bool,
    /// Only these parts; prints the figures, and writes no document
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Lines measured before, in the same form (repeatable)
    #[arg(long, value_name = "FILE")]
    measured: Vec<PathBuf>,
    /// Measure nothing: only what --measured has
    #[arg(long, requires = "measured")]
    no_vm: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Part {
    /// Instructions per operation, attach and detach, memory
    Operations,
    /// An event, a scrape and memory beside up to 10,000 processes
    Fleet,
    /// Fewer rounds of operations, with room for a second CPU
    Cpus,
    /// Operations in time, on this machine
    Wall,
}

const ALL: [Part; 4] = [Part::Operations, Part::Fleet, Part::Cpus, Part::Wall];

/// The limit is for what hangs.
const LIMIT: Duration = Duration::from_secs(40 * 60);
/// Where the VM has the peers.
const PEERS: &str = "/peers";

/// How often `--accept` measures.
const ACCEPTED_BOOTS: usize = 12;

pub fn main(args: &Args) -> Result<u8> {
    if args.accept {
        let mut accepted = measure_guarded()?;
        // A connection's figures depend on the boot: on 6.1 those of a sendfile by 8%.
        for _ in 1..ACCEPTED_BOOTS {
            accepted.merge(measure_guarded()?, i64::max);
        }
        println!("{}", accepted.save()?.display());
        return Ok(0);
    }
    let mut measured = Measured::default();
    for path in &args.measured {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        measured.add(&text).with_context(|| format!("in {}", path.display()))?;
    }
    if !args.no_vm {
        measured.add(&measure_all(args)?)?;
    }
    let text = document::write(&measured, &sh::today()?);
    if args.short || !args.only.is_empty() {
        print!("{text}");
        return Ok(0);
    }
    let path = paths::repo().join("docs/overhead.md");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(0)
}

/// What a tracer's end may take, in time that instructions count: the detaching goes on without it.
const END: Duration = Duration::from_secs(1);

/// What `tests/overhead.toml` has, as it is now.
pub fn measure_guarded() -> Result<Accepted> {
    let kernel = Matrix::load()?.default;
    let built = Built::new()?;
    sh::progress(&format!("{kernel}: counting instructions"));
    let mut measured = Measured::default();
    measured.add(&built.in_vm(&kernel, 1, &["--short"], &|_| {})?)?;
    for held in measured.held(&kernel) {
        let took = Duration::from_nanos(held.ended_ns);
        ensure!(
            took < END,
            "{} took {took:?} of the guest's time to end, not less than {END:?}",
            held.observer
        );
    }
    Accepted::of(&measured, &kernel)
}

/// The lines of all kernels, kept in a file as they come.
fn measure_all(args: &Args) -> Result<String> {
    let kernels = Matrix::load()?.select(&args.kernel)?;
    let mut built = Built::new()?;
    let parts = if args.only.is_empty() { ALL.to_vec() } else { args.only.clone() };
    if !args.short && parts.contains(&Part::Operations) {
        built.peers = peers();
    }
    let target = paths::repo().join("target");
    paths::create(&target)?;
    let kept = target.join("overhead.jsonl");
    let file = File::create(&kept).with_context(|| format!("cannot create {}", kept.display()))?;
    // A full disk is noticed by what is written at the end.
    let keep = |bytes: &[u8]| drop((&file).write_all(bytes));
    let mut text = String::new();
    for kernel in &kernels {
        let name = &kernel.name;
        let said = |what: &str| sh::progress(&format!("{name}: counting instructions{what}"));
        if args.short {
            said("");
            text += &built.in_vm(name, 1, &["--short"], &keep)?;
            continue;
        }
        for part in &parts {
            match part {
                Part::Operations => {
                    said("");
                    text += &built.in_vm(name, 1, &[], &keep)?;
                }
                Part::Fleet => {
                    said(" beside many processes");
                    text += &built.in_vm(name, 1, &["fleet"], &keep)?;
                }
                Part::Cpus => {
                    said(" with room for two CPUs");
                    text += &built.in_vm(name, 2, &["cpus", "2"], &keep)?;
                }
                Part::Wall => {}
            }
        }
    }
    if !args.short && parts.contains(&Part::Wall) {
        match built.on_the_host() {
            Ok(lines) => {
                keep(lines.as_bytes());
                text += &lines;
            }
            Err(error) => sh::progress(&format!("operations in time were not measured: {error:#}")),
        }
    }
    Ok(text)
}

/// The root with the peers; without them the document says that they are not there.
fn peers() -> Option<PathBuf> {
    match Wanted::peers().and_then(|wanted| programs::newest(&wanted)) {
        Ok(cached) => Some(cached.root()),
        Err(error) => {
            sh::progress(&format!("without peers: {error:#}"));
            None
        }
    }
}

struct Built {
    tracer: PathBuf,
    overhead: PathBuf,
    workload: PathBuf,
    peers: Option<PathBuf>,
}

impl Built {
    fn new() -> Result<Built> {
        setup::ensure_build()?;
        setup::ensure_vm()?;
        let tracer = build::tracer(false)?;
        let (overhead, workload) = build::with_workload("overhead")?;
        Ok(Built { tracer, overhead, workload, peers: None })
    }

    /// What `overhead` prints in a VM of this kernel.
    fn in_vm(
        &self,
        kernel: &str,
        cpus: u32,
        arguments: &[&str],
        keep: &(dyn Fn(&[u8]) + Sync),
    ) -> Result<String> {
        let mut spec = VmSpec { timeout: LIMIT, counted: true, cpus, ..VmSpec::new(kernel) };
        spec.memory = "4G".into();
        spec.command = vec![self.overhead.to_string_lossy().into_owned()];
        spec.command.extend(arguments.iter().map(|word| word.to_string()));
        for program in [&self.tracer, &self.workload, &self.overhead] {
            vm::cli::reach(&mut spec, program.parent().unwrap_or(program));
        }
        spec.env = vm::cli::test_environment(kernel, &self.tracer, &self.workload)?;
        if let Some(root) = &self.peers {
            spec.mounts.push(Mount { host: root.clone(), guest: PEERS.into(), writable: false });
            spec.env.push(("PEERS".into(), PEERS.into()));
        }
        vm::output_as_it_comes(&spec, "not everything was measured", keep)
    }

    /// What it prints here.
    fn on_the_host(&self) -> Result<String> {
        sh::progress("measuring operations in time, on this machine");
        let dir = paths::TempDir::new_in(&std::env::temp_dir(), "tracer-bench-")?;
        let mut command = Command::new(&self.overhead);
        command.arg("wall").arg(&self.tracer).arg(dir.path());
        sh::capture(&mut command, "measure in time")
    }
}
