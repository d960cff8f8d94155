//! What explains the payload of a ledger: every byte was copied, handed on by reference, moved by a device that does
//! DMA, or discarded, as far as a row saw it. What is left is unexplained.

use tracer_ebpf::abi::{DeviceOp, Direction, Ledger, PATHS, Path};

use super::snapshot::Derived as _;

/// Bytes by [`Path`].
pub type ByPath = [u64; PATHS];

/// The payload of one path by what explains it, each byte once; the parts sum up to the payload.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Explained {
    /// Copied by the CPU in a direction that the path moves, with or without a checksum.
    pub copied: u64,
    /// Handed on by reference, and not copied.
    pub referenced: u64,
    /// Read and written once by a cipher, in place of a copy.
    pub encrypted: u64,
    /// Neither copied nor handed on: thrown away, or made of nothing.
    pub discarded: u64,
    /// Copied within the kernel by the driver of a memory-backed disk (direct I/O).
    pub copied_by_driver: u64,
    /// Moved by DMA between a disk and the caller's own pages (direct I/O).
    pub dma: u64,
    pub unexplained: u64,
}

/// The directions of copies that move the payload of a path. A copy in another direction explains none of it: a
/// message that is made linear within the kernel was not received by that.
const fn directions(path: Path) -> &'static [Direction] {
    match path {
        Path::Read | Path::Recv => &[Direction::ToUser],
        Path::Write | Path::Send => &[Direction::FromUser],
        Path::Sendfile | Path::Splice | Path::Tee | Path::CopyFileRange => &[Direction::InKernel],
        // Pages go into a pipe by reference; out of it they are copied to the user.
        Path::Vmsplice => &[Direction::ToUser],
        Path::ProcessVm => &[Direction::ToUser, Direction::FromUser],
        // Of these the payload is what was copied and handed on, if there is any.
        Path::IoUring
        | Path::MmapFault
        | Path::Ioctl
        | Path::OtherSyscall
        | Path::Softirq
        | Path::KernelThread => &Direction::ALL,
    }
}

/// The paths whose payload a disk may have moved, with what it did.
const fn device_op(path: Path) -> Option<DeviceOp> {
    match path {
        Path::Read => Some(DeviceOp::BlockRead),
        Path::Write => Some(DeviceOp::BlockWrite),
        _ => None,
    }
}

impl Explained {
    /// What explains the payload of one path of a cumulative ledger. A part takes what those before it have left:
    /// copies first, because a copy is one also if the page was handed on as well; then what is thrown away, though
    /// it was handed on to where that happens; disks last, because a transfer
    /// is not matched with the call that it was for.
    pub fn of(ledger: &Ledger, path: Path) -> Explained {
        let i = path as usize;
        let mut left = ledger.payload[i].bytes;
        let mut take = |seen: u64| {
            let taken = seen.min(left);
            left -= taken;
            taken
        };
        let in_direction = |counts: &[tracer_ebpf::abi::Count; 3]| -> u64 {
            directions(path).iter().map(|&direction| counts[direction as usize].bytes).sum()
        };
        let copied = take(in_direction(&ledger.copied[i]).saturating_add(in_direction(&ledger.checksum[i])));
        let discarded = take(ledger.discarded[i]);
        let referenced = take(ledger.referenced[i]);
        let encrypted = take(ledger.crypto[i].bytes);
        let (mut copied_by_driver, mut dma) = (0, 0);
        if let Some(op) = device_op(path) {
            let direct = ledger.direct[op as usize & 1];
            // What was copied is never taken for DMA.
            copied_by_driver = take(direct.min(ledger.copied[i][Direction::InKernel as usize].bytes));
            // No other path has this operation, so devices explain at most what they moved.
            dma = take((direct - copied_by_driver).min(ledger.device[op as usize]));
        }
        Explained { copied, referenced, encrypted, discarded, copied_by_driver, dma, unexplained: left }
    }

    /// All of it together.
    pub fn payload(&self) -> u64 {
        let Explained { copied, referenced, encrypted, discarded, copied_by_driver, dma, unexplained } =
            *self;
        [copied, referenced, encrypted, discarded, copied_by_driver, dma, unexplained].iter().sum()
    }
}

/// Payload of a cumulative ledger that nothing explains, by path.
pub fn unexplained(ledger: &Ledger) -> ByPath {
    if ledger.payload().bytes == 0 {
        return [0; PATHS];
    }
    Path::ALL.map(|path| Explained::of(ledger, path).unexplained)
}

#[cfg(test)]
#[path = "explained_tests.rs"]
mod tests;
