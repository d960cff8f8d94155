use std::collections::BTreeMap;

use tracer_ebpf::abi::{Path, Process};

use super::*;
use crate::model::reading::Reading;
use crate::model::test_rng::Random;
use crate::output::testing::{LedgerBuilder, distinct};
use crate::serve::labels::{Dimension, Who};

fn reborn(books: &Books) -> Books {
    let saved = Saved { booted: None, books: books.save(), closed: vec![(4, (10, 1))] };
    let text = serde_json::to_vec(&saved).expect("saved");
    let saved: Saved<SavedBooks> = serde_json::from_slice(&text).expect("read back");
    assert_eq!(saved.closed, [(4, (10, 1))]);
    Books::restore(saved.books, Select::default())
}

fn shown(books: &Books) -> BTreeMap<Key, String> {
    let group = |group: &Group| format!("{:?} {:?} {:?}", words(&group.ledger), group.highest, group.who());
    books.groups().map(|(key, content)| (key.clone(), group(content))).collect()
}

#[test]
fn a_ledger_is_its_counters() {
    let text = serde_json::to_string(&Whole { ledger: distinct() }).expect("saved");
    let Whole { ledger } = serde_json::from_str(&text).expect("read back");
    assert_eq!(ledger, distinct());
    assert_eq!(serde_json::to_string(&Whole { ledger: Ledger::ZERO }).expect("saved"), r#"{"ledger":[]}"#);
    assert!(serde_json::from_str::<Whole>(r#"{"ledger":[[99999,1]]}"#).is_err());
}

#[derive(Serialize, Deserialize)]
struct Whole {
    #[serde(with = "sparse")]
    ledger: Ledger,
}

/// Books that were saved and read back at any moment go on as those that were not.
#[test]
fn books_go_on() {
    let mut random = Random(7);
    for dimensions in [&[Dimension::Comm][..], &[Dimension::Pid, Dimension::Comm]] {
        let mut books = Books::new(GroupBy::new(dimensions), Select::default());
        let mut others = reborn(&books);
        // Bytes of the processes by slot; the pid is the slot plus the number of processes before.
        let mut slots = [(0u32, 0u64); 8];
        for step in 0..2_000u64 {
            let slot = random.below(slots.len() as u64) as usize;
            let (before, bytes) = &mut slots[slot];
            *bytes += random.below(3);
            let pid = 100 + slot as u32 + 8 * *before;
            let start_boottime = u64::from(*before) + 1;
            let process = Process { tgid: pid, start_boottime, ..Process::default() };
            let ledger = LedgerBuilder::new().moved(Path::Read, *bytes, 1).0;
            let reading = Reading {
                slot: slot as u32,
                process,
                ledger,
                unexplained: crate::model::snapshot::Tally::of(ledger).unexplained,
            };
            let who = || Who { pid, comm: format!("c{}", step % 3), ..Who::default() };
            if random.one_in(10) {
                books.end(&reading, who);
                others.end(&reading, who);
                (*before, *bytes) = (*before + 1, 0);
            } else {
                books.read(&reading, who);
                others.read(&reading, who);
            }
            if random.one_in(20) {
                others = reborn(&others);
            }
        }
        assert_eq!(shown(&books), shown(&others));
        assert_eq!((books.ended, books.processes()), (others.ended, others.processes()));
        assert!(books.ended > 100, "{}", books.ended);
    }
}
