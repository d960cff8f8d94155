use std::collections::BTreeMap;

use tracer_ebpf::abi::{self, Path};

use super::*;
use crate::model::test_rng::Random;
use crate::output::testing::LedgerBuilder;
use crate::serve::labels::Dimension;

fn reading(slot: u32, pid: u32, started: u64, bytes: u64) -> Reading {
    let process = abi::Process { tgid: pid, start_boottime: started, ..abi::Process::default() };
    let Tally { ledger, unexplained } = Tally::of(LedgerBuilder::new().moved(Path::Read, bytes, 1).0);
    Reading { slot, process, ledger, unexplained }
}

fn who(pid: u32, comm: &str) -> Who {
    Who { pid, comm: comm.into(), ..Who::default() }
}

fn books(dimensions: &[Dimension]) -> Books {
    Books::new(GroupBy::new(dimensions), Select::default())
}

fn bytes(books: &Books) -> BTreeMap<String, u64> {
    books.groups().map(|(key, group)| (key.0.join(","), group.ledger.payload().bytes)).collect()
}

fn map(entries: &[(&str, u64)]) -> BTreeMap<String, u64> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()
}

#[test]
fn an_ended_process_stays_in_its_group() {
    let mut books = books(&[Dimension::Comm]);
    books.read(&reading(4, 10, 1, 100), || who(10, "a"));
    books.end(&reading(4, 10, 1, 150), || who(10, "a"));
    books.read(&reading(4, 11, 2, 7), || who(11, "a"));
    assert_eq!(bytes(&books), map(&[("a", 157)]));
    assert_eq!(books.ended, 1);
}

#[test]
fn a_pid_vanishes_with_its_process_and_its_counts_do_not() {
    let mut books = books(&[Dimension::Pid, Dimension::Comm]);
    books.read(&reading(4, 10, 1, 100), || who(10, "sh"));
    books.read(&reading(4, 10, 1, 130), || who(10, "curl"));
    assert_eq!(bytes(&books), map(&[("10,,sh", 100), ("10,,curl", 30)]));
    books.end(&reading(4, 10, 1, 131), || who(10, "curl"));
    assert_eq!(bytes(&books), map(&[("ended,,sh", 100), ("ended,,curl", 31)]));
    // The pid again, of another process in another slot.
    books.read(&reading(5, 10, 9, 3), || who(10, "curl"));
    assert_eq!(bytes(&books), map(&[("ended,,sh", 100), ("ended,,curl", 31), ("10,,curl", 3)]));
}

#[test]
fn nothing_happened_asks_for_nothing() {
    let mut books = books(&[Dimension::Comm]);
    books.read(&reading(4, 10, 1, 5), || who(10, "a"));
    books.read(&reading(4, 10, 1, 5), || panic!("described again"));
    let idle = Reading { ledger: Ledger::ZERO, ..reading(5, 11, 1, 0) };
    books.read(&idle, || panic!("described"));
    assert_eq!(books.processes(), 1);
}

#[test]
fn who_is_not_selected_is_in_a_group_of_its_own() {
    let mut books = books(&[Dimension::Comm]);
    let select = Select { pids: vec![10], ..Select::default() };
    books.rearrange(books.group_by().clone(), select);
    books.read(&reading(4, 10, 1, 5), || who(10, "a"));
    books.read(&reading(5, 11, 1, 6), || who(11, "a"));
    assert_eq!(bytes(&books), map(&[("a", 5), ("unselected", 6)]));
}

#[test]
fn another_grouping_loses_no_count() {
    let mut books = books(&[Dimension::Pid]);
    books.read(&reading(4, 10, 1, 5), || who(10, "a"));
    books.rearrange(GroupBy::new(&[Dimension::Comm]), Select::default());
    books.read(&reading(4, 10, 1, 9), || who(10, "a"));
    assert_eq!(bytes(&books), map(&[("ended", 5), ("a", 4)]));
}

#[test]
fn room_is_made_by_the_dead_first_and_then_by_the_youngest() {
    let mut books = books(&[Dimension::Comm]);
    for (slot, comm) in (4..).zip(["dead1", "old", "dead2", "young"]) {
        books.read(&reading(slot, slot, 1, 10), || who(slot, comm));
        if comm.starts_with("dead") {
            books.end(&reading(slot, slot, 1, 10), || who(slot, comm));
        }
    }
    let one = |_: &Key, _: &Group| 1;
    books.make_room(4, one);
    assert_eq!(books.groups().count(), 4);
    books.make_room(3, one);
    assert_eq!(bytes(&books), map(&[("ended", 20), ("old", 10), ("young", 10)]));
    books.make_room(2, one);
    // The last merge makes a group and takes one: it stops when there is nothing left to merge.
    assert_eq!(bytes(&books), map(&[("ended", 20), ("overflow", 20)]));
    assert_eq!(books.merged, (2, 2));
    // What it does next is its own again, if there is room.
    books.read(&reading(5, 5, 1, 11), || who(5, "old"));
    assert_eq!(bytes(&books)["old"], 1);
}

/// Slots with processes that come, change their names, work and go; groups that are merged and rearranged.
/// Whatever happens, the sum of all groups is what was counted, and no group goes back while it is there.
#[test]
fn the_sum_of_all_groups_is_all_that_was_counted() {
    use Dimension::{Comm, Pid};
    const BY: [&[Dimension]; 3] = [&[Pid, Comm], &[Comm], &[Pid]];
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut books = books(BY[seed as usize % 3]);
        let mut slots: BTreeMap<u32, (u32, u64, u64)> = BTreeMap::new();
        let (mut total, mut clock) = (0, 0);
        let mut before = bytes(&books);
        for _ in 0..300 {
            clock += 1;
            let slot = 4 + random.below(12) as u32;
            let comm = ["sh", "curl", "overflow", "ended", "x"][random.below(5) as usize];
            let (pid, started, sum) =
                slots.entry(slot).or_insert_with(|| (100 + random.below(4) as u32 + slot * 10, clock, 0));
            let more = random.below(3) * random.below(1000);
            *sum += more;
            total += more;
            let reading = match *sum {
                0 => Reading { ledger: Ledger::ZERO, ..reading(slot, *pid, *started, 0) },
                sum => reading(slot, *pid, *started, sum),
            };
            let who = || who(*pid, comm);
            match random.below(4) {
                0 => {
                    books.end(&reading, who);
                    slots.remove(&slot);
                }
                _ => books.read(&reading, who),
            }
            match random.below(60) {
                0 => {
                    let by = GroupBy::new(BY[random.below(3) as usize]);
                    books.rearrange(by, Select::default());
                    before.clear();
                }
                1 => _ = books.make_room(2 + random.below(10) as usize, |_, _| 1),
                _ => {}
            }
            assert_eq!(books.sum().payload().bytes, total, "seed {seed}");
            let now = bytes(&books);
            for (key, value) in &now {
                // One that was merged away may come again, from the start.
                let back = before.get(key).is_some_and(|earlier| value < earlier);
                assert!(!back, "seed {seed}: {key} went back to {value}");
            }
            before = now;
            let living: usize = books.groups().map(|(_, group)| group.living).sum();
            assert_eq!(living, books.processes(), "seed {seed}");
        }
    }
}
