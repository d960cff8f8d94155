use tracer_ebpf::abi::Count;

use super::*;
use crate::model::snapshot::{Tally, words_mut};
use crate::model::test_rng::Random;
use crate::output::testing::LedgerBuilder;

const N: u64 = 1 << 22;

fn moved(path: Path) -> LedgerBuilder {
    LedgerBuilder::new().moved(path, N, 64)
}

fn of(ledger: LedgerBuilder, path: Path) -> Explained {
    Explained::of(&ledger.0, path)
}

/// All that can be said of a path, set to `bytes`, one at a time: what it is called, and a ledger that has it.
fn explanations(path: Path, bytes: u64) -> Vec<(&'static str, LedgerBuilder)> {
    let i = path as usize;
    let with = |change: &dyn Fn(&mut Ledger)| {
        let mut ledger = moved(path);
        change(&mut ledger.0);
        ledger
    };
    let mut all = vec![
        ("referenced", with(&|l| l.referenced[i] = bytes)),
        ("crypto", with(&|l| l.crypto[i] = Count { bytes, calls: 1 })),
        ("discarded", with(&|l| l.discarded[i] = bytes)),
    ];
    for direction in Direction::ALL {
        all.push((direction.name(), with(&|l| l.copied[i][direction as usize] = Count { bytes, calls: 1 })));
        all.push((
            direction.name(),
            with(&|l| l.checksum[i][direction as usize] = Count { bytes, calls: 1 }),
        ));
    }
    all
}

#[test]
fn a_copy_explains_only_in_the_direction_that_the_path_moves() {
    // What each path's payload is moved by, and no other direction.
    let moving = [
        (Path::Read, "to_user"),
        (Path::Recv, "to_user"),
        (Path::Write, "from_user"),
        (Path::Send, "from_user"),
        (Path::Sendfile, "in_kernel"),
        (Path::Splice, "in_kernel"),
        (Path::Tee, "in_kernel"),
        (Path::CopyFileRange, "in_kernel"),
        (Path::Vmsplice, "to_user"),
    ];
    for (path, moves) in moving {
        for (name, ledger) in explanations(path, N) {
            let left = of(ledger, path).unexplained;
            let is_other_direction = name.contains('_') && name != moves;
            assert_eq!(left, if is_other_direction { N } else { 0 }, "{} {name}", path.name());
        }
    }
    for path in [Path::ProcessVm, Path::IoUring, Path::OtherSyscall] {
        for (name, ledger) in explanations(path, N) {
            let within = path == Path::ProcessVm && name == "in_kernel";
            assert_eq!(of(ledger, path).unexplained, if within { N } else { 0 }, "{} {name}", path.name());
        }
    }
}

#[test]
fn a_surplus_within_the_kernel_hides_no_hole() {
    // 4 MiB received unseen, while the packets were made linear.
    let ledger = moved(Path::Recv).copied(Path::Recv, Direction::InKernel, N, 64);
    assert_eq!(of(ledger, Path::Recv).unexplained, N);
    // 4 MiB read from a FUSE file unseen, while as much was copied from the user, and on another path to the user.
    let ledger = moved(Path::Read).copied(Path::Read, Direction::FromUser, N, 64).copied(
        Path::Recv,
        Direction::ToUser,
        N,
        64,
    );
    assert_eq!(of(ledger, Path::Read).unexplained, N);
}

#[test]
fn nothing_is_explained_by_nothing() {
    for path in Path::ALL {
        assert_eq!(of(moved(path), path), Explained { unexplained: N, ..Explained::default() });
        assert_eq!(Explained::of(&Ledger::ZERO, path), Explained::default());
    }
    assert_eq!(unexplained(&Ledger::ZERO), [0; PATHS]);
    assert_eq!(unexplained(&moved(Path::Write).0)[Path::Write as usize], N);
}

/// A ledger of direct I/O: bytes that disks moved between the caller's pages and themselves, and of any kind.
fn direct(path: Path, direct: u64, device: u64) -> LedgerBuilder {
    let mut ledger = moved(path);
    let op = device_op(path).expect("disks serve it") as usize;
    (ledger.0.direct[op], ledger.0.device[op]) = (direct, device);
    ledger
}

#[test]
fn a_disk_explains_what_it_moved_to_and_from_the_callers_pages() {
    for path in [Path::Read, Path::Write] {
        assert_eq!(of(direct(path, N, N), path), Explained { dma: N, ..Explained::default() });
        // No device's bytes: nothing was moved by DMA.
        assert_eq!(of(direct(path, N, 0), path).unexplained, N);
        // What the page cache read is no direct I/O, and explains nothing.
        assert_eq!(of(direct(path, 0, N), path).unexplained, N);
        // Half of it.
        let half = of(direct(path, N / 2, N), path);
        assert_eq!((half.dma, half.unexplained), (N / 2, N / 2));
    }
    // The other operation's.
    let mut read = moved(Path::Read);
    (read.0.direct, read.0.device) = ([0, N], [0, N, 0, 0]);
    assert_eq!(of(read, Path::Read).unexplained, N);
    // A network device explains nothing: its packets are copied or handed on, by rows.
    let mut received = moved(Path::Recv);
    received.0.device = [0, 0, N, N];
    assert_eq!(of(received, Path::Recv).unexplained, N);
}

