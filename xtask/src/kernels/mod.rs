//! The kernel matrix (tests/kernels.toml) and the kernels in the cache.

pub mod fetch;
pub mod image;
pub mod resolve;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use crate::paths;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// What `xtask vm` boots when no kernel is named.
    pub default: String,
    #[serde(rename = "kernel")]
    pub kernels: Vec<Kernel>,
    #[serde(rename = "variant", default)]
    pub variants: Vec<Variant>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    pub name: String,
    /// Debian suites; the newest version in any of them is taken.
    pub suites: Vec<String>,
    #[serde(default)]
    pub note: String,
}

/// A second boot of some kernels with other parameters, for the tests that are about them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What the test binary finds in VARIANT.
    pub name: String,
    /// Names of kernels; none: every kernel.
    #[serde(default)]
    pub kernels: Vec<String>,
    /// Kernel parameters, beside the usual ones.
    pub append: String,
}

impl Variant {
    /// True if this kernel is booted so as well.
    pub fn is_of(&self, kernel: &str) -> bool {
        self.kernels.is_empty() || self.kernels.iter().any(|name| name == kernel)
    }
}

/// What was fetched; kept beside the kernel as kernel.toml.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Record {
    /// As `uname -r` prints it.
    pub release: String,
    /// Debian version.
    pub version: String,
    pub packages: Vec<String>,
    /// UTC.
    pub fetched: String,
}

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub struct Cached {
    /// Of the matrix, or the image's path.
    pub name: String,
    pub vmlinuz: PathBuf,
    /// `lib/modules/<release>`, with modules.dep in it.
    pub modules: PathBuf,
    pub record: Record,
}

impl Matrix {
    pub fn load() -> Result<Matrix> {
        let path = paths::repo().join("tests/kernels.toml");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read the kernel matrix {}", path.display()))?;
        Matrix::parse(&text).with_context(|| format!("wrong kernel matrix {}", path.display()))
    }

    pub fn parse(text: &str) -> Result<Matrix> {
        let matrix: Matrix = toml::from_str(text)?;
        for kernel in &matrix.kernels {
            // The name becomes a directory and a host name.
            let ok = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
            if kernel.name.is_empty() || kernel.name.starts_with('.') || !kernel.name.chars().all(ok) {
                bail!("kernel name {:?}: only letters, digits, `.` and `-`", kernel.name);
            }
            if kernel.suites.is_empty() {
                bail!("kernel {} names no suite", kernel.name);
            }
            if matrix.kernels.iter().filter(|other| other.name == kernel.name).count() > 1 {
                bail!("kernel {} is there twice", kernel.name);
            }
        }
        matrix.get(&matrix.default)?;
        for variant in &matrix.variants {
            variant.kernels.iter().try_for_each(|name| matrix.get(name).map(drop))?;
            if matrix.variants.iter().filter(|other| other.name == variant.name).count() > 1 {
                bail!("variant {} is there twice", variant.name);
            }
        }
        Ok(matrix)
    }

    pub fn get(&self, name: &str) -> Result<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name).ok_or_else(|| {
            let names: Vec<_> = self.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
            anyhow!("no kernel {name:?} in tests/kernels.toml; there are {}", names.join(", "))
        })
    }

    /// The named ones, or all when none is named.
    pub fn select(&self, names: &[String]) -> Result<Vec<Kernel>> {
        if names.is_empty() {
            return Ok(self.kernels.clone());
        }
        names.iter().map(|name| self.get(name).cloned()).collect()
    }
}

pub fn dir(name: &str) -> Result<PathBuf> {
    Ok(paths::cache()?.join("kernels").join(name))
}

/// The kernel in the cache, if it is complete.
pub fn cached(name: &str) -> Result<Option<Cached>> {
    let dir = dir(name)?;
    let Some(record) = read_record(&dir) else {
        return Ok(None);
    };
    let modules = dir.join("lib/modules").join(&record.release);
    let cached = Cached { name: name.to_string(), vmlinuz: dir.join("vmlinuz"), modules, record };
    let complete = cached.vmlinuz.is_file() && cached.modules.join("modules.dep").is_file();
    Ok(complete.then_some(cached))
}

fn read_record(dir: &Path) -> Option<Record> {
    toml::from_str(&fs::read_to_string(dir.join("kernel.toml")).ok()?).ok()
}

/// The cached kernel, fetched first if there is none. Looks for a newer one only in `xtask setup`:
/// a test run must not depend on the network when it does not have to.
pub fn ensure(kernel: &Kernel) -> Result<Cached> {
    if let Some(cached) = cached(&kernel.name)? {
        return Ok(cached);
    }
    fetch::newest(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_matrix_parses() {
        let matrix = Matrix::parse(include_str!("../../../tests/kernels.toml")).unwrap();
        let names: Vec<_> = matrix.kernels.iter().map(|k| k.name.as_str()).collect();
        assert_eq!(names, ["5.10", "6.1", "6.12", "7.2"]);
        assert_eq!(matrix.select(&[]).unwrap().len(), 4);
        assert_eq!(matrix.select(&["6.1".into()]).unwrap()[0].suites.len(), 2);
    }

    #[test]
    fn wrong_matrices_are_refused_by_name() {
        let one = |name: &str, suites: &str| {
            format!("default = \"a\"\n[[kernel]]\nname = {name:?}\nsuites = {suites}\n")
        };
        let error = |text: &str| format!("{:#}", Matrix::parse(text).unwrap_err());
        assert!(error(&one("../x", "[\"sid\"]")).contains("../x"));
        assert!(error(&one("a", "[]")).contains("no suite"));
        assert!(error(&one("b", "[\"sid\"]")).contains("there are b"));
        let twice = one("a", "[\"sid\"]") + "[[kernel]]\nname = \"a\"\nsuites = [\"sid\"]\n";
        assert!(error(&twice).contains("twice"));
        let one = one("a", "[\"sid\"]");
        let variant =
            |kernels: &str| format!("[[variant]]\nname = \"v\"\nappend = \"\"\nkernels = {kernels}\n");
        assert!(error(&format!("{one}{}", variant("[\"b\"]"))).contains("there are a"));
        let twice = format!("{one}{}{}", variant("[]"), variant("[\"a\"]"));
        assert!(error(&twice).contains("variant v is there twice"));
    }

    #[test]
    fn a_variant_is_of_the_kernels_that_it_names() {
        let variant = |kernels: &[&str]| Variant {
            name: "v".into(),
            kernels: kernels.iter().map(|name| name.to_string()).collect(),
            append: String::new(),
        };
        assert!(
            variant(&[]).is_of("6.1") && variant(&["6.1"]).is_of("6.1") && !variant(&["6.1"]).is_of("7.2")
        );
    }

    #[test]
    fn records_round_trip() {
        let record = Record {
            release: "6.1.0-56-amd64".into(),
            version: "6.1.192-2".into(),
            packages: vec!["linux-image-6.1.0-56-amd64".into()],
            fetched: "2026-11-22T00:00:00Z".into(),
        };
        let text = toml::to_string(&record).unwrap();
        assert_eq!(toml::from_str::<Record>(&text).unwrap(), record);
    }
}
