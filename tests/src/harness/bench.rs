//! Where the matrix runs: the environment that `cargo xtask test` gives in a
//! VM, and the filesystems under test, mounted for the run.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::mounts::Mounts;
use super::process::{self, Truth};
use super::session::{Session, Started};
use super::tracer::Tracer;
use crate::expect::{KERNELS, Place};

pub struct Bench {
    pub tracer: PathBuf,
    pub workload: PathBuf,
    /// One of [`KERNELS`].
    pub kernel: String,
    pub promtool: Option<PathBuf>,
    pub prometheus: Option<PathBuf>,
    pub tmpfs: PathBuf,
    /// A mounted ext4, or why there is none.
    pub ext4: Result<PathBuf, String>,
    root: PathBuf,
    mounts: Mounts,
}

/// Why the matrix cannot run here; `None` if it can.
pub fn cause_not_to_run() -> Option<String> {
    match std::env::var_os("TRACER") {
        Some(_) => None,
        None => Some("TRACER is not set: `cargo xtask test` runs this in a VM of each kernel".into()),
    }
}

/// Why a test that takes an emulated CPU long, and is the same everywhere, is left out on a kernel that is none of those
/// chosen for it. `cargo xtask test --everywhere` leaves nothing out.
pub fn cause_to_leave_out(kernel: &str, chosen: &[&str]) -> Option<String> {
    let runs = chosen.contains(&kernel) || std::env::var_os("EVERYWHERE").is_some();
    (!runs).then(|| format!("slow: runs on {}, or with --everywhere", chosen.join(" and ")))
}

fn variable(name: &str) -> Result<OsString> {
    std::env::var_os(name).with_context(|| format!("{name} is not set"))
}

impl Bench {
    pub fn from_environment() -> Result<Self> {
        // SAFETY: takes no memory of ours.
        ensure!(unsafe { libc::geteuid() } == 0, "the matrix loads BPF programs: run it as root");
        let kernel = variable("KERNEL")?.into_string().ok().context("KERNEL is no text")?;
        ensure!(KERNELS.contains(&kernel.as_str()), "KERNEL={kernel} is none of {KERNELS:?}");
        bring_loopback_up()?;
        let root = std::env::temp_dir().join(format!("tracer-matrix-{}", std::process::id()));
        let tmpfs = root.join("tmpfs");
        fs::create_dir_all(&tmpfs)?;
        mount_tmpfs(&tmpfs)?;
        Ok(Bench {
            tracer: variable("TRACER")?.into(),
            workload: variable("WORKLOAD")?.into(),
            kernel,
            promtool: std::env::var_os("PROMTOOL").map(PathBuf::from),
            prometheus: std::env::var_os("PROMETHEUS").map(PathBuf::from),
            ext4: mount_ext4(&tmpfs, &root.join("ext4")).map_err(|error| format!("{error:#}")),
            tmpfs,
            root,
            mounts: Mounts::default(),
        })
    }

    /// 7.2 preempts tracing programs (PREEMPT_LAZY), and skips one that another task meets half-way on
    /// the same CPU (`recursion_misses`). What the tracer reports as lost there is no failure.
    pub fn preempts_programs(&self) -> bool {
        self.kernel == "7.2"
    }

    pub fn dir(&self, place: Place) -> Result<&Path, String> {
        match place {
            Place::Tmpfs => Ok(&self.tmpfs),
            Place::On(fs) => self.mounts.dir(&self.root, fs),
            Place::Ext4 | Place::Ext4Cold | Place::Across => {
                self.ext4.as_deref().map_err(|cause| format!("no ext4: {cause}"))
            }
        }
    }

    /// Starts a workload, ready for its first window.
    pub fn session(&self, name: &str, place: Place, bytes: usize) -> Result<Started> {
        let dir = match self.dir(place) {
            Ok(dir) => dir,
            Err(cause) => return Ok(Started::Skipped(cause)),
        };
        let mut arguments = sized(bytes, dir);
        match place {
            Place::Tmpfs | Place::Ext4 | Place::On(_) => {}
            Place::Ext4Cold => arguments.push("--cold".into()),
            Place::Across => arguments.extend(["--to".into(), self.tmpfs.display().to_string()]),
        }
        Session::start(&self.workload, name, &arguments)
    }

    /// As [`session`](Self::session), for workloads that every kernel has.
    pub fn ready(&self, name: &str, bytes: usize) -> Result<Session> {
        match self.session(name, Place::Tmpfs, bytes)? {
            Started::Ready(session) => Ok(session),
            Started::Skipped(cause) => bail!("{name} was skipped: {cause}"),
        }
    }

