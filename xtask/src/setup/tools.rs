//! Tools that Debian does not have in the form we need: bpf-linker built against the LLVM of the
//! BPF compiler, Prometheus without its service, the rustup name of the BPF compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::{apt::Apt, debian};
use crate::{kernels, paths, sh};

const BPF_LINKER: &str = "0.13.0";
/// Debian's rustc-web; a path, because rustup's rustc comes first on PATH.
const RUSTC: &str = "/usr/bin/rustc";

/// The rustup link and bpf-linker. `verbose`: also say what is there already.
pub fn build_tools(verbose: bool) -> Result<()> {
    if !debian::is_debian_12() {
        // Elsewhere build.rs works with what the user installed, or says what it misses.
        return Ok(());
    }
    link_toolchain(verbose)?;
    bpf_linker(verbose)
}

/// aya-build goes through `rustup run NAME` when there is a rustup, so /usr needs a name there.
fn link_toolchain(verbose: bool) -> Result<()> {
    if sh::which("rustup").is_none() {
        return Ok(());
    }
    let list = sh::capture(Command::new("rustup").args(["toolchain", "list"]), "list toolchains")?;
    if list.lines().any(|line| line.split_whitespace().next() == Some("distro")) {
        if verbose {
            sh::progress("rustup toolchain distro: there");
        }
        return Ok(());
    }
    sh::progress("rustup toolchain link distro /usr");
    let mut command = Command::new("rustup");
    command.args(["toolchain", "link", "distro", "/usr"]);
    sh::capture(&mut command, "give Debian's Rust a rustup name").map(drop)
}

fn bpf_linker(verbose: bool) -> Result<()> {
    let tools = paths::cache()?.join("tools");
    let version = sh::capture(Command::new(RUSTC).arg("-vV"), "ask the BPF compiler's version")?;
    let major =
        llvm_major(&version).ok_or_else(|| anyhow!("`{RUSTC} -vV` names no LLVM version:\n{version}"))?;
    // bpf-linker reads the compiler's bitcode: another LLVM means another build.
    let want = format!("bpf-linker {BPF_LINKER} llvm {major}\n");
    let stamp = tools.join("bpf-linker.stamp");
    let ready = |stamp: &Path| {
        fs::read_to_string(stamp).is_ok_and(|have| have == want)
            && sh::is_executable(&tools.join("bin/bpf-linker"))
    };
    if !ready(&stamp) {
        let _lock = paths::lock("bpf-linker")?;
        if !ready(&stamp) {
            sh::progress(&format!("building bpf-linker {BPF_LINKER} with LLVM {major} (1 to 2 minutes)"));
            install_bpf_linker(&tools, major)?;
            fs::write(&stamp, &want).with_context(|| format!("cannot write {}", stamp.display()))?;
        }
    } else if verbose {
        sh::progress(&format!("bpf-linker {BPF_LINKER} with LLVM {major}: there"));
    }
    Ok(())
}

fn install_bpf_linker(tools: &Path, major: u32) -> Result<()> {
    let ldd = sh::capture(Command::new("ldd").arg(RUSTC), "find the BPF compiler's LLVM")?;
    let library = llvm_library(&ldd)
        .ok_or_else(|| anyhow!("{RUSTC} does not use a shared libLLVM; is rustc-web installed?"))?;
    // Debian's llvm-22-dev would be 500 MB; its shared library alone is enough, under the name
    // that the linker looks for. The folder stays: it is the binary's run path.
    let prefix = tools.join("llvm");
    paths::create(&prefix.join("lib"))?;
    let link = prefix.join("lib/libLLVM.so");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(&library, &link)
        .with_context(|| format!("cannot link {} to {}", link.display(), library.display()))?;
    let features = format!("llvm-{major}");
    let arguments = ["--force", "--no-default-features", "--features", &features];
    cargo_install("bpf-linker", BPF_LINKER, &arguments, tools, &[("LLVM_PREFIX", &prefix)])
}

/// A tool of this version into `tools`.
fn cargo_install(
    name: &str,
    version: &str,
    arguments: &[&str],
    tools: &Path,
    variables: &[(&str, &Path)],
) -> Result<()> {
    let target = paths::TempDir::new_in(tools, "build-")?;
    let mut command = Command::new("cargo");
    command
        .args(["install", name, "--version", version, "--locked", "--quiet"])
        .args(arguments)
        .arg("--root")
        .arg(tools)
        .envs(variables.iter().copied())
        .env("CARGO_TARGET_DIR", target.path())
        .current_dir(tools);
    // What belongs to the build of the workspace is not meant for this one.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(name);
    }
    sh::capture(&mut command, &format!("build {name}")).map(drop)
}

