//! Files that are written at the end, and opened at the beginning: a path that cannot be written is found
//! before the run, not after it.

use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

pub struct Output {
    path: PathBuf,
    /// `None`: standard output.
    file: Option<File>,
    appends: bool,
}

impl Output {
    /// Opens a file, `-` for standard output. What is in it stays until [`write`](Self::write).
    /// `taken` are files that it must not be.
    pub fn open(path: &Path, taken: &mut Vec<PathBuf>) -> Result<Output> {
        let name = path.display();
        if path == Path::new("-") {
            return Ok(Output { path: path.into(), file: None, appends: false });
        }
        // A job's summary is made by several tools, one after the other.
        let appends =
            std::env::var_os("GITHUB_STEP_SUMMARY").is_some_and(|summary| path == Path::new(&summary));
        let same = |other: &PathBuf| match (fs::canonicalize(other), fs::canonicalize(path)) {
            (Ok(a), Ok(b)) => a == b,
            _ => other == path,
        };
        if taken.iter().any(same) {
            bail!("{name} is named twice on the command line: a report would overwrite it");
        }
        let mut options = File::options();
        options.create(true).write(true).append(appends).truncate(false);
        let file = options.open(path).with_context(|| {
            format!("cannot write {name}\n  does its directory exist, and may you write there?")
        })?;
        taken.push(path.into());
        Ok(Output { path: path.into(), file: Some(file), appends })
    }

    pub fn write(&mut self, content: &[u8]) -> Result<()> {
        let result = match &mut self.file {
            None => io::stdout().lock().write_all(content),
            Some(file) if self.appends => file.write_all(content),
            Some(file) => replace(file, content),
        };
        result.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn replace(file: &mut File, content: &[u8]) -> io::Result<()> {
    // A pipe or a device (`/dev/stderr`) has no length.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
        file.rewind()?;
    }
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_found_at_once() {
        let dir = std::env::temp_dir().join(format!("tracer-output-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let mut taken = vec![];
        assert!(Output::open(&dir.join("no/such/dir"), &mut taken).is_err());
        assert!(Output::open(&dir, &mut taken).is_err());
        let file = dir.join("report");
        fs::write(&file, "older and longer").expect("written");
        let mut output = Output::open(&file, &mut taken).expect("writable");
        assert_eq!(fs::read_to_string(&file).expect("read"), "older and longer");
        output.write(b"new").expect("written");
        assert_eq!(fs::read_to_string(&file).expect("read"), "new");
        let twice = Output::open(&dir.join("./report"), &mut taken).err().expect("refused");
        assert!(twice.to_string().contains("twice"));
        fs::remove_dir_all(dir).expect("removed");
    }
}
