use std::collections::BTreeMap;

use tracer_ebpf::abi::{Count, DeviceOp, Direction, Path};

use super::super::families::labels;
use super::*;
use crate::model::snapshot::{Derived as _, words_mut};
use crate::model::test_rng::Random;
use crate::output::testing::{HOSTILE, blind, distinct, snapshot};
use crate::output::zero_copied_is_observed;

/// A group as [`reference`] takes it.
pub struct Plain {
    pub labels: Labels,
    pub ledger: Ledger,
    pub highest: Highest,
    pub info: Option<Labels>,
}

/// The page of these groups, in any order and with any names, made by way of [`Families`]: series by series, sorted
/// and summed up by their labels.
pub fn reference(snapshot: &Snapshot, groups: &[Plain], more: Vec<Own>) -> String {
    let mut families = Families::default();
    groups.iter().for_each(|group| group.add_to(&snapshot.observed, &mut families));
    probes(snapshot, &mut families);
    coverage(snapshot, &mut families);
    own(&mut families);
    for metric in more {
        families.set(metric.name, metric.labels, metric.value);
    }
    families.encode()
}

impl Plain {
    fn add_to(&self, observed: &Observed, families: &mut Families) {
        let (ledger, all) = (&self.ledger, |more: &[(&'static str, &str)]| {
            let mut labels = self.labels.clone();
            labels.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
            labels
        });
        for path in Path::ALL {
            self.copies(observed, path, families);
            let (i, labels) = (path as usize, all(&[("path", path.name())]));
            if observed.payload && ledger.payload[i].calls > 0 {
                families.add("tracer_payload_bytes_total", labels.clone(), ledger.payload[i].bytes);
                families.add("tracer_payload_calls_total", labels.clone(), ledger.payload[i].calls);
                if zero_copied_is_observed(observed) {
                    families.add(
                        "tracer_zero_copied_bytes_total",
                        labels.clone(),
                        self.highest.zero_copied[i],
                    );
                    families.add(
                        "tracer_unexplained_bytes_total",
                        labels.clone(),
                        self.highest.unexplained[i],
                    );
                }
            }
            if zero_copied_is_observed(observed) && ledger.discarded[i] > 0 {
                families.add("tracer_discarded_bytes_total", labels.clone(), ledger.discarded[i]);
            }
            if observed.syscalls && ledger.syscalls[i] > 0 {
                families.add("tracer_syscalls_total", labels, ledger.syscalls[i]);
            }
        }
        let cut_short = ledger.cut_short();
        if observed.copies && observed.cut_short && cut_short.calls > 0 {
            families.add("tracer_cut_short_bytes_total", all(&[]), cut_short.bytes);
            families.add("tracer_cut_short_copies_total", all(&[]), cut_short.calls);
        }
        for direction in Direction::ALL.into_iter().filter(|_| observed.copies) {
            let bytes = ledger.control[direction as usize].bytes;
            families.add("tracer_control_bytes_total", all(&[("direction", direction.name())]), bytes);
        }
        let switches = [
            (observed.syscalls, "syscall", ledger.syscall_switches()),
            (observed.faults, "fault", 2 * ledger.faults),
            (observed.interrupts, "interrupt", 2 * ledger.interrupts),
        ];
        for (_, reason, switches) in switches.into_iter().filter(|(seen, ..)| *seen) {
            families.add("tracer_mode_switches_total", all(&[("reason", reason)]), switches);
        }
        let switches = [("voluntary", ledger.voluntary), ("involuntary", ledger.involuntary)];
        for (kind, switches) in switches.into_iter().filter(|_| observed.context_switches) {
            families.add("tracer_context_switches_total", all(&[("kind", kind)]), switches);
        }
        for op in DeviceOp::ALL {
            let (kind, name) = op.name();
            if (kind == "block" && observed.block) || (kind == "net" && observed.net) {
                let labels = all(&[("device_kind", kind), ("op", name)]);
                families.add("tracer_device_bytes_total", labels, ledger.device[op as usize]);
            }
        }
        if let Some(info) = &self.info {
            families.set("tracer_process_info", info.clone(), 1.0);
        }
    }

    fn copies(&self, observed: &Observed, path: Path, families: &mut Families) {
        if !observed.copies || !crate::output::active_paths(&self.ledger).any(|active| active == path) {
            return;
        }
        let (ledger, i) = (&self.ledger, path as usize);
        let mut add = |direction: Direction, kind: &'static str, bytes, calls| {
            let mut labels = self.labels.clone();
            let more = [("path", path.name()), ("direction", direction.name()), ("kind", kind)];
            labels.extend(more.map(|(name, value)| (name, value.to_owned())));
            families.add("tracer_copied_bytes_total", labels.clone(), bytes);
            families.add("tracer_copies_total", labels, calls);
        };
        for direction in Direction::ALL {
            let copied = ledger.copied[i][direction as usize];
            add(direction, "copy", copied.bytes, copied.calls);
            let summed = ledger.checksum[i][direction as usize];
            if summed.calls > 0 || summed.bytes > 0 {
                add(direction, "checksum", summed.bytes, summed.calls);
            }
        }
        if ledger.crypto[i].calls > 0 || ledger.crypto[i].bytes > 0 {
            add(Direction::InKernel, "crypto", ledger.crypto[i].bytes, ledger.crypto[i].calls);
        }
    }
}