    /// As [`ready`](Self::ready), with the peer's receiving call begun before
    /// anything is attached.
    pub fn ready_in_flight(&self, name: &str, bytes: usize) -> Result<Session> {
        let mut arguments = sized(bytes, &self.tmpfs);
        arguments.push("--in-flight".into());
        match Session::start(&self.workload, name, &arguments)? {
            Started::Ready(session) => Ok(session),
            Started::Skipped(cause) => bail!("{name} was skipped: {cause}"),
        }
    }

    /// One window of a workload under the tracer, which watches both sides.
    pub fn observe(&self, name: &str, place: Place, extra: &[&str]) -> Result<Observed> {
        let mut session = match self.session(name, place, MIB)? {
            Started::Ready(session) => session,
            Started::Skipped(cause) => return Ok(Observed::Skipped(cause)),
        };
        let (worker, peer) = (session.pid, session.peer);
        let pids: Vec<u32> = [Some(worker), peer].into_iter().flatten().collect();
        let mut tracer = Tracer::start(&self.tracer, &watch(&pids, extra))?;
        tracer.wait_counting(&pids)?;
        let before = process::truth(worker)?;
        session.window()?;
        let truth = process::truth(worker)? - before;
        let outcome = tracer.stop()?;
        let books = session.finish()?;
        let total = outcome.total()?;
        Ok(Observed::Window(Window { total, books, worker, peer, truth }))
    }

    /// As [`observe`](Self::observe), for workloads that every kernel has.
    pub fn window(&self, name: &str, extra: &[&str]) -> Result<Window> {
        self.observe(name, Place::Tmpfs, extra)?.window(name)
    }
}

/// The bytes of a window, if nothing else is said.
pub const MIB: usize = 1 << 20;

fn sized(bytes: usize, dir: &Path) -> Vec<String> {
    let (bytes, dir) = (bytes.to_string(), dir.display().to_string());
    vec!["--bytes".into(), bytes, "--dir".into(), dir]
}

/// The arguments that watch `pids` and print JSON.
pub fn watch(pids: &[u32], extra: &[&str]) -> Vec<String> {
    let mut arguments: Vec<String> = extra.iter().map(|word| word.to_string()).collect();
    for pid in pids {
        arguments.extend(["--pid".into(), pid.to_string()]);
    }
    arguments.extend(["--format".into(), "json".into()]);
    arguments
}

pub enum Observed {
    Window(Window),
    Skipped(String),
}

impl Observed {
    /// Of a workload that every kernel has.
    pub fn window(self, name: &str) -> Result<Window> {
        match self {
            Observed::Window(window) => Ok(window),
            Observed::Skipped(cause) => bail!("{name} was skipped: {cause}"),
        }
    }
}

/// One window, seen by the tracer, by the workload, and by the kernel.
pub struct Window {
    pub total: Value,
    pub books: Value,
    pub worker: u32,
    pub peer: Option<u32>,
    pub truth: Truth,
}

fn bring_loopback_up() -> Result<()> {
    if std::net::UdpSocket::bind("127.0.0.1:0").and_then(|s| s.connect("127.0.0.1:9")).is_ok() {
        return Ok(());
    }
    run("ip", &["link", "set", "lo", "up"])
}

pub fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("{program} cannot be run"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
    Ok(())
}

fn mount_tmpfs(dir: &Path) -> Result<()> {
    let target = CString::new(dir.as_os_str().as_bytes())?;
    let (kind, options) = (c"tmpfs".as_ptr(), c"size=512m,huge=never".as_ptr());
    // SAFETY: all four are terminated strings.
    let ret = unsafe { libc::mount(kind, target.as_ptr(), kind, 0, options.cast()) };
    let error = std::io::Error::last_os_error();
    ensure!(ret == 0, "cannot mount a tmpfs at {}: {error}", dir.display());
    Ok(())
}

/// The VM's scratch disk.
pub const DISK: &str = "/dev/vda";

fn mount_ext4(tmpfs: &Path, dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let target = dir.display().to_string();
    for module in ["virtio_blk", "loop", "ext4"] {
        // Built in on some kernels: the mount below says what is missing.
        let _ = run("modprobe", &[module]);
    }
    if Path::new(DISK).exists() {
        run("mkfs.ext4", &["-q", "-F", DISK])?;
        run("mount", &[DISK, &target])?;
        return Ok(dir.into());
    }
    let image = tmpfs.join("ext4.img");
    fs::File::create(&image)?.set_len(256 << 20)?;
    let image = image.display().to_string();
    run("mkfs.ext4", &["-q", "-F", &image])?;
    run("mount", &["-o", "loop", &image, &target])?;
    Ok(dir.into())
}

impl Drop for Bench {
    fn drop(&mut self) {
        for dir in [self.ext4.as_ref().ok(), Some(&self.tmpfs)].into_iter().flatten() {
            if let Ok(target) = CString::new(dir.as_os_str().as_bytes()) {
                // SAFETY: a terminated string. Lazily: best effort at the end.
                unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
            }
        }
    }
}
