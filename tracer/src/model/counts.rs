//! The counts of one process, or of several together, as a recording has them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::window::{Observed, or_default};

/// A count that may not have been observed.
pub type Seen = Option<u64>;

/// Counts by name; one that is `null` was not observed.
pub type Named = BTreeMap<String, Seen>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Part {
    /// Only those on which something happened.
    pub paths: Option<BTreeMap<String, PathCounts>>,
    /// Copies that ended at memory that is not mapped.
    pub cut_short: Option<CutShort>,
    pub other_kinds: Option<Named>,
    pub control_bytes: Option<Named>,
    pub mode_switches: Option<Switches>,
    pub context_switches: Option<Named>,
    /// By kind of device, then by operation.
    pub device_bytes: Option<BTreeMap<String, Option<Named>>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CutShort {
    pub copies: Seen,
    /// Of the copied bytes, how many were not copied.
    pub bytes_at_most: Seen,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PathCounts {
    pub calls: Seen,
    pub payload_bytes: Seen,
    pub syscalls: Seen,
    pub zero_copied_bytes: Seen,
    pub discarded_bytes: Seen,
    pub unexplained_bytes: Seen,
    pub copied_bytes: Option<Named>,
    pub copies: Option<Named>,
    /// Absent also if 0.
    pub checksum_bytes: Seen,
    pub crypto_bytes: Seen,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Switches {
    #[serde(deserialize_with = "or_default")]
    pub syscall: Seen,
    #[serde(deserialize_with = "or_default")]
    pub fault: Seen,
    #[serde(deserialize_with = "or_default")]
    pub interrupt: Seen,
}

impl Part {
    /// Counter by counter; what one of the two has not observed is not observed.
    pub fn plus(self, other: Part) -> Part {
        Part {
            paths: both(self.paths, other.paths, |a, b| union(a, b, PathCounts::plus)),
            cut_short: both(self.cut_short, other.cut_short, |a, b| CutShort {
                copies: add(a.copies, b.copies),
                bytes_at_most: add(a.bytes_at_most, b.bytes_at_most),
            }),
            other_kinds: both(self.other_kinds, other.other_kinds, add_maps),
            control_bytes: both(self.control_bytes, other.control_bytes, add_maps),
            mode_switches: both(self.mode_switches, other.mode_switches, |a, b| Switches {
                syscall: add(a.syscall, b.syscall),
                fault: add(a.fault, b.fault),
                interrupt: add(a.interrupt, b.interrupt),
            }),
            context_switches: both(self.context_switches, other.context_switches, add_maps),
            device_bytes: both(self.device_bytes, other.device_bytes, |a, b| {
                union(a, b, |a, b| both(a, b, add_maps))
            }),
        }
    }

    /// Sums a count over one path, or all. A path that is not listed has none of it.
    fn over_paths(&self, path: Option<&str>, count: impl Fn(&PathCounts) -> Seen) -> Seen {
        let paths = self.paths.as_ref()?;
        match path {
            Some(path) => paths.get(path).map_or(Some(0), count),
            None => paths.values().map(count).try_fold(0, |sum: u64, n| Some(sum.saturating_add(n?))),
        }
    }

    /// Names of the paths that are listed.
    pub fn path_names(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().flatten().map(|(name, _)| name.as_str())
    }

    pub fn payload(&self, path: Option<&str>) -> Seen {
        self.over_paths(path, |p| p.payload_bytes)
    }

    pub fn calls(&self, path: Option<&str>) -> Seen {
        self.over_paths(path, |p| p.calls)
    }

    pub fn syscalls(&self, path: Option<&str>) -> Seen {
        self.over_paths(path, |p| p.syscalls)
    }

    pub fn zero_copied(&self, path: Option<&str>) -> Seen {
        self.over_paths(path, |p| p.zero_copied_bytes)
    }

    pub fn discarded(&self, path: Option<&str>) -> Seen {
        self.over_paths(path, |p| p.discarded_bytes)
    }

    pub fn unexplained(&self, path: Option<&str>) -> Seen {
        self.over_paths(path, |p| p.unexplained_bytes)
    }

    /// Bytes at most that were counted as copied and were not, over all paths.
    pub fn cut_short(&self) -> Seen {
        self.cut_short?.bytes_at_most
    }

    pub fn copied(&self, observed: &Observed, path: Option<&str>, direction: Option<&str>) -> Seen {
        let sum = self.over_paths(path, |p| of_map(p.copied_bytes.as_ref(), direction));
        sum.filter(|_| observed.copies)
    }

    pub fn copies(&self, observed: &Observed, path: Option<&str>, direction: Option<&str>) -> Seen {
        let sum = self.over_paths(path, |p| of_map(p.copies.as_ref(), direction));
        sum.filter(|_| observed.copies)
    }

    /// Bytes of a kind that is no plain copy: `checksum` or `crypto`.
    pub fn other_kind(&self, observed: &Observed, path: Option<&str>, kind: &str) -> Seen {
        let sum = match (path, kind) {
            (None, kind) => of_map(self.other_kinds.as_ref(), Some(kind)),
            (path, "checksum") => self.over_paths(path, |p| Some(p.checksum_bytes.unwrap_or(0))),
            (path, _) => self.over_paths(path, |p| Some(p.crypto_bytes.unwrap_or(0))),
        };
        sum.filter(|_| observed.copies)
    }

    pub fn control(&self, observed: &Observed, direction: Option<&str>) -> Seen {
        of_map(self.control_bytes.as_ref(), direction).filter(|_| observed.copies)
    }

    /// For one reason, or for all three if all are observed.
    pub fn switches(&self, reason: Option<&str>) -> Seen {
        let switches = self.mode_switches?;
        match reason {
            Some("syscall") => switches.syscall,
            Some("fault") => switches.fault,
            Some("interrupt") => switches.interrupt,
            Some(_) => None,
            None => add(add(switches.syscall, switches.fault), switches.interrupt),
        }
    }

    pub fn context_switches(&self, observed: &Observed, kind: Option<&str>) -> Seen {
        of_map(self.context_switches.as_ref(), kind).filter(|_| observed.context_switches)
    }

    pub fn device_bytes(&self, observed: &Observed, device: Option<&str>, op: Option<&str>) -> Seen {
        let devices = self.device_bytes.as_ref().filter(|_| observed.device_bytes)?;
        // A kind that is not listed was not observed, so a sum over it is unknown.
        let kinds = match (device, op) {
            (Some(device), _) => vec![device],
            (None, Some("read" | "write")) => vec!["block"],
            (None, Some("rx" | "tx")) => vec!["net"],
            (None, _) => vec!["block", "net"],
        };
        let of_kind = |kind: &&str| of_map(devices.get(*kind)?.as_ref(), op);
        kinds.iter().map(of_kind).try_fold(0, |sum: u64, n| Some(sum.saturating_add(n?)))
    }
}

impl PathCounts {
    fn plus(self, other: PathCounts) -> PathCounts {
        // Absent is 0 here, as long as copies are observed.
        let sparse = |a: Seen, b: Seen| a.map_or(b, |a| Some(a.saturating_add(b.unwrap_or(0))));
        PathCounts {
            calls: add(self.calls, other.calls),
            payload_bytes: add(self.payload_bytes, other.payload_bytes),
            syscalls: add(self.syscalls, other.syscalls),
            zero_copied_bytes: add(self.zero_copied_bytes, other.zero_copied_bytes),
            discarded_bytes: add(self.discarded_bytes, other.discarded_bytes),
            unexplained_bytes: add(self.unexplained_bytes, other.unexplained_bytes),
            copied_bytes: both(self.copied_bytes, other.copied_bytes, add_maps),
            copies: both(self.copies, other.copies, add_maps),
            checksum_bytes: sparse(self.checksum_bytes, other.checksum_bytes),
            crypto_bytes: sparse(self.crypto_bytes, other.crypto_bytes),
        }
    }
}

fn add(a: Seen, b: Seen) -> Seen {
    both(a, b, u64::saturating_add)
}

fn both<T>(a: Option<T>, b: Option<T>, join: impl FnOnce(T, T) -> T) -> Option<T> {
    Some(join(a?, b?))
}

fn add_maps(a: Named, b: Named) -> Named {
    union(a, b, add)
}

fn union<T>(
    mut a: BTreeMap<String, T>,
    b: BTreeMap<String, T>,
    join: impl Fn(T, T) -> T,
) -> BTreeMap<String, T> {
    for (key, value) in b {
        let joined = match a.remove(&key) {
            Some(old) => join(old, value),
            None => value,
        };
        a.insert(key, joined);
    }
    a
}

/// One entry, or the sum of all.
fn of_map(map: Option<&Named>, key: Option<&str>) -> Seen {
    match key {
        Some(key) => map?.get(key).copied().flatten(),
        None => map?.values().try_fold(0, |sum: u64, n| Some(sum.saturating_add((*n)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Observed = Observed {
        copies: true,
        mode_switches: true,
        context_switches: true,
        device_bytes: true,
        cut_short: None,
        references: None,
    };

    fn part(text: &str) -> Part {
        serde_json::from_str(text).expect("valid")
    }

    #[test]
    fn sums_know_what_was_not_observed() {
        let a = part(r#"{"paths":{"read":{"calls":1,"payload_bytes":10,"checksum_bytes":3}}}"#);
        let null = part(r#"{"control_bytes":{"to_user":1,"in_kernel":null}}"#);
        assert_eq!((null.control(&ALL, None), null.control(&ALL, Some("to_user"))), (None, Some(1)));
        let b = part(r#"{"paths":{"read":{"calls":2},"write":{"calls":4,"payload_bytes":5}}}"#);
        let sum = a.plus(b);
        assert_eq!((sum.calls(Some("read")), sum.calls(None)), (Some(3), Some(7)));
        assert_eq!((sum.payload(Some("read")), sum.payload(Some("write"))), (None, Some(5)));
        assert_eq!(sum.payload(None), None);
        assert_eq!(sum.other_kind(&ALL, Some("read"), "checksum"), Some(3));
        assert_eq!(sum.other_kind(&ALL, Some("write"), "checksum"), Some(0));
    }

    #[test]
    fn sums_do_not_overflow() {
        let a = part(r#"{"paths":{"read":{"calls":18446744073709551615}}}"#);
        assert_eq!(a.clone().plus(a).calls(None), Some(u64::MAX));
    }

    #[test]
    fn switches_need_all_reasons() {
        let some = part(r#"{"mode_switches":{"syscall":4,"fault":2}}"#);
        assert_eq!((some.switches(None), some.switches(Some("syscall"))), (None, Some(4)));
        let all = part(r#"{"mode_switches":{"syscall":4,"fault":2,"interrupt":0}}"#);
        assert_eq!(all.switches(None), Some(6));
    }

    #[test]
    fn devices() {
        let p = part(r#"{"device_bytes":{"block":{"read":1,"write":2},"net":{"rx":4,"tx":8}}}"#);
        assert_eq!(p.device_bytes(&ALL, None, None), Some(15));
        assert_eq!(p.device_bytes(&ALL, Some("net"), Some("tx")), Some(8));
        assert_eq!(p.device_bytes(&ALL, None, Some("read")), Some(1));
        assert_eq!(p.device_bytes(&ALL, Some("block"), Some("rx")), None);
        assert_eq!(p.device_bytes(&Observed::default(), None, None), None);
        let half = part(r#"{"device_bytes":{"net":{"rx":4,"tx":8}}}"#);
        assert_eq!(
            (half.device_bytes(&ALL, None, None), half.device_bytes(&ALL, Some("net"), None)),
            (None, Some(12))
        );
    }
}
