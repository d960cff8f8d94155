//! Which series a ledger has, and their values.

use std::sync::LazyLock;

use tracer_ebpf::abi::{Count, DEVICE_OPS, DIRECTIONS, DeviceOp, Direction, Ledger, PATHS, Path};

use super::metrics::Metric;
use crate::model::snapshot::{Derived as _, Highest, Observed};
use crate::output::devices::device_bytes;
use crate::output::{active_paths, cut_short_is_observed, zero_copied_is_observed};

/// Labels that tell a ledger's series of one metric apart.
pub struct Detail {
    pub labels: Vec<(&'static str, &'static str)>,
    /// The same as text, up to the value.
    pub text: String,
}

impl Detail {
    fn new(labels: &[(&'static str, &'static str)]) -> Self {
        let text: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        Detail { labels: labels.to_vec(), text: text.join(",") + "} " }
    }

    fn of_copies(path: Path, direction: Direction, kind: &'static str) -> Self {
        Detail::new(&[("path", path.name()), ("direction", direction.name()), ("kind", kind)])
    }
}

/// By [`Path`] and [`Direction`].
type ByDirection<T> = [[T; DIRECTIONS]; PATHS];

/// All there are, made once; and the order that text has them in.
struct Details {
    paths: [Path; PATHS],
    directions: [Direction; DIRECTIONS],
    checksum: ByDirection<Detail>,
    copy: ByDirection<Detail>,
    crypto: [Detail; PATHS],
    path: [Detail; PATHS],
    direction: [Detail; DIRECTIONS],
    reasons: [Detail; 3],
    kinds: [Detail; 2],
    device: [Detail; DEVICE_OPS],
    /// Of what is told of the whole ledger.
    whole: Detail,
}

static DETAILS: LazyLock<Details> = LazyLock::new(|| {
    let (mut paths, mut directions) = (Path::ALL, Direction::ALL);
    paths.sort_by_key(|path| path.name());
    directions.sort_by_key(|direction| direction.name());
    let by_direction =
        |kind| Path::ALL.map(|path| Direction::ALL.map(|direction| Detail::of_copies(path, direction, kind)));
    Details {
        paths,
        directions,
        checksum: by_direction("checksum"),
        copy: by_direction("copy"),
        // The cipher reads and writes kernel memory.
        crypto: Path::ALL.map(|path| Detail::of_copies(path, Direction::InKernel, "crypto")),
        path: Path::ALL.map(|path| Detail::new(&[("path", path.name())])),
        direction: Direction::ALL.map(|direction| Detail::new(&[("direction", direction.name())])),
        reasons: ["fault", "interrupt", "syscall"].map(|reason| Detail::new(&[("reason", reason)])),
        kinds: ["involuntary", "voluntary"].map(|kind| Detail::new(&[("kind", kind)])),
        device: DeviceOp::ALL.map(|op| Detail::new(&[("device_kind", op.name().0), ("op", op.name().1)])),
        whole: Detail::new(&[]),
    }
});

/// Paths on which a ledger has anything, one bit each. To find them takes reading most of it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Active(u16);

impl Active {
    pub fn of(ledger: &Ledger) -> Self {
        Active(active_paths(ledger).fold(0, |paths, path| paths | 1 << path as u16))
    }

    fn has(self, path: Path) -> bool {
        self.0 & 1 << path as u16 != 0
    }
}

const _: () = assert!(PATHS <= u16::BITS as usize);

/// Tells `sample` each series of a ledger, copies by size and the information on its process apart; those of
/// one metric in the order of their labels. `highest` has what must not go back, and may not follow from the ledger.
pub fn samples(
    ledger: &Ledger,
    active: Active,
    observed: &Observed,
    highest: &Highest,
    mut sample: impl FnMut(Metric, &'static Detail, u64),
) {
    let details = &*DETAILS;
    for path in details.paths.into_iter().filter(|path| active.has(*path)) {
        let (i, detail) = (path as usize, &details.path[path as usize]);
        if observed.copies {
            copies(ledger, path, &mut sample);
        }
        let (payload, syscalls) = (ledger.payload[i], ledger.syscalls[i]);
        if observed.payload && payload.calls > 0 {
            sample(Metric::PayloadBytes, detail, payload.bytes);
            sample(Metric::PayloadCalls, detail, payload.calls);
            if zero_copied_is_observed(observed) {
                sample(Metric::ZeroCopiedBytes, detail, highest.zero_copied[i]);
                sample(Metric::UnexplainedBytes, detail, highest.unexplained[i]);
            }
        }
        if zero_copied_is_observed(observed) && ledger.discarded[i] > 0 {
            sample(Metric::DiscardedBytes, detail, ledger.discarded[i]);
        }
        if observed.syscalls && syscalls > 0 {
            sample(Metric::Syscalls, detail, syscalls);
        }
    }
    if cut_short_is_observed(observed) && ledger.cut_short.calls > 0 {
        let Count { bytes, calls } = ledger.cut_short();
        sample(Metric::CutShortBytes, &details.whole, bytes);
        sample(Metric::CutShortCopies, &details.whole, calls);
    }
    if observed.copies {
        for direction in details.directions {
            let bytes = ledger.control[direction as usize].bytes;
            sample(Metric::ControlBytes, &details.direction[direction as usize], bytes);
        }
    }
    let reasons = [
        (observed.faults, 2 * ledger.faults),
        (observed.interrupts, 2 * ledger.interrupts),
        (observed.syscalls, ledger.syscall_switches()),
    ];
    for (detail, (_, switches)) in details.reasons.iter().zip(reasons).filter(|(_, (seen, _))| *seen) {
        sample(Metric::ModeSwitches, detail, switches);
    }
    if observed.context_switches {
        for (detail, switches) in details.kinds.iter().zip([ledger.involuntary, ledger.voluntary]) {
            sample(Metric::ContextSwitches, detail, switches);
        }
    }
    for (op, bytes) in device_bytes(ledger, observed) {
        sample(Metric::DeviceBytes, &details.device[op as usize], bytes);
    }
}

/// Those of one path.
fn copies(ledger: &Ledger, path: Path, sample: &mut impl FnMut(Metric, &'static Detail, u64)) {
    let (details, i) = (&*DETAILS, path as usize);
    let mut both = |detail, count: Count| {
        sample(Metric::CopiedBytes, detail, count.bytes);
        sample(Metric::Copies, detail, count.calls);
    };
    for direction in details.directions {
        let d = direction as usize;
        if ledger.checksum[i][d] != Count::default() {
            both(&details.checksum[i][d], ledger.checksum[i][d]);
        }
        both(&details.copy[i][d], ledger.copied[i][d]);
        if direction == Direction::InKernel && ledger.crypto[i] != Count::default() {
            both(&details.crypto[i], ledger.crypto[i]);
        }
    }
}
