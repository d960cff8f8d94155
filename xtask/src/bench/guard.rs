//! What tracer may cost, as a file that is changed on purpose: tests/overhead.toml.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::measured::{Measured, OURS};
use crate::paths;

/// How much more than accepted is too much.
const SHARE: f64 = 0.03;
/// Another release of the kernel is other code around the same programs.
const SHARE_OTHER_RELEASE: f64 = 0.10;
/// Instructions that are always allowed: where little is added, a few are a large share.
const ALLOWANCE: f64 = 8.0;

/// Extra instructions that were accepted.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    pub kernel: String,
    pub release: String,
    /// By observer and operation.
    extra: BTreeMap<String, BTreeMap<String, i64>>,
}

const NOTE: &str =
    "# Extra instructions per operation, as `cargo xtask bench --accept` found them; do not edit.
#
# Where the boot decides, the most of a dozen boots. `cargo xtask test` measures them again and fails when one has
# risen by more than 3%. A rise that is meant is accepted by running that command, in the same commit.

";

fn path() -> PathBuf {
    paths::repo().join("tests/overhead.toml")
}

impl Accepted {
    /// Of a kernel that was measured.
    pub fn of(measured: &Measured, kernel: &str) -> Result<Accepted> {
        let machine = measured.machines().into_iter().find(|machine| machine.kernel == kernel);
        let release = machine.with_context(|| format!("{kernel} was not measured"))?.release.clone();
        let mut extra: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
        for observer in OURS {
            for op in measured.operations(kernel) {
                if let Some(more) = measured.extra(kernel, observer, op) {
                    extra.entry(observer.into()).or_default().insert(op.into(), more.round() as i64);
                }
            }
        }
        Ok(Accepted { kernel: kernel.into(), release, extra })
    }

    pub fn load() -> Result<Accepted> {
        let path = path();
        let text = fs::read_to_string(&path).with_context(|| {
            format!("cannot read {}; `cargo xtask bench --accept` writes it", path.display())
        })?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    pub fn save(&self) -> Result<PathBuf> {
        let path = path();
        let text = toml::to_string(self).context("cannot write what was measured")?;
        fs::write(&path, format!("{NOTE}{text}"))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Of each figure the one that `choose` chooses, or the one that there is.
    pub fn merge(&mut self, other: Accepted, choose: fn(i64, i64) -> i64) {
        for (observer, ops) in other.extra {
            let ours = self.extra.entry(observer).or_default();
            for (op, more) in ops {
                ours.entry(op).and_modify(|kept| *kept = choose(more, *kept)).or_insert(more);
            }
        }
    }

    /// What is wrong with what was measured now, a line each.
    pub fn complaints(&self, now: &Accepted) -> Vec<String> {
        let same = self.release == now.release;
        let share = if same { SHARE } else { SHARE_OTHER_RELEASE };
        let mut complaints = Vec::new();
        for (observer, ops) in &self.extra {
            for (op, &before) in ops {
                let Some(&found) = now.extra.get(observer).and_then(|ops| ops.get(op)) else {
                    complaints.push(format!("{observer}: {op}: not measured, or not stable"));
                    continue;
                };
                let limit = before as f64 + (share * before.abs() as f64).max(ALLOWANCE);
                if found as f64 > limit {
                    complaints.push(format!(
                        "{observer}: {op} takes {found} instructions more than untraced, accepted are {before}"
                    ));
                }
            }
        }
        if !complaints.is_empty() {
            let kernel = if same { "" } else { " (accepted with another release of this kernel)" };
            complaints
                .push(format!("if that is meant{kernel}: `cargo xtask bench --accept`, and commit its file"));
        }
        complaints
    }

    /// Figures that fell by as much as would be too much the other way: they should be accepted, so that they stay.
    pub fn better(&self, now: &Accepted) -> Vec<String> {
        let found = |observer: &str, op: &str| now.extra.get(observer)?.get(op).copied();
        let mut better = Vec::new();
        for (observer, ops) in &self.extra {
            for (op, &before) in ops {
                let room = (SHARE * before.abs() as f64).max(ALLOWANCE);
                if let Some(found) =
                    found(observer, op).filter(|&found| (found as f64) < before as f64 - room)
                {
                    better.push(format!("{observer}: {op}: {found} instead of {before}"));
                }
            }
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::super::measured::{PID, tests::measured};
    use super::*;

    fn accepted(release: &str, getpid: i64) -> Accepted {
        let ops = [("getpid".to_string(), getpid)].into();
        Accepted { kernel: "6.1".into(), release: release.into(), extra: [(PID.to_string(), ops)].into() }
    }

    #[test]
    fn what_was_measured_is_what_is_written() {
        let now = Accepted::of(&measured(), "6.1").unwrap();
        // recv is not stable.
        assert_eq!(now, accepted("6.1.0", 251));
        assert_eq!(toml::from_str::<Accepted>(&toml::to_string(&now).unwrap()).unwrap(), now);
        assert!(Accepted::of(&measured(), "7.2").is_err());
    }

    #[test]
    fn a_rise_is_a_complaint() {
        let before = accepted("6.1.0", 1000);
        for (found, fine) in [(900, true), (1030, true), (1031, false)] {
            let complaints = before.complaints(&accepted("6.1.0", found));
            assert_eq!(complaints.is_empty(), fine, "{complaints:?}");
        }
        assert!(before.complaints(&accepted("6.1.1", 1100)).is_empty());
        assert!(before.complaints(&accepted("6.1.1", 1101))[1].contains("another release"));
        let nothing = Accepted { extra: BTreeMap::new(), ..accepted("6.1.0", 0) };
        assert!(before.complaints(&nothing)[0].contains("not measured"));
    }

    #[test]
    fn one_figure_of_two() {
        for (first, second) in [(1000, 900), (900, 1000)] {
            let mut now = accepted("6.1.0", first);
            now.merge(accepted("6.1.0", second), i64::min);
            assert_eq!(now, accepted("6.1.0", 900));
            now.merge(accepted("6.1.0", second), i64::max);
            assert_eq!(now, accepted("6.1.0", 900.max(second)));
        }
        let mut nothing = Accepted { extra: BTreeMap::new(), ..accepted("6.1.0", 0) };
        nothing.merge(accepted("6.1.0", 900), i64::min);
        assert_eq!(nothing, accepted("6.1.0", 900));
    }

    #[test]
    fn little_may_become_a_little_more() {
        let before = accepted("6.1.0", 20);
        assert!(before.complaints(&accepted("6.1.0", 28)).is_empty());
        assert!(!before.complaints(&accepted("6.1.0", 29)).is_empty());
        // Cheaper than untraced: a matter of a branch or two.
        assert!(accepted("6.1.0", -5).complaints(&accepted("6.1.0", 3)).is_empty());
    }

    #[test]
    fn a_fall_should_be_kept() {
        let before = accepted("6.1.0", 1000);
        assert!(before.better(&accepted("6.1.0", 970)).is_empty());
        assert_eq!(before.better(&accepted("6.1.0", 900)), ["tracer --pid: getpid: 900 instead of 1000"]);
    }

    #[test]
    fn the_file_is_of_this_form() {
        let accepted = Accepted::load().unwrap();
        assert!(!accepted.extra.is_empty());
    }
}
