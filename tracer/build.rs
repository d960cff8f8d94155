//! Builds the BPF object and embeds it. Where the BPF tools are missing, the userspace half still
//! builds (an empty object is embedded, and the program says so when it is asked to count).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use object::build::elf;

const TARGET: &str = "bpfel-unknown-none";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    about_this_build();
    println!("cargo::rerun-if-env-changed=PATH");
    println!("cargo::rerun-if-env-changed=TRACER_REQUIRE_BPF");
    match missing() {
        None => build(&out),
        Some(what) => {
            // Two lines: what is missing, and the command to get it.
            println!(
                "cargo::warning={what} not found: building without the BPF programs, so this tracer cannot count"
            );
            println!("cargo::warning=to get it: cargo xtask setup && cargo xtask build");
            assert!(env::var_os("TRACER_REQUIRE_BPF").is_none(), "{what} not found: run `cargo xtask setup`");
            fs::write(out.join("tracer-bpf"), []).expect("OUT_DIR is writable");
        }
    }
}

/// For `tracer --version` and `tracer_build_info`: the target, and the compiler's version (`1.95.0`).
fn about_this_build() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output().map(|out| out.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&said).split_whitespace().nth(1).unwrap_or("unknown").to_owned();
    println!("cargo::rustc-env=TRACER_RUST_VERSION={version}");
    println!("cargo::rustc-env=TRACER_TARGET={}", env::var("TARGET").expect("cargo sets TARGET"));
}

/// The name of the first missing tool.
fn missing() -> Option<String> {
    let has = |program: &str, args: &[&str]| {
        Command::new(program).args(args).output().is_ok_and(|out| out.status.success())
    };
    if !has("bpf-linker", &["--version"]) {
        return Some("bpf-linker".into());
    }
    let core = match toolchain() {
        Toolchain::Distro => sysroot_has_core(&["rustup", "run", "distro", "rustc"]),
        Toolchain::Path => sysroot_has_core(&["/usr/bin/rustc"]),
        Toolchain::Nightly => has("rustup", &["run", "nightly", "rustc", "-vV"]),
    };
    (!core).then(|| format!("a Rust `core` library for {TARGET}"))
}

enum Toolchain {
    /// Debian's compiler, linked into rustup under this name by `cargo xtask setup`.
    Distro,
    /// No rustup: the compiler on PATH is Debian's.
    Path,
    /// Elsewhere: nightly with rust-src builds its own core.
    Nightly,
}

fn toolchain() -> Toolchain {
    match Command::new("rustup").args(["toolchain", "list"]).output() {
        Err(_) => Toolchain::Path,
        Ok(out) if String::from_utf8_lossy(&out.stdout).lines().any(|l| l.starts_with("distro")) => {
            Toolchain::Distro
        }
        Ok(_) => Toolchain::Nightly,
    }
}

fn sysroot_has_core(rustc: &[&str]) -> bool {
    let Some((program, args)) = rustc.split_first() else { return false };
    let out =
        Command::new(program).args(args).args(["--print", "target-libdir", "--target", TARGET]).output();
    let Ok(out) = out else { return false };
    let dir = PathBuf::from(String::from_utf8_lossy(&out.stdout).trim());
    fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("libcore-")))
    })
}

fn build(out: &Path) {
    // aya's BPF half uses unstable features of `core`, and our programs one line of BPF assembler; only
    // these two crates may, and only in the nested cargo.
    // Quiet: every line of the nested cargo, its progress too, would be shown as a warning.
    // SAFETY: a build script has one thread.
    unsafe {
        env::set_var("RUSTC_BOOTSTRAP", "aya_ebpf,tracer_bpf");
        env::set_var("CARGO_TERM_QUIET", "true");
    }
    let root =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo tells it")).join("../tracer-ebpf");
    let root = root.to_str().expect("the repository's path is UTF-8");
    let debug = env::var("PROFILE").as_deref() == Ok("debug");
    let features: &[&str] = if debug && env::var_os("CARGO_FEATURE_LOG").is_some() { &["log"] } else { &[] };
    let toolchain = match toolchain() {
        Toolchain::Nightly => aya_build::Toolchain::Nightly,
        Toolchain::Distro | Toolchain::Path => aya_build::Toolchain::Custom("distro"),
    };
    let package =
        aya_build::Package { name: "tracer-ebpf", root_dir: root, no_default_features: false, features };
    if let Err(error) = aya_build::build_ebpf([package], toolchain) {
        panic!("the BPF programs did not build: {error:#}");
    }
    strip(&out.join("tracer-bpf"));
}

/// Takes DWARF out of the object: the kernel reads BTF only, and DWARF is three quarters of the file.
fn strip(path: &Path) {
    let data = fs::read(path).expect("aya-build wrote the object");
    let mut elf = elf::Builder::read(data.as_slice()).expect("the object is ELF");
    for section in elf.sections.iter_mut() {
        let name = section.name.as_slice();
        section.delete |= name.starts_with(b".debug") || name.starts_with(b".rel.debug");
    }
    elf.delete_orphans();
    // LLVM keeps section names and symbol names in one table; the writer wants two.
    let names = elf.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = elf::SectionData::SectionString;
    let mut stripped = Vec::new();
    elf.write(&mut stripped).expect("the object can be written");
    fs::write(path, stripped).expect("OUT_DIR is writable");
}
