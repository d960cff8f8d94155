//! What this machine is, and what apt has to install on it.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::sh;

/// A Debian package (Debian 12 with its security suite has all), what it is for, and how another
/// system shows that it has the equivalent: a program on PATH.
struct Package {
    name: &'static str,
    purpose: &'static str,
    program: &'static str,
    need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Need {
    Build,
    Vm,
    /// The package in a VM, as a service.
    Service,
}

const fn package(name: &'static str, purpose: &'static str, program: &'static str, need: Need) -> Package {
    Package { name, purpose, program, need }
}

const PACKAGES: &[Package] = &[
    package("rustc-web", "compiles the BPF programs", "bpf-linker", Need::Build),
    package("cargo-web", "compiles the BPF programs", "bpf-linker", Need::Build),
    package("libstd-rust-web-dev-bpf", "`core` for BPF", "bpf-linker", Need::Build),
    package("gcc", "links Rust programs", "cc", Need::Build),
    package("libc6-dev", "links static programs", "cc", Need::Build),
    package("qemu-system-x86", "boots the kernels of the matrix", "qemu-system-x86_64", Need::Vm),
    package("busybox-static", "is the VM's first process", "busybox", Need::Vm),
    package("kmod", "depmod, modprobe", "depmod", Need::Vm),
    package("iproute2", "brings network devices up in the VM", "ip", Need::Vm),
    package("ethtool", "switches offloads of network devices in the VM", "ethtool", Need::Vm),
    package("xz-utils", "unpacks kernel modules", "xz", Need::Vm),
    package("systemd", "runs the package's service in the VM", "systemctl", Need::Service),
    package("curl", "reads its pages", "curl", Need::Service),
    package("openssl", "makes its certificate", "openssl", Need::Service),
];

/// One field of /etc/os-release.
fn os_release(field: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    parse_os_release(&text, field)
}

fn parse_os_release(text: &str, field: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(field)?.strip_prefix('=')?;
        Some(value.trim().trim_matches(['"', '\'']).to_string())
    })
}

/// The suite of this machine; Debian 12's where it is no Debian.
pub fn codename() -> String {
    let own = if is_debian() { os_release("VERSION_CODENAME") } else { None };
    own.unwrap_or_else(|| "bookworm".into())
}

fn is_debian() -> bool {
    os_release("ID").as_deref() == Some("debian")
}

pub fn is_debian_12() -> bool {
    is_debian() && os_release("VERSION_ID").as_deref() == Some("12")
}

/// The machine's apt sources, by name and text. Unreadable ones are as if they were not there.
pub fn source_files() -> Vec<(String, String)> {
    // Ubuntu's mirror has no Debian suites.
    if !is_debian() {
        return Vec::new();
    }
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
    let mut paths: Vec<_> = parts.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.push("/etc/apt/sources.list".into());
    paths.sort();
    paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "list" || e == "sources"))
        .filter_map(|path| Some((path.to_string_lossy().into_owned(), fs::read_to_string(&path).ok()?)))
        .collect()
}

/// Installs what is missing; where that is not possible, says exactly what to install.
pub fn install_missing(needs: &[Need]) -> Result<()> {
    let missing = missing_packages(needs);
    if missing.is_empty() {
        return Ok(());
    }
    if !is_debian_12() {
        bail!("{}", elsewhere(&missing));
    }
    let Some(mut as_root) = as_root() else {
        bail!(
            "these Debian packages are missing and this user is neither root nor has sudo without \
             a password; run\n  sudo apt-get update && sudo apt-get install -y --no-install-recommends {}\n\
             and then `cargo xtask setup` again",
            missing.join(" ")
        );
    };
    sh::progress(&format!("apt-get install {}", missing.join(" ")));
    let script = "apt-get -qq update && apt-get -qq install -y --no-install-recommends \"$@\"";
    as_root.args(["env", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", script, "sh"]).args(&missing);
    sh::run(&mut as_root, "install Debian packages")
}

pub fn missing_packages(needs: &[Need]) -> Vec<&'static str> {
    let wanted = PACKAGES.iter().filter(|package| needs.contains(&package.need));
    if !is_debian_12() {
        let there = |program| crate::paths::tools_bin().is_ok_and(|dir| dir.join(program).is_file());
        return wanted
            .filter(|package| sh::which(package.program).is_none() && !there(package.program))
            .map(|package| package.name)
            .collect();
    }
    let mut command = Command::new("dpkg-query");
    command.args(["-W", "-f=${Package} ${db:Status-Status}\\n"]);
    command.args(PACKAGES.iter().map(|package| package.name));
    // It exits 1 when one is unknown, and still lists the others.
    let text = sh::output(&mut command, "list installed packages")
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    wanted
        .map(|package| package.name)
        .filter(|name| !text.lines().any(|line| line == format!("{name} installed")))
        .collect()
}

/// A command prefix that runs the rest as root without asking, if there is one.
fn as_root() -> Option<Command> {
    if rustix::process::geteuid().is_root() {
        return Some(Command::new("/usr/bin/env"));
    }
    let allowed = sh::output(Command::new("sudo").args(["-n", "true"]), "use sudo");
    if !allowed.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let mut command = Command::new("sudo");
    command.arg("-n");
    Some(command)
}

/// For another system: the same things by their purpose.
fn elsewhere(missing: &[&str]) -> String {
    let needs: String = PACKAGES
        .iter()
        .filter(|package| missing.contains(&package.name))
        .map(|package| format!("\n  {:<26} {}", package.name, package.purpose))
        .collect();
    format!(
        "this is {} and not Debian 12, so nothing was installed. Missing, by their Debian names:{needs}\n\
         Install the equivalents by hand. Where there is no prebuilt `core` for BPF:\n  \
         rustup toolchain install nightly --component rust-src && cargo install bpf-linker\n\
         QEMU, a static busybox, kmod and xz have packages everywhere (Fedora: dnf install \
         qemu-system-x86-core busybox kmod xz).",
        os_release("PRETTY_NAME").unwrap_or_else(|| "an unknown system".into())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_fields() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nVERSION=\"12 x\"\nID=debian\n";
        assert_eq!(parse_os_release(text, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(parse_os_release(text, "ID").as_deref(), Some("debian"));
        assert_eq!(parse_os_release(text, "VERSION_CODENAME"), None);
    }

    #[test]
    fn elsewhere_names_only_what_is_missing() {
        let text = elsewhere(&["kmod"]);
        assert!(text.contains("kmod") && !text.contains("busybox-static"), "{text}");
    }
}
