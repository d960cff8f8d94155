//! How the rows of the table ended up.

use tracer_ebpf::table::{Row, Way};

use crate::plan::Refusal;

/// How one row ended up.
#[derive(Clone, Debug)]
pub struct Attached {
    pub row: &'static Row,
    /// The way that works, or why none does.
    pub way: Result<&'static Way, Refusal>,
    /// True if coverage is incomplete without it.
    pub required: bool,
}

/// A row without programs of its own is attached exactly if the row is whose programs count it.
pub(super) fn settle_hosted(rows: &mut [Attached]) {
    for index in 0..rows.len() {
        let Some(name) = rows[index].way.as_ref().ok().and_then(|way| way.host()) else { continue };
        let host = rows.iter().find(|row| row.row.name == name).map(|row| &row.way);
        let refusal = match host {
            Some(Ok(_)) => continue,
            Some(Err(refusal)) => Refusal {
                why: format!("row {name}, which counts it, is not attached: {}", refusal.why),
                hint: refusal.hint.clone(),
            },
            None => {
                Refusal { why: format!("row {name}, which counts it, is not wanted"), hint: String::new() }
            }
        };
        rows[index].way = Err(refusal);
    }
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::table::{ROWS, row};

    use super::*;

    fn attached(name: &str, ok: bool) -> Attached {
        let row = &ROWS[row(name) as usize];
        let refusal = Refusal { why: "no tracepoints".into(), hint: "boot another kernel".into() };
        Attached { row, way: if ok { Ok(&row.ways[0]) } else { Err(refusal) }, required: true }
    }

    #[test]
    fn a_hosted_row_is_attached_as_its_host_is() {
        let mut rows = [attached("process_vm", true), attached("sys_exit", true)];
        settle_hosted(&mut rows);
        assert!(rows.iter().all(|row| row.way.is_ok()));

        let mut rows = [attached("process_vm", true), attached("sys_exit", false), attached("fork", true)];
        settle_hosted(&mut rows);
        let refusal = rows[0].way.as_ref().expect_err("its host is not attached");
        assert!(
            refusal.why.contains("sys_exit") && refusal.why.contains("no tracepoints"),
            "{}",
            refusal.why
        );
        assert_eq!(refusal.hint, "boot another kernel");
        assert!(rows[2].way.is_ok());

        // Refused itself: its own reason stays.
        let mut rows = [attached("process_vm", false), attached("sys_exit", true)];
        settle_hosted(&mut rows);
        assert_eq!(rows[0].way.as_ref().expect_err("refused").why, "no tracepoints");
    }
}
