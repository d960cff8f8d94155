use super::*;
use crate::model::snapshot::{Folded, LossCount};
use crate::output::testing::{self, HOSTILE, LedgerBuilder, MIB, blind, process, snapshot};
use tracer_ebpf::abi::{Count, Path};

const PLAIN: Options = Options { color: false, width: Some(100), title: Title::Total };
const NARROW: Options = Options { width: Some(80), ..PLAIN };

fn golden(snapshot: &Snapshot, options: Options, expected: &str) {
    let got = render(snapshot, options);
    assert_eq!(got, expected, "\n--- got\n{got}\n--- expected\n{expected}");
}

#[test]
fn read_and_send() {
    let s = snapshot(vec![process(1234, "nginx", testing::read_send())]);
    golden(&s, PLAIN, include_str!("golden/read_send.txt"));
}

#[test]
fn sendfile_is_narrow_without_the_optional_column() {
    let mut s = snapshot(vec![process(1234, "nginx", testing::sendfile())]);
    golden(&s, PLAIN, include_str!("golden/sendfile.txt"));
    s.processes[0].exited = true;
    golden(&s, NARROW, include_str!("golden/sendfile_narrow.txt"));
}

#[test]
fn copies_not_observed() {
    let s = blind(vec![process(1234, "nginx", testing::read_send())]);
    golden(&s, Options { title: Title::Window, ..NARROW }, include_str!("golden/not_observed.txt"));
}

#[test]
fn copies_without_payload_stand_apart() {
    let ledger = LedgerBuilder::new()
        .moved(Path::Read, 921, 2)
        .copied(Path::Read, Direction::ToUser, 921, 2)
        .copied(Path::MmapFault, Direction::InKernel, 77_824, 19)
        .syscalls(Path::OtherSyscall, 24)
        .switches(40, 0, 3, 0)
        .0;
    let s = snapshot(vec![process(1234, "bash", ledger)]);
    golden(&s, PLAIN, include_str!("golden/cow.txt"));
}

#[test]
fn many_processes_losses_and_everything_else() {
    let mut ledger = testing::read_send();
    ledger.control[Direction::ToUser as usize] = Count { bytes: 144, calls: 1 };
    ledger.checksum[Path::Recv as usize][0] = Count { bytes: 12 << 10, calls: 3 };
    let mut s = snapshot(vec![
        process(1234, "nginx", testing::sendfile()),
        process(99, HOSTILE, ledger),
        process(3, "idle", Ledger::ZERO),
    ]);
    s.overflow = testing::sendfile().into();
    s.softirq = LedgerBuilder::new().copied(Path::Softirq, Direction::InKernel, 10, 1).0.into();
    s.coverage.state = CoverageState::Incomplete;
    s.coverage.reasons.push("module xfs was loaded after the start".to_owned());
    s.losses.push(LossCount { reason: "return_missed", count: 1200, loses_events: true });
    s.probes[0].missed = 3;
    s.notes.push("interrupts are not observed on this kernel".to_owned());
    golden(&s, PLAIN, include_str!("golden/many.txt"));
}

#[test]
fn only_the_top_processes_are_listed() {
    let processes = (1..=25).map(|pid| process(pid, "x", testing::sendfile())).collect();
    let text = render(&snapshot(processes), PLAIN);
    assert_eq!(text.lines().filter(|line| line.contains(" x ")).count(), TOP);
    assert!(text.contains("\n5 more processes in the total only\n"), "{text}");
}

#[test]
fn the_sum_of_ended_processes_is_a_row() {
    let mut s = snapshot(vec![process(7, "x", testing::sendfile())]);
    s.ended = Folded { processes: 1234, ledger: testing::sendfile().into(), ..Folded::default() };
    let text = render(&s, PLAIN);
    assert!(text.starts_with("1,235 processes "), "{text}");
    assert!(text.contains("\n(1,234 ended) "), "{text}");
    assert!(text.contains("128 MiB moved"), "{text}");
}