/// What the tracer itself costs differs from moment to moment.
fn without_self(page: &str) -> String {
    let own = |line: &&str| line.starts_with("tracer_process_") && !line.starts_with("tracer_process_info");
    page.lines().filter(|line| !own(line)).flat_map(|line| [line, "\n"]).collect()
}

/// An error that tells the first lines that differ, of pages at one moment.
pub fn differ(page: &str, other: &str) -> Result<(), String> {
    let (page, other) = (without_self(page), without_self(other));
    let lines = page.lines().zip(other.lines());
    match lines.into_iter().find(|(one, other)| one != other) {
        Some((one, other)) => Err(format!("{one}\n{other}")),
        None if page.len() != other.len() => Err(format!("{} bytes, {} bytes", page.len(), other.len())),
        None => Ok(()),
    }
}

/// Some counters, each below one of some bounds.
pub fn some_ledger(random: &mut Random, large: &[u64]) -> Ledger {
    let mut ledger = Ledger::ZERO;
    let sparse = 1 + random.below(40);
    for word in words_mut(&mut ledger) {
        let large = random.pick(large);
        *word = if random.one_in(sparse) { random.below(large) } else { 0 };
    }
    // Nobody counts calls that copied or moved nothing, or bytes without a call.
    for count in ledger.checksum.iter_mut().flatten().chain(&mut ledger.payload) {
        if count.bytes == 0 || count.calls == 0 {
            *count = Count::default();
        }
    }
    ledger
}

#[test]
fn the_text_is_that_of_the_families() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut snapshot = snapshot(Vec::new());
        let seen = &mut snapshot.observed;
        for flag in [
            &mut seen.copies,
            &mut seen.references,
            &mut seen.syscalls,
            &mut seen.payload,
            &mut seen.faults,
            &mut seen.interrupts,
            &mut seen.context_switches,
            &mut seen.block,
            &mut seen.net,
        ] {
            *flag = !random.one_in(6);
        }
        let mut groups: BTreeMap<Labels, Plain> = BTreeMap::new();
        for _ in 0..random.below(40) {
            let pid = [random.below(30).to_string(), "ended".into()][usize::from(random.one_in(4))].clone();
            let comm = [HOSTILE, "a", "a b", "a\"", "a!", "\\", ""][random.below(7) as usize];
            let labels = labels([("pid", &pid), ("comm", comm)]);
            let mut some = || std::array::from_fn(|_| random.below(1 << 40));
            let highest = Highest { zero_copied: some(), unexplained: some() };
            let info = (!random.one_in(3)).then(|| labels.clone());
            let plain = Plain {
                labels: labels.clone(),
                ledger: some_ledger(&mut random, &[10, 1_000_000, 1 << 53, 1 << 58]),
                highest,
                info,
            };
            groups.insert(labels, plain);
        }
        let text = |labels: &Labels| label_text(labels.iter().map(|(name, value)| (*name, value.as_str())));
        let texts: Vec<String> = groups.keys().map(|labels| text(labels) + ",").collect();
        let series_of_groups = groups.values().zip(&texts).map(|(group, labels)| GroupSeries {
            labels,
            active: Active::of(&group.ledger),
            ledger: &group.ledger,
            highest: &group.highest,
        });
        let infos = groups.values().zip(&texts).filter(|(group, _)| group.info.is_some());
        let infos = infos.map(|(_, text)| text.trim_end_matches(','));
        let page = GroupPages::default().render(&snapshot, series_of_groups, infos, Vec::new()).concat();
        let groups: Vec<Plain> = groups.into_values().collect();
        assert_eq!(differ(&page, &reference(&snapshot, &groups, Vec::new())), Ok(()), "seed {seed}");
        let counted: usize = groups
            .iter()
            .map(|group| {
                series(&snapshot.observed, &group.ledger, Active::of(&group.ledger), group.info.is_some())
            })
            .sum();
        let mine = |line: &&str| line.contains("{pid=");
        assert_eq!(counted, page.lines().filter(mine).count(), "seed {seed}");
    }
}

#[test]
fn a_page_of_nothing_has_no_groups() {
    let page = GroupPages::default().render(&blind(Vec::new()), [], [], Vec::new()).concat();
    assert!(page.starts_with("# HELP tracer_probe_info "), "{page}");
}

#[test]
fn numbers_are_floats() {
    for value in
        [0, 1, 9_007_199_254_740_991, 1 << 53, (1 << 53) + 1, (1 << 53) + 2, u64::MAX - 1024, u64::MAX]
    {
        let mut text = String::new();
        number(&mut text, value);
        assert_eq!(text, (value as f64).to_string());
    }
}

/// Metrics are by number here, and by name there.
#[test]
fn metrics_have_their_names() {
    let page = GroupPages::default();
    let names = [
        (Metric::CopiedBytes, "tracer_copied_bytes_total"),
        (Metric::CopySize, "tracer_copy_size_bytes"),
        (Metric::ContextSwitches, "tracer_context_switches_total"),
        (Metric::ProcessInfo, "tracer_process_info"),
    ];
    for (metric, name) in names {
        assert_eq!(metric.name(), name);
    }
    assert_eq!(page.sizes.len(), 16);
    assert!(series(&snapshot(Vec::new()).observed, &distinct(), Active::of(&distinct()), true) > 100);
}