/// A tool that cargo builds as it is.
pub struct Tool {
    name: &'static str,
    version: &'static str,
    /// On two CPUs.
    takes: &'static str,
}

pub const CARGO_DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0", takes: "2 to 4 minutes" };
pub const CARGO_AUDITABLE: Tool = Tool { name: "cargo-auditable", version: "0.7.7", takes: "a minute" };
pub const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", takes: "3 to 5 minutes" };

/// Into the cache; another version on PATH is not taken.
pub fn from_registry(tool: &Tool) -> Result<()> {
    let Tool { name, version, takes } = tool;
    let tools = paths::cache()?.join("tools");
    let stamp = tools.join(format!("{name}.stamp"));
    let ready = || {
        fs::read_to_string(&stamp).is_ok_and(|have| have == *version)
            && sh::is_executable(&tools.join("bin").join(name))
    };
    if ready() {
        return Ok(());
    }
    paths::create(&tools)?;
    let _lock = paths::lock(name)?;
    if !ready() {
        sh::progress(&format!("building {name} {version} ({takes})"));
        cargo_install(name, version, &["--force"], &tools, &[])?;
        fs::write(&stamp, version).with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(())
}

fn llvm_major(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version:"))?;
    line.trim().split('.').next()?.parse().ok()
}

fn llvm_library(ldd: &str) -> Option<PathBuf> {
    ldd.lines().find_map(|line| {
        let (name, rest) = line.trim().split_once(" => ")?;
        let path = rest.split(" (").next()?.trim();
        (name.starts_with("libLLVM") && path.starts_with('/')).then(|| PathBuf::from(path))
    })
}

/// Prometheus's own programs.
pub const PROMETHEUS: [&str; 2] = ["promtool", "prometheus"];

/// promtool checks what we serve, prometheus scrapes it. Debian's package would start a service.
pub fn prometheus() -> Result<()> {
    let codename = debian::codename();
    let suites = [codename.clone(), format!("{codename}-security")];
    let wanted = FromDebian { package: "prometheus", programs: &PROMETHEUS.map(|name| (name, name)) };
    from_debian("prometheus", &suites, &[wanted], |name| find(name).is_ok_and(|found| found.is_some()))
}

/// Programs of a Debian package, each with its name there and its name here.
pub struct FromDebian<'a> {
    pub package: &'a str,
    pub programs: &'a [(&'a str, &'a str)],
}

/// Fetches those of `wanted` that are not there into the cache; nothing is installed. `lock` tells this fetching from
/// others.
pub fn from_debian(
    lock: &str,
    suites: &[String],
    wanted: &[FromDebian],
    is_there: impl Fn(&str) -> bool,
) -> Result<()> {
    let bin = paths::tools_bin()?;
    let lacks = |one: &&FromDebian| one.programs.iter().any(|(_, name)| !is_there(name));
    let missing = || wanted.iter().filter(lacks).collect::<Vec<_>>();
    if missing().is_empty() {
        return Ok(());
    }
    let _lock = paths::lock(lock)?;
    // Another process may have fetched them meanwhile.
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    paths::create(&bin)?;
    let apt = Apt::new(lock, suites)?;
    apt.update()?;
    for FromDebian { package, programs } in missing {
        sh::progress(&format!("fetching Debian's {package}"));
        let version = apt.show(package)?.version;
        let temp = paths::TempDir::new_in(&paths::cache()?.join("tools"), "fetch-")?;
        let deb = apt.download(package, &version, temp.path())?;
        kernels::fetch::unpack(&deb, temp.path())?;
        for (program, name) in programs.iter().filter(|(_, name)| !is_there(name)) {
            let unpacked = temp.path().join("usr/bin").join(program);
            if !unpacked.is_file() {
                bail!("Debian's {package} {version} holds no usr/bin/{program}");
            }
            fs::rename(&unpacked, bin.join(name))
                .with_context(|| format!("cannot move {name} to {}", bin.display()))?;
        }
    }
    Ok(())
}

/// One of [`PROMETHEUS`], where it is.
pub fn find(name: &str) -> Result<Option<PathBuf>> {
    let own = paths::tools_bin()?.join(name);
    Ok(if sh::is_executable(&own) { Some(own) } else { sh::which(name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_of_the_compiler() {
        let text = "rustc 1.96.0 (built from a source tarball)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(llvm_major(text), Some(22));
        assert_eq!(llvm_major("rustc 1.0"), None);
        let ldd = "\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\
            \tlibLLVM.so.22.1 => /lib/x86_64-linux-gnu/libLLVM.so.22.1 (0x00007f)\n";
        assert_eq!(llvm_library(ldd), Some("/lib/x86_64-linux-gnu/libLLVM.so.22.1".into()));
        assert_eq!(llvm_library("\tlibLLVM.so.22.1 => not found\n"), None);
    }
}