#[test]
fn nothing_matched_is_said_aloud() {
    let text = render(&snapshot(vec![process(1234, "sleep", Ledger::ZERO)]), PLAIN);
    assert!(text.contains("\nno event matched pid 1234 in 10.0 s: "), "{text}");
    let text = render(&snapshot(Vec::new()), PLAIN);
    assert!(text.contains("no process matched: nothing was counted."), "{text}");
    let two = vec![process(1, "a", Ledger::ZERO), process(2, "b", Ledger::ZERO)];
    assert!(render(&snapshot(two), PLAIN).contains("\nno event matched any of them"));
}

#[test]
fn eighty_columns_are_enough_for_the_widest_numbers() {
    let wide = LedgerBuilder::new()
        .moved(Path::CopyFileRange, 1023 * MIB, 9_999_999)
        .copied(Path::CopyFileRange, Direction::ToUser, 1023 * MIB, 1)
        .copied(Path::CopyFileRange, Direction::FromUser, 1023 * MIB, 1)
        .referenced(Path::CopyFileRange, 1023 * MIB)
        .0;
    let text = render(&snapshot(vec![process(1_234_567, "a-long-name-15b", wide)]), NARROW);
    let table = text.lines().skip(1).take(4);
    assert!(table.clone().all(|line| line.chars().count() <= 80), "{text}");
    assert!(table.clone().any(|line| line.starts_with("copy_file_range 9,999,999 1023 MiB")), "{text}");
}

/// The pages of a narrow terminal, with everything on them.
fn narrow_pages(width: u16) -> Vec<String> {
    let mut ledger = testing::distinct();
    // Every path at once is nothing that a process does; four and a long name are the worst that is seen.
    for path in Path::ALL.into_iter().skip(5) {
        ledger.copied[path as usize] = [Count::default(); 3];
        ledger.payload[path as usize] = Count::default();
    }
    let options = Options { width: Some(width), ..PLAIN };
    let mut seen = snapshot(vec![process(4_194_304, "\u{1b}日本語\u{1b}", ledger), process(2, "b", ledger)]);
    seen.notes.push("a-word-that-is-longer-than-any-terminal-is-wide-".repeat(5));
    let both = render(&seen, options);
    seen.processes.truncate(1);
    let unseen = blind(seen.processes.clone());
    vec![both, render(&seen, options), render(&unseen, options)]
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [1, 20, 40, 60, 80, 120] {
        for page in narrow_pages(width) {
            for line in page.lines() {
                assert!(human::columns(line) <= usize::from(width), "{width}: {line}\n{page}");
            }
        }
    }
}

#[test]
fn a_narrow_terminal_still_shows_what_matters() {
    let s = snapshot(vec![process(1234, "nginx", testing::read_send())]);
    let page = render(&s, Options { width: Some(40), ..PLAIN });
    golden(&s, Options { width: Some(40), ..PLAIN }, include_str!("golden/forty.txt"));
    assert!(page.contains("/byte"), "{page}");
}

#[test]
fn hostile_text_is_escaped_wherever_it_stands() {
    let mut s = snapshot(vec![process(1, HOSTILE, testing::sendfile())]);
    s.kernel = HOSTILE.to_owned();
    s.notes.push(HOSTILE.to_owned());
    s.coverage.state = CoverageState::Unproven;
    s.coverage.reasons.push(HOSTILE.to_owned());
    let one = render(&s, PLAIN);
    s.processes.push(process(2, HOSTILE, testing::read_send()));
    for text in [one, render(&s, PLAIN)] {
        assert!(text.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{text}");
    }
}

#[test]
fn color_changes_no_text() {
    let s = blind(vec![process(1234, "nginx", testing::read_send())]);
    let mut colored = render(&s, Options { color: true, ..PLAIN });
    assert!(colored.contains("\x1b[1;31mCOPIES ARE NOT OBSERVED"));
    for code in ["\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[0m"] {
        colored = colored.replace(code, "");
    }
    assert_eq!(colored, render(&s, PLAIN));
}
