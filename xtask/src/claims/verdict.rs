//! What is said against what was measured: agreement or correction, by comparing numbers.

use super::measured::{Field, Figure, Line, by_kernel};
use super::rows::{Hop, Row};

#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is said, so nothing is judged.
    NoClaim,
    /// None of the kernels has it.
    NotMeasured,
    Agrees,
    /// One sentence per number that is wrong.
    Corrected(Vec<String>),
}

impl Verdict {
    /// For the summary.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::NoClaim => "",
            Verdict::NotMeasured => "not measured",
            Verdict::Agrees => "agrees",
            Verdict::Corrected(_) => "**corrected**",
        }
    }

    pub fn sentence(&self) -> String {
        match self {
            Verdict::NoClaim => "The textbook has no line for it.".into(),
            Verdict::NotMeasured => "Not measured.".into(),
            Verdict::Agrees => "Agrees with what was measured.".into(),
            Verdict::Corrected(differences) => format!("Corrected: {}.", differences.join("; ")),
        }
    }
}

pub fn judge(row: &Row, lines: &[&Line]) -> Verdict {
    let claims = claims(row);
    if claims.is_empty() {
        return Verdict::NoClaim;
    }
    let mut differences = Vec::new();
    let mut judged = false;
    for (what, claimed, field) in claims {
        let figures: Vec<(&str, Figure)> =
            lines.iter().map(|line| (line.kernel.as_str(), line.figure(field))).collect();
        let verdicts: Vec<Option<bool>> =
            figures.iter().map(|(_, figure)| figure.agrees_with(claimed)).collect();
        judged |= verdicts.iter().any(Option::is_some);
        if verdicts.contains(&Some(false)) {
            differences.push(difference(what, claimed, &figures));
        }
    }
    match (judged, differences.is_empty()) {
        (false, _) => Verdict::NotMeasured,
        (true, true) => Verdict::Agrees,
        (true, false) => Verdict::Corrected(differences),
    }
}

/// What is said, of what this run can tell: a run without a NIC says nothing about one.
fn claims(row: &Row) -> Vec<(&'static str, u64, Field)> {
    let claim = &row.claim;
    let all = [
        ("copies per byte by the CPU", claim.cpu, Field::Cpu),
        ("mode switches per chunk", claim.switches, Field::SwitchesPerChunk),
        ("bytes per byte from and to the disk", claim.disk.filter(|_| row.has(Hop::Disk)), Field::Disk),
        ("bytes per byte to the network device", claim.nic.filter(|_| row.has(Hop::Nic)), Field::Sent),
    ];
    all.into_iter().filter_map(|(what, claimed, field)| Some((what, claimed?, field))).collect()
}

fn difference(what: &str, claimed: u64, figures: &[(&str, Figure)]) -> String {
    let known = figures.iter().filter(|(_, figure)| *figure != Figure::NotMeasured);
    let texts: Vec<(&str, String)> = known.map(|(kernel, figure)| (*kernel, figure.to_string())).collect();
    let groups = by_kernel(&texts).into_iter().map(|(kernels, text)| match kernels.as_str() {
        "" => text,
        kernels => format!("{text} on {kernels}"),
    });
    format!("{} {what}, not {claimed}", groups.collect::<Vec<_>>().join(" and "))
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
        assert_eq!(verdict("cpu=1", [100, 100]), Verdict::Agrees);
        let corrected = verdict("cpu=1", [0, 0]).sentence();
        assert_eq!(corrected, "Corrected: 0 copies per byte by the CPU, not 1.");
        let some = verdict("cpu=0", [100, 0]).sentence();
        assert_eq!(some, "Corrected: 1 on 5.10 and 0 on 6.1 copies per byte by the CPU, not 0.");
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(verdict("disk=1", [0, 0]), Verdict::NotMeasured);
        assert_eq!(verdict("nic=1", [0, 0]), Verdict::NoClaim);
        assert_eq!(verdict("cpu=0\ndisk=1", [0, 0]), Verdict::Agrees);
    }
}
