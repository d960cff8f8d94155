//! What is said against what was measured: agreement or correction, by comparing numbers.

use super::measured::{Field, Figure, Line, by_kernel};
use super::rows::{Hop, Row};

/// What each number that is said comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    agrees: Vec<String>,
    corrected: Vec<String>,
    /// Of which nothing was measured, and why.
    open: Vec<String>,
}

impl Verdict {
    /// For the summary.
    pub fn word(&self) -> &'static str {
        match (self.corrected.is_empty(), self.agrees.is_empty(), self.open.is_empty()) {
            (false, ..) => "**corrected**",
            (true, false, _) => "agrees",
            (true, true, false) => "not measured",
            (true, true, true) => "",
        }
    }

    /// None if nothing is said.
    pub fn sentence(&self) -> Option<String> {
        let parts = [
            ("Corrected", &self.corrected),
            (if self.corrected.is_empty() { "Agrees" } else { "Agreed" }, &self.agrees),
            ("Not judged", &self.open),
        ];
        let said = parts.iter().filter(|(_, numbers)| !numbers.is_empty());
        let said: Vec<String> =
            said.map(|(word, numbers)| format!("{word}: {}.", numbers.join("; "))).collect();
        (!said.is_empty()).then(|| said.join(" "))
    }
}

pub fn judge(row: &Row, lines: &[&Line]) -> Verdict {
    let mut verdict = Verdict::default();
    for claim in claims(row) {
        let figures: Vec<(&str, Figure)> =
            lines.iter().map(|line| (line.kernel.as_str(), line.figure(claim.field))).collect();
        let judged: Vec<bool> =
            figures.iter().filter_map(|(_, figure)| figure.agrees_with(claim.number)).collect();
        let found = found(&figures);
        match (claim.lacks, judged.is_empty(), judged.contains(&false)) {
            (Some(why), ..) => verdict.open.push(format!("{} ({why})", claim.what)),
            (None, true, _) => verdict.open.push(format!("{} (not measured)", claim.what)),
            (None, false, false) => verdict.agrees.push(format!("{}, {found}", claim.what)),
            (None, false, true) => {
                verdict.corrected.push(format!("{}, {found} instead of {}", claim.what, claim.number));
            }
        }
    }
    verdict
}

struct Claimed {
    what: &'static str,
    number: u64,
    field: Field,
    /// Why this run cannot tell.
    lacks: Option<&'static str>,
}

/// The numbers that are said.
fn claims(row: &Row) -> Vec<Claimed> {
    let without = |hop: Hop, why: &'static str| (!row.has(hop)).then_some(why);
    let all = [
        ("copies per byte by the CPU", row.claim.cpu, Field::Cpu, None),
        ("mode switches per chunk", row.claim.switches, Field::SwitchesPerChunk, None),
        (
            "bytes per byte from and to the disk",
            row.claim.disk,
            Field::Disk,
            without(Hop::Disk, "the file is in memory"),
        ),
        (
            "bytes per byte to the network device",
            row.claim.nic,
            Field::Sent,
            without(Hop::Nic, "loopback has none"),
        ),
    ];
    let said = all.into_iter();
    said.filter_map(|(what, number, field, lacks)| Some(Claimed { what, number: number?, field, lacks }))
        .collect()
}

/// `1 on 5.10 and 0 on 6.1, 7.2`, or what all have.
fn found(figures: &[(&str, Figure)]) -> String {
    let known = figures.iter().filter(|(_, figure)| *figure != Figure::NotMeasured);
    let texts: Vec<(&str, String)> = known.map(|(kernel, figure)| (*kernel, figure.to_string())).collect();
    let groups = by_kernel(&texts).into_iter().map(|(kernels, text)| match kernels.as_str() {
        "" => text,
        kernels => format!("{text} on {kernels}"),
    });
    groups.collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::measured::parse;

    fn row(claim: &str) -> Row {
        let text =
            format!("id='a'\nsection='s'\ntitle=''\nwhy=''\nsource=[]\nhops=['disk']\n[claim]\n{claim}");
        toml::from_str(&text).unwrap()
    }

    fn lines(copied: [u64; 2]) -> Vec<Line> {
        let line = |(kernel, copied): (&str, u64)| {
            format!(
                r#"{{"row":"a","kernel":"{kernel}","release":"","bytes":100,"worker":{{"in_kernel":{copied}}}}}"#
            )
        };
        let text: Vec<String> = ["5.10", "6.1"].into_iter().zip(copied).map(line).collect();
        parse(&text.join("\n")).unwrap()
    }

    fn verdict(claim: &str, copied: [u64; 2]) -> Verdict {
        let lines = lines(copied);
        judge(&row(claim), &lines.iter().collect::<Vec<_>>())
    }

    #[test]
    fn numbers_decide() {
        let agreed = verdict("cpu=1", [100, 100]);
        assert_eq!(agreed.word(), "agrees");
        assert_eq!(agreed.sentence().unwrap(), "Agrees: copies per byte by the CPU, 1.");
        let corrected = verdict("cpu=1", [0, 0]);
        assert_eq!(corrected.word(), "**corrected**");
        assert_eq!(corrected.sentence().unwrap(), "Corrected: copies per byte by the CPU, 0 instead of 1.");
        let some = verdict("cpu=0", [100, 0]).sentence().unwrap();
        assert_eq!(some, "Corrected: copies per byte by the CPU, 1 on 5.10 and 0 on 6.1 instead of 0.");
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(verdict("disk=1", [0, 0]).word(), "not measured");
        let both = verdict("cpu=0\nnic=1", [0, 0]).sentence().unwrap();
        assert_eq!(
            both,
            "Agrees: copies per byte by the CPU, 0. \
             Not judged: bytes per byte to the network device (loopback has none)."
        );
        assert_eq!(verdict("", [0, 0]), Verdict::default());
        assert_eq!(verdict("", [0, 0]).sentence(), None);
    }
}
