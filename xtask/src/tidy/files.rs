//! Files of the tree: how long they are, and whether those exist that are named in comments and documents.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Lines of a source file.
const LONGEST: usize = 400;

/// Words that look like files of the tree and are none, with what they are.
const EXCEPTIONS: &[(&str, &str)] = &[("web-configuration.md", "a document of Prometheus' exporter-toolkit")];

/// All files of the tree but what is built; also those that are not committed yet.
pub fn tracked(repo: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    walk(repo, "", &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        match entry.file_type()?.is_dir() {
            true if [".git", "target"].contains(&name.as_str()) => {}
            true => walk(&entry.path(), &format!("{path}/"), found)?,
            false => found.push(path),
        }
    }
    Ok(())
}

pub fn too_long(repo: &Path, tracked: &[String]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in tracked.iter().filter(|file| file.ends_with(".rs")) {
        let lines = read(repo, file)?.lines().count();
        if lines > LONGEST {
            found.push(format!("{file} has {lines} lines, {LONGEST} are the most"));
        }
    }
    Ok(found)
}

/// Rust files and documents that comments and documents name, and that are not there.
pub fn named_and_missing(repo: &Path, tracked: &[String]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in tracked {
        let is_comment: fn(&str) -> bool = match file.rsplit_once('.').map(|(_, end)| end) {
            Some("rs") => |line| line.trim_start().starts_with("//"),
            Some("toml" | "yml" | "sh") => |line| line.trim_start().starts_with('#'),
            Some("md") => |_| true,
            _ => continue,
        };
        let text = read(repo, file)?;
        let lines = text.lines().filter(|line| is_comment(line));
        let missing = lines.flat_map(named).filter(|name| !is_there(name, file, tracked));
        found.extend(missing.map(|name| format!("{file} names {name}, which is not there")));
    }
    Ok(found)
}

/// Words of a line that are names of Rust files or documents, with what stands in braces written out.
fn named(line: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-./{},".contains(c);
    let words = line.split(|c: char| !is_part(c)).map(|word| word.trim_matches(['.', ',']));
    let words = words.filter(|word| word.ends_with(".rs") || word.ends_with(".md"));
    // Neither a file of the machine's, nor an end of a name, nor a link out of the tree.
    let words = words.filter(|word| !word.starts_with(['/', '{']) && !word.contains("//"));
    words.filter(|word| !EXCEPTIONS.iter().any(|(known, _)| known == word)).flat_map(written_out).collect()
}

fn written_out(word: &str) -> Vec<String> {
    let parts = word.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    match parts {
        Some((before, (choices, after))) => {
            choices.split(',').map(|choice| format!("{before}{choice}{after}")).collect()
        }
        None => vec![word.to_owned()],
    }
}

/// True for a path from the top, from the file that names it, or the end of one.
fn is_there(name: &str, file: &str, tracked: &[String]) -> bool {
    let name = name.trim_start_matches("./");
    let mut folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let mut rest = name;
    while let Some(up) = rest.strip_prefix("../") {
        (rest, folder) = (up, folder.parent().unwrap_or(Path::new("")));
    }
    let beside = folder.join(rest);
    let end = format!("/{name}");
    tracked.iter().any(|known| known == name || Path::new(known) == beside || known.ends_with(&end))
}

fn read(repo: &Path, file: &str) -> Result<String> {
    fs::read_to_string(repo.join(file)).with_context(|| format!("cannot read {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_others_are_not() {
        assert_eq!(
            named("//! `text/{scan,size}.rs`, see [a](b/c.md)."),
            ["text/scan.rs", "text/size.rs", "b/c.md"]
        );
        assert!(named("/etc/x.md https://host/y.md lib/iov_iter.c and .md").is_empty());
    }

    #[test]
    fn a_file_is_named_from_the_top_from_beside_or_by_its_end() {
        let tracked = ["tracer/src/a/b.rs", "docs/x.md"].map(str::to_owned);
        for name in ["tracer/src/a/b.rs", "a/b.rs", "b.rs", "../../docs/x.md"] {
            assert!(is_there(name, "tracer/src/c.rs", &tracked) || name.starts_with(".."), "{name}");
        }
        assert!(is_there("../docs/x.md", "tests/y.md", &tracked));
        assert!(is_there("x.md", "docs/y.md", &tracked));
        assert!(!is_there("a/c.rs", "tracer/src/c.rs", &tracked));
        assert!(!is_there("src/x.md", "docs/y.md", &tracked));
    }
}
