//! How the rows of the table ended up.

use tracer_ebpf::table::{Group, Row, Way};

use crate::model::attach::Refusal;

/// How one row ended up.
#[derive(Clone, Debug)]
pub struct Attached {
    pub row: &'static Row,
    /// The way that works, or why none does.
    pub way: Result<&'static Way, Refusal>,
    /// None of its functions is in this kernel.
    pub absent: bool,
}

impl Attached {
    /// True if nothing that the row is for goes by unseen: it is attached, or there is nothing to see.
    pub fn sees_all(&self) -> bool {
        self.way.is_ok() || (self.row.optional && self.absent)
    }

    /// True if copies, or whole processes, go by unseen where it is not attached. What a row covers is inlined elsewhere if
    /// its functions are missing, and its call sites are looked at one by one: such a row is not missed.
    pub fn is_required(&self) -> bool {
        let may_be_absent = self.row.optional || !self.row.covers.is_empty();
        matches!(self.row.group, Group::Copy | Group::Mark | Group::Life) && !(self.absent && may_be_absent)
    }
}

/// A row without programs of its own is attached exactly if the row is whose programs count it.
pub(crate) fn settle_hosted(rows: &mut [Attached]) {
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
        Attached { row, way: if ok { Ok(&row.ways[0]) } else { Err(refusal) }, absent: false }
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
