//! `cargo xtask vm`.

use std::borrow::Cow;
use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Mount, Stream, VmSpec, run};
use crate::kernels::Matrix;
use crate::{build, paths, programs, sh};

/// Runs CMD as root in a VM, and exits with its status; 125 when the VM itself failed.
///
/// In the VM: the host's root file system (what is written to it is lost at the end; host files
/// below /tmp, /run and /dev are under /host), an empty /tmp in memory, the kernel's modules for
/// modprobe, loopback, tracer (if it has been built) and promtool on PATH.
/// CMD's stdout and stderr come out separately; they are pipes, stdin is empty. With virtio_blk, virtio_net and
/// vmxnet3 loaded there are two empty disks, /dev/vda and /dev/vdb, and two network devices, behind which is nothing but an
/// echo and a discard service.
///
/// KVM is used where it works (found out once per boot of the host); TRACER_KVM=0|1 decides.
#[derive(clap::Args)]
pub struct Args {
    /// A kernel of tests/kernels.toml
    kernel: Option<String>,
    /// Boot this kernel image instead (a vmlinuz, whose modules are in lib/modules beside it or on this machine)
    #[arg(long, value_name = "FILE", conflicts_with = "kernel")]
    image: Option<PathBuf>,
    /// Share this directory read-write, at its own path and as /share, where CMD is started
    #[arg(long, value_name = "DIR")]
    share: Option<PathBuf>,
    /// Lay the programs of tests/programs.toml over the host's root (fetched first if they are missing)
    #[arg(long)]
    programs: bool,
    /// 2 unless given; with --counted 1, and room for so many
    #[arg(long)]
    cpus: Option<u32>,
    #[arg(long, default_value = "2G")]
    memory: String,
    /// Kill the VM after so many seconds, boot included
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// More kernel arguments, such as `lockdown=integrity`
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Set a variable in CMD's environment (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Count instructions: one CPU is online, on which a nanosecond is an instruction, the same from boot to boot
    #[arg(long)]
    counted: bool,
    /// No progress messages
    #[arg(long)]
    quiet: bool,
    /// What to run
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

pub fn main(args: Args) -> Result<u8> {
    let kernel = match (&args.image, args.kernel) {
        (Some(image), _) => image.display().to_string(),
        (None, Some(kernel)) => kernel,
        (None, None) => Matrix::load()?.default,
    };
    let mut spec = VmSpec {
        image: args.image,
        command: args.command,
        cpus: args.cpus.unwrap_or(if args.counted { 1 } else { 2 }),
        memory: args.memory,
        kernel_args: args.append,
        counted: args.counted,
        timeout: Duration::from_secs(args.timeout),
        ..VmSpec::new(&kernel)
    };
    if args.programs {
        spec.programs = Some(programs::ensure()?.root());
    }
    let mut path_dirs = vec![paths::tools_bin()?];
    if let Some(tracer) = build::built_tracer() {
        let dir = tracer.parent().unwrap_or(&tracer).to_path_buf();
        path_dirs.insert(0, dir.clone());
        reach(&mut spec, &dir);
    }
    reach(&mut spec, &paths::tools_bin()?);
    if let Some(share) = &args.share {
        let host = share
            .canonicalize()
            .with_context(|| format!("cannot share {}: is it a directory?", share.display()))?;
        if !host.is_dir() {
            bail!("cannot share {}: it is not a directory", host.display());
        }
        spec.mounts.push(Mount { host: host.clone(), guest: host.clone(), writable: true });
        spec.mounts.push(Mount { host, guest: "/share".into(), writable: true });
        spec.cwd = Some("/share".into());
    }
    spec.env = environment(&path_dirs)?;
    for pair in &args.env {
        let (key, value) = pair.split_once('=').with_context(|| format!("--env {pair}: no `=`"))?;
        spec.env.push((key.to_string(), value.to_string()));
    }
    if !args.quiet {
        sh::progress(&format!("booting {kernel}"));
    }
    let outcome = run(&spec, &|stream, bytes| {
        // A reader that went away (`| head`) is no reason to stop the command.
        let _ = match stream {
            Stream::Out => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Stream::Err => io::stderr().write_all(bytes),
        };
    })?;
    if !args.quiet {
        sh::progress(&format!("{kernel} booted in {:.1} s", outcome.boot.as_secs_f64()));
    }
    Ok(outcome.status)
}

/// Makes a directory of the host available at its own path, also below what the VM hides.
pub fn reach(spec: &mut VmSpec, dir: &Path) {
    const HIDDEN: [&str; 3] = ["/tmp", "/run", "/dev"];
    let known = spec.mounts.iter().any(|mount| mount.guest == dir);
    if !known && dir.is_dir() && HIDDEN.iter().any(|hidden| dir.starts_with(hidden)) {
        let (host, guest) = (dir.to_path_buf(), dir.to_path_buf());
        spec.mounts.push(Mount { host, guest, writable: false });
    }
}

/// What programs of the tests crate look for in a VM of `kernel`.
pub fn test_environment(kernel: &str, tracer: &Path, workload: &Path) -> Result<Vec<(String, String)>> {
    let mut variables = environment(&[paths::tools_bin()?])?;
    let mut set = |key: &str, value: Cow<str>| variables.push((key.to_string(), value.into_owned()));
    set("TRACER", tracer.to_string_lossy());
    set("WORKLOAD", workload.to_string_lossy());
    set("KERNEL", kernel.into());
    Ok(variables)
}

/// PATH as on the host, with ours first; nothing else of the host's environment.
pub fn environment(path_dirs: &[PathBuf]) -> Result<Vec<(String, String)>> {
    let host = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let dirs = path_dirs.iter().cloned().chain(env::split_paths(&host)).chain(system.map(Into::into));
    let mut unique: Vec<PathBuf> = Vec::new();
    for dir in dirs {
        if !dir.as_os_str().is_empty() && !unique.contains(&dir) {
            unique.push(dir);
        }
    }
    let path = env::join_paths(unique).context("PATH cannot be joined")?;
    let pair = |key: &str, value: &str| (key.to_string(), value.to_string());
    Ok(vec![
        pair("PATH", &path.to_string_lossy()),
        pair("HOME", "/root"),
        pair("USER", "root"),
        pair("LOGNAME", "root"),
        pair("SHELL", "/bin/sh"),
        pair("LANG", "C.UTF-8"),
        pair("TMPDIR", "/tmp"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hidden_directories_are_mounted() {
        let mut spec = VmSpec::new("6.1");
        reach(&mut spec, Path::new("/usr"));
        assert!(spec.mounts.is_empty());
        reach(&mut spec, Path::new("/tmp"));
        reach(&mut spec, Path::new("/tmp"));
        assert_eq!(spec.mounts.len(), 1);
    }

    #[test]
    fn own_tools_come_first_on_path() {
        let env = environment(&["/a".into(), "/usr/bin".into()]).unwrap();
        let path = &env[0].1;
        assert!(path.starts_with("/a:/usr/bin:") && path.matches("/usr/bin:").count() <= 2, "{path}");
    }
}
