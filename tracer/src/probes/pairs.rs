//! Rows that need each other: all of them are attached, or none.

use tracer_ebpf::table::Row;

use super::rows::Attached;
use crate::model::attach::Refusal;

/// The first row that `row` needs and that is not attached, with the reason.
pub(super) fn missing<'a>(row: &Row, rows: impl Fn(&str) -> Option<&'a Attached>) -> Option<Refusal> {
    row.needs.iter().find_map(|name| {
        let (why, hint) = match rows(name).map(|needed| &needed.way) {
            Some(Ok(_)) => return None,
            Some(Err(refusal)) => (refusal.why.clone(), refusal.hint.clone()),
            None => ("nobody asked for it".to_owned(), String::new()),
        };
        Some(Refusal { why: format!("row {name}, which it needs, is not attached: {why}"), hint })
    })
}

/// Takes out rows that need one which is not attached, until no more do. What they hold is dropped.
pub(crate) fn settle<T>(rows: &mut [(Attached, Vec<T>)]) {
    loop {
        let refused = rows.iter().enumerate().find_map(|(index, (row, _))| {
            row.way.as_ref().ok()?;
            let find = |name: &str| rows.iter().map(|(other, _)| other).find(|other| other.row.name == name);
            Some((index, missing(row.row, find)?))
        });
        let Some((index, refusal)) = refused else { return };
        rows[index].0.way = Err(refusal);
        rows[index].1.clear();
    }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::table::{ROWS, row};

    use super::*;

    fn settled(refused: &str) -> Vec<(Attached, Vec<()>)> {
        let refusal = Refusal { why: "no kprobes".into(), hint: "boot another kernel".into() };
        let attach = |row: &'static Row| {
            let way = if row.name == refused { Err(refusal.clone()) } else { Ok(&row.ways[0]) };
            let links = if way.is_ok() { vec![()] } else { Vec::new() };
            (Attached { row, way, absent: false }, links)
        };
        let mut rows: Vec<_> = ROWS.iter().filter(|row| !row.ways.is_empty()).map(attach).collect();
        settle(&mut rows);
        rows
    }

    #[test]
    fn whatever_is_refused_no_row_is_left_that_needs_it() {
        for refused in ROWS {
            let rows = settled(refused.name);
            for (attached, links) in &rows {
                assert_eq!(attached.way.is_ok(), !links.is_empty(), "{}", attached.row.name);
                let is_there = |name: &&str| rows.iter().any(|(r, _)| r.row.name == *name && r.way.is_ok());
                let whole = attached.way.is_err() || attached.row.needs.iter().all(is_there);
                assert!(whole, "{} is attached without {}", attached.row.name, refused.name);
            }
        }
    }

    #[test]
    fn the_reason_names_the_partner_and_its_reason() {
        let rows = settled("block_complete");
        let (queue, _) = rows.iter().find(|(r, _)| r.row.name == "block_queue").expect("a row");
        let refusal = queue.way.as_ref().expect_err("its partner is missing");
        assert!(refusal.why.contains("block_"), "{}", refusal.why);
        assert!(refusal.why.contains("no kprobes"), "{}", refusal.why);
        assert_eq!(refusal.hint, "boot another kernel");
        assert!(rows.iter().all(|(r, _)| r.way.is_ok() || r.row.name.starts_with("block_")));
    }

    /// Rows that only take away what others entered: without those they have nothing to do, and do no harm.
    const ONLY_END: &[&str] = &["owner_free", "sys_exit", "exit"];

    #[test]
    fn rows_need_each_other() {
        for row in ROWS {
            for name in row.needs {
                let other = &ROWS[tracer_ebpf::table::row(name) as usize];
                let both = other.needs.contains(&row.name) || ONLY_END.contains(name);
                assert!(both, "{} needs {name}, which does not need it", row.name);
            }
        }
    }

    #[test]
    fn every_row_that_begins_what_another_ends_needs_it() {
        // By the map that the one fills and the other empties: BIOS, XMIT, IN_SOFTIRQ, SOCKETS, COMPARED, SLOTS.
        let pairs = [
            ("block_queue", "block_complete"),
            ("block_split", "block_complete"),
            ("net_transmit", "net_transmitted"),
            ("softirq_entry", "softirq_exit"),
            ("owner_send", "owner_free"),
            ("owner_sendpage", "owner_free"),
            ("owner_receive", "owner_free"),
            ("owner_splice", "owner_free"),
            ("owner_accept", "owner_free"),
            ("owner_connect", "owner_free"),
            ("owner_clone", "owner_free"),
            ("sys_enter", "sys_exit"),
            ("fork", "exit"),
            ("worker_begins", "worker_ends"),
        ];
        for (begin, end) in pairs {
            assert!(ROWS[row(begin) as usize].needs.contains(&end), "{begin} needs {end}");
        }
    }
}
