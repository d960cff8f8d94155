//! Subjects of commits since the last release; before the first, since this check exists.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::sh;

/// Characters of a subject.
const LONGEST: usize = 72;

/// Where there is no history (an unpacked archive), or no git to read it, there is nothing to look at.
pub fn too_long(repo: &Path) -> Result<Vec<String>> {
    if !repo.join(".git").exists() || sh::which("git").is_none() {
        return Ok(Vec::new());
    }
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        sh::capture(
            command.args(["-c", "safe.directory=*"]).args(arguments).current_dir(repo),
            "read the history",
        )
    };
    let tags = git(&["tag", "--merged", "HEAD", "--sort=-creatordate"])?;
    let first = git(&["log", "--diff-filter=A", "--format=%h", "--", "xtask/src/tidy/subjects.rs"])?;
    let Some(since) = tags.lines().chain(first.lines()).next() else { return Ok(Vec::new()) };
    let since = format!("{since}..HEAD");
    Ok(git(&["log", "--no-merges", "--format=%h %s", &since])?.lines().filter_map(problem).collect())
}

fn problem(line: &str) -> Option<String> {
    let (commit, subject) = line.split_once(' ')?;
    let length = subject.chars().count();
    (length > LONGEST)
        .then(|| format!("commit {commit}: its subject has {length} characters, {LONGEST} are the most"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_of_72_characters_is_none_too_many() {
        assert_eq!(problem(&format!("abc {}", "x".repeat(72))), None);
        assert!(problem(&format!("abc {}", "x".repeat(73))).is_some());
    }
}
