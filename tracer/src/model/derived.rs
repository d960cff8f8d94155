//! What follows from a ledger's counters.

use tracer_ebpf::abi::{Count, Direction, Ledger, Path};

/// What is computed from a ledger.
pub trait Derived {
    /// Payload copies of one path in all directions.
    fn copied(&self, path: Path) -> Count;
    /// Payload copies of all paths in one direction.
    fn copied_in(&self, direction: Direction) -> Count;
    /// Bytes of one path that arrived without a copy: handed over by reference, and not also copied.
    fn zero_copied(&self, path: Path) -> u64;
    /// Copies that ended at memory that is not mapped, and the bytes at most that were counted for them and not
    /// copied: never more than all that were counted.
    fn cut_short(&self) -> Count;
    /// Sum of payload over all paths.
    fn payload(&self) -> Count;
    /// Bytes copied on the paths that have payload.
    fn copied_with_payload(&self) -> u64;
    /// Bytes copied on the other paths, by path: copy-on-write and the like, which moved no payload.
    fn copied_without_payload(&self) -> Vec<(Path, u64)>;
    /// Copied bytes per byte of payload, over the paths that have payload; `None` if none has.
    fn copies_per_byte(&self) -> Option<f64>;
    /// The same for one path.
    fn path_copies_per_byte(&self, path: Path) -> Option<f64>;
    /// Boundary crossings by system calls: two each.
    fn syscall_switches(&self) -> u64;
    /// Boundary crossings of all kinds.
    fn mode_switches(&self) -> u64;
    /// Boundary crossings per MiB of payload; `None` without payload.
    fn mode_switches_per_mib(&self) -> Option<f64>;
    /// True if nothing was counted.
    fn is_empty(&self) -> bool;
}

impl Derived for Ledger {
    fn copied(&self, path: Path) -> Count {
        sum(self.copied[path as usize].iter())
    }

    fn copied_in(&self, direction: Direction) -> Count {
        sum(self.copied.iter().map(|by_direction| &by_direction[direction as usize]))
    }

    fn zero_copied(&self, path: Path) -> u64 {
        let moved = self.payload[path as usize].bytes;
        // Pages that are spliced to /dev/null are handed on as well, but arrive nowhere.
        let gone = self.copied(path).bytes.saturating_add(self.discarded[path as usize]);
        self.referenced[path as usize].min(moved.saturating_sub(gone))
    }

    fn cut_short(&self) -> Count {
        let counted: u64 = Path::ALL.iter().map(|&path| self.copied(path).bytes).sum();
        Count { bytes: self.cut_short.bytes.min(counted), calls: self.cut_short.calls }
    }

    fn payload(&self) -> Count {
        sum(self.payload.iter())
    }

    fn copied_with_payload(&self) -> u64 {
        let paths = Path::ALL.iter().filter(|&&path| self.payload[path as usize].bytes > 0);
        paths.map(|&path| self.copied(path).bytes).sum()
    }

    fn copied_without_payload(&self) -> Vec<(Path, u64)> {
        let paths = Path::ALL.iter().filter(|&&path| self.payload[path as usize].bytes == 0);
        paths.map(|&path| (path, self.copied(path).bytes)).filter(|(_, bytes)| *bytes > 0).collect()
    }

    fn copies_per_byte(&self) -> Option<f64> {
        ratio(self.copied_with_payload(), self.payload().bytes)
    }

    fn path_copies_per_byte(&self, path: Path) -> Option<f64> {
        ratio(self.copied(path).bytes, self.payload[path as usize].bytes)
    }

    fn syscall_switches(&self) -> u64 {
        2 * self.syscalls.iter().sum::<u64>()
    }

    fn mode_switches(&self) -> u64 {
        self.syscall_switches() + 2 * self.faults + 2 * self.interrupts
    }

    fn mode_switches_per_mib(&self) -> Option<f64> {
        ratio(self.mode_switches(), self.payload().bytes).map(|r| r * f64::from(1 << 20))
    }

    fn is_empty(&self) -> bool {
        *self == Ledger::ZERO
    }
}

fn sum<'a>(counts: impl Iterator<Item = &'a Count>) -> Count {
    counts.fold(Count::default(), |a, b| Count { bytes: a.bytes + b.bytes, calls: a.calls + b.calls })
}

fn ratio(a: u64, b: u64) -> Option<f64> {
    (b > 0).then(|| a as f64 / b as f64)
}
