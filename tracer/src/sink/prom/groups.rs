//! The page of the daemon: groups in place of processes.

use tracer_ebpf::abi::{Ledger, PATHS, Path};

use super::families::{Families, Labels};
use super::{Subject, coverage, own, probes};
use crate::sink::zero_copied_is_observed;
use crate::snapshot::Snapshot;

/// One group.
pub struct GroupSeries<'a> {
    pub labels: Labels,
    pub ledger: &'a Ledger,
    pub zero_copied: &'a [u64; PATHS],
    /// Labels of `tracer_process_info`, if it is one process.
    pub info: Option<Labels>,
}

/// A metric of the daemon itself.
pub struct Own {
    pub name: &'static str,
    pub labels: Labels,
    pub value: f64,
}

/// The whole page.
pub fn render_groups(snapshot: &Snapshot, groups: &[GroupSeries<'_>], more: Vec<Own>) -> String {
    let mut families = Families::default();
    groups.iter().for_each(|group| group.add_to(snapshot, &mut families));
    probes(snapshot, &mut families);
    coverage(snapshot, &mut families);
    own(&mut families);
    for metric in more {
        families.set(metric.name, metric.labels, metric.value);
    }
    families.encode()
}

/// Number of series that a group has.
pub fn series(snapshot: &Snapshot, group: &GroupSeries<'_>) -> usize {
    let mut families = Families::default();
    group.add_to(snapshot, &mut families);
    families.len()
}

impl GroupSeries<'_> {
    fn add_to(&self, snapshot: &Snapshot, families: &mut Families) {
        let subject = Subject { own: self.labels.clone(), process: None, ledger: self.ledger, sizes: None };
        subject.counters(snapshot, families);
        if zero_copied_is_observed(&snapshot.observed) {
            for path in Path::ALL {
                let i = path as usize;
                if self.ledger.payload[i].calls > 0 {
                    let labels = subject.labels([("path", path.name())]);
                    families.add("tracer_zero_copied_bytes_total", labels, self.zero_copied[i]);
                }
            }
        }
        if let Some(info) = &self.info {
            families.set("tracer_process_info", info.clone(), 1.0);
        }
    }
}