#[test]
fn what_a_memory_backed_disk_copied_is_no_dma() {
    let pmem = direct(Path::Read, N, 0).copied(Path::Read, Direction::InKernel, N, 64);
    assert_eq!(of(pmem, Path::Read), Explained { copied_by_driver: N, ..Explained::default() });
    // With a real disk beside it.
    let both = direct(Path::Read, N, N).copied(Path::Read, Direction::InKernel, N / 4, 16);
    let both = of(both, Path::Read);
    assert_eq!((both.copied_by_driver, both.dma, both.unexplained), (N / 4, N - N / 4, 0));
}

#[test]
fn copies_come_first() {
    // A file that was taken into a pipe by reference, and copied out of it.
    let splice =
        moved(Path::Splice).referenced(Path::Splice, N).copied(Path::Splice, Direction::InKernel, N, 64);
    assert_eq!(of(splice, Path::Splice), Explained { copied: N, ..Explained::default() });
}

fn some_ledger(random: &mut Random) -> Ledger {
    let mut ledger = Ledger::ZERO;
    for word in words_mut(&mut ledger) {
        *word = match random.below(4) {
            0 => 0,
            1 => random.below(100),
            _ => random.below(1 << 40),
        };
    }
    ledger
}

#[test]
fn the_parts_are_the_payload() {
    let mut random = Random(16);
    for _ in 0..2000 {
        let ledger = some_ledger(&mut random);
        for path in Path::ALL {
            let explained = Explained::of(&ledger, path);
            assert_eq!(explained.payload(), ledger.payload[path as usize].bytes, "{path:?} {ledger:?}");
            assert!(explained.referenced <= ledger.referenced[path as usize]);
            assert!(explained.discarded <= ledger.discarded[path as usize]);
        }
        let dma: u64 = Path::ALL.iter().map(|&path| Explained::of(&ledger, path).dma).sum();
        assert!(dma <= ledger.device[..2].iter().sum(), "devices explain at most what they moved");
    }
}

#[test]
fn more_of_anything_but_payload_never_leaves_more_unexplained() {
    let mut random = Random(17);
    for _ in 0..2000 {
        let ledger = some_ledger(&mut random);
        let mut more = ledger;
        let at = random.below(Ledger::WORDS as u64) as usize;
        words_mut(&mut more)[at] += random.below(1 << 20);
        if more.payload != ledger.payload {
            continue;
        }
        let (before, after) = (unexplained(&ledger), unexplained(&more));
        assert!(after.iter().zip(before).all(|(after, before)| *after <= before), "counter {at}");
    }
}

/// Calls of three threads on one path, each booking copies in steps before its payload.
fn histories(random: &mut Random) -> Vec<Ledger> {
    let mut ledger = Ledger::ZERO;
    let mut running = [(0, 0); 3];
    let mut all = vec![ledger];
    for _ in 0..200 {
        let (asked, copied) = &mut running[random.below(3) as usize];
        if *asked == 0 {
            (*asked, *copied) = (1 + random.below(1 << 16), 0);
        } else if copied < asked {
            let step = 1 + random.below(*asked - *copied);
            *copied += step;
            ledger.copied[Path::Send as usize][Direction::FromUser as usize].bytes += step;
        } else {
            ledger.payload[Path::Send as usize].bytes += *asked;
            *asked = 0;
        }
        all.push(ledger);
    }
    all
}

#[test]
fn no_window_of_calls_that_are_all_seen_has_a_hole_wherever_it_is_cut() {
    let mut random = Random(18);
    for _ in 0..200 {
        let mut earlier = Tally::ZERO;
        for now in histories(&mut random).into_iter().map(Tally::of) {
            // Some of the readings are windows' ends.
            if random.below(3) == 0 {
                let window = now.since(&earlier);
                assert_eq!(window.unexplained_in_all(), 0, "{:?}", window.ledger.payload);
                assert_eq!(window.explained(Path::Send).payload(), window.ledger.payload[3].bytes);
                earlier = now;
            }
        }
    }
}

#[test]
fn windows_have_no_less_than_the_whole() {
    // A hole that lasts is in exactly one window; sums of windows are at least what is left in the end.
    let mut random = Random(19);
    for _ in 0..200 {
        let (mut ledger, mut earlier, mut sum) = (Ledger::ZERO, Tally::ZERO, 0);
        for _ in 0..50 {
            ledger.payload[Path::Read as usize].bytes += random.below(1 << 16);
            ledger.copied[Path::Read as usize][0].bytes += random.below(1 << 16);
            let now = Tally::of(ledger);
            sum += now.since(&earlier).unexplained_in_all();
            earlier = now;
        }
        assert!(sum >= earlier.unexplained_in_all());
    }
}

#[test]
fn one_process_explains_nothing_of_another() {
    let hole = Tally::of(moved(Path::Read).0);
    let surplus = Tally::of(LedgerBuilder::new().copied(Path::Read, Direction::ToUser, N, 64).0);
    let both = hole.plus(&surplus);
    assert_eq!(both.unexplained(Path::Read), N);
    let explained = both.explained(Path::Read);
    assert_eq!((explained.unexplained, explained.payload()), (N, N));
}
