//! `cargo xtask build`, and how the other commands build.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use crate::{paths, setup, sh};

/// Static, so that it runs on every kernel of the matrix and on any user's distribution. There is
/// no musl target in Debian's Rust; glibc's static-pie does.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the static release binary; the last line of stdout is its absolute path.
///
/// Installs the BPF tools first where they are missing (as `setup` does, without the kernels).
#[derive(clap::Args)]
pub struct Args {
    /// Without optimisation: quicker to build, and with checks for overflow
    #[arg(long)]
    debug: bool,
}

pub fn main(args: &Args) -> Result<u8> {
    setup::ensure_build()?;
    println!("{}", tracer(args.debug)?.display());
    Ok(0)
}

/// The static tracer. The BPF tools have to be there.
pub fn tracer(debug: bool) -> Result<PathBuf> {
    let profile: &[&str] = if debug { &[] } else { &["--release"] };
    build_tracer(&["build"], profile)
}

/// The same with the list of what it was built from in it, which `cargo audit bin` reads. cargo-auditable has to be
/// there.
pub fn auditable_tracer() -> Result<PathBuf> {
    build_tracer(&["auditable", "build"], &["--release"])
}

fn build_tracer(verb: &[&str], profile: &[&str]) -> Result<PathBuf> {
    sh::progress("building tracer");
    let arguments = [verb, &["-p", "tracer", "--bin", "tracer"], profile].concat();
    find(&cargo_static(&arguments, "build tracer")?, "bin", "tracer")
}

/// The static `workload` of the tests crate.
pub fn workload() -> Result<PathBuf> {
    sh::progress("building the workloads");
    let arguments = ["build", "--release", "-p", "tracer-tests", "--bin", "workload"];
    find(&cargo_static(&arguments, "build the workloads")?, "bin", "workload")
}

/// A static program of the tests crate, and the workload that it runs.
pub fn with_workload(name: &str) -> Result<(PathBuf, PathBuf)> {
    sh::progress("building the workloads");
    let arguments = ["build", "--release", "-p", "tracer-tests", "--bins"];
    let built = cargo_static(&arguments, "build the workloads")?;
    Ok((find(&built, "bin", name)?, find(&built, "bin", "workload")?))
}

/// The static matrix test and its workload.
pub fn matrix() -> Result<(PathBuf, PathBuf)> {
    // With all other programs, which are wanted while the VMs run.
    let (workload, _) = with_workload("workload")?;
    sh::progress("building the matrix tests");
    let arguments = ["test", "--release", "-p", "tracer-tests", "--test", "matrix", "--no-run"];
    let built = cargo_static(&arguments, "build the matrix tests")?;
    Ok((find(&built, "test", "matrix")?, workload))
}

/// One line of cargo's JSON.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Runs cargo for static binaries; its messages go to stderr, its artifacts come back.
fn cargo_static(arguments: &[&str], purpose: &str) -> Result<Vec<Message>> {
    let mut command = cargo()?;
    command.args(arguments).args(["--target", TARGET]);
    command.arg("--message-format=json-render-diagnostics");
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    command.env("RUSTFLAGS", format!("{flags} -C target-feature=+crt-static").trim());
    // It would have precedence over RUSTFLAGS.
    command.env_remove("CARGO_ENCODED_RUSTFLAGS");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot {purpose}: cannot start {}", sh::show(&command)))?;
    if !output.status.success() {
        bail!("cannot {purpose}: `{}` failed ({}), see above", sh::show(&command), output.status);
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(text: &str) -> Vec<Message> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn find(messages: &[Message], kind: &str, name: &str) -> Result<PathBuf> {
    messages
        .iter()
        .filter(|message| message.reason == "compiler-artifact")
        .find(|message| {
            message.target.as_ref().is_some_and(|t| t.name == name && t.kind.iter().any(|k| k == kind))
        })
        .and_then(|message| message.executable.clone())
        .ok_or_else(|| anyhow!("cargo built no {kind} named {name}; is it still in the workspace?"))
}

/// cargo in the workspace, with our tools on PATH (tracer's build script needs bpf-linker).
pub fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(paths::repo()).env("PATH", paths::path_with_tools()?);
    Ok(command)
}

/// The last built static tracer, if any; builds nothing.
pub fn built_tracer() -> Option<PathBuf> {
    let mut command = cargo().ok()?;
    command.args(["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let text = sh::capture(&mut command, "find the target directory").ok()?;
    let metadata: serde_json::Value = serde_json::from_str(&text).ok()?;
    let target = metadata.get("target_directory")?.as_str()?;
    let tracer = Path::new(target).join(TARGET).join("release/tracer");
    sh::is_executable(&tracer).then_some(tracer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_by_kind_and_name() {
        let text = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"matrix","kind":["lib"]},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"matrix","kind":["test"]},"executable":"/t/matrix-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let messages = parse(text);
        assert_eq!(find(&messages, "test", "matrix").unwrap(), PathBuf::from("/t/matrix-1"));
        assert!(find(&messages, "bin", "tracer").unwrap_err().to_string().contains("tracer"));
    }
}
