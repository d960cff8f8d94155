//! Running other programs: what it is for is part of every error.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// One line of progress on stderr.
pub fn progress(message: &str) {
    // Not eprintln!: a closed stderr must not end the work.
    let _ = writeln!(io::stderr(), "xtask: {message}");
}

/// Runs it with its output on our stderr (stdout is kept for results).
pub fn run(command: &mut Command, purpose: &str) -> Result<()> {
    let stderr = io::stderr().as_fd().try_clone_to_owned().context("cannot duplicate stderr")?;
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::from(stderr))
        .status()
        .with_context(|| format!("cannot {purpose}: cannot start {}", show(command)))?;
    if !status.success() {
        bail!("cannot {purpose}: `{}` failed ({status}), see above", show(command));
    }
    Ok(())
}

/// Runs it silently; when it fails, what it said is in the error.
pub fn capture(command: &mut Command, purpose: &str) -> Result<String> {
    let output = output(command, purpose)?;
    if !output.status.success() {
        bail!(
            "cannot {purpose}: `{}` failed ({}):\n{}",
            show(command),
            output.status,
            tail(&String::from_utf8_lossy(&output.stderr), 15)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it silently, whatever its status.
pub fn output(command: &mut Command, purpose: &str) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot {purpose}: cannot start {}", show(command)))
}

/// UTC, as 2026-01-31.
pub fn today() -> Result<String> {
    let text = capture(Command::new("date").args(["-u", "+%Y-%m-%d"]), "know the date")?;
    Ok(text.trim().into())
}

pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The first executable of that name on PATH.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Ordinary users of Debian have no sbin in PATH; depmod lives there.
    let extra = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(extra).map(|dir| dir.join(name)).find(|p| is_executable(p))
}

pub fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The program with its arguments, shortened: errors are read by people.
pub fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let text = words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

/// One word for a POSIX shell.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_quotes() {
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's $1"), r"'it'\''s $1'");
    }

    #[test]
    fn tail_keeps_the_end() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }

    #[test]
    fn errors_name_purpose_and_output() {
        let error =
            capture(Command::new("sh").args(["-c", "echo no >&2; exit 3"]), "do it").unwrap_err().to_string();
        assert!(error.contains("cannot do it") && error.ends_with("no"), "{error}");
    }
}
