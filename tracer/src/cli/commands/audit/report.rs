//! What `tracer audit` prints.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use tracer_ebpf::abi::{Direction, Path};

use super::compare::{Compared, Counted, Round, Sides, Uncounted};
use crate::fmt::human;

pub struct Report {
    pub kernel: String,
    pub rounds: Vec<Round>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        !self.differs() && self.pages().next().is_none() && self.refusing().next().is_none()
    }

    /// Where breakpoints and probes do not agree, on some path.
    fn differs(&self) -> bool {
        let residual = |sides: &Sides| sides.residual() != 0;
        self.compared().any(|compared| compared.paths.values().any(residual))
            || self.counted().any(|counted| residual(&counted.sides))
    }

    fn compared(&self) -> impl Iterator<Item = &Compared> {
        self.rounds.iter().flat_map(|round| &round.compared)
    }

    fn counted(&self) -> impl Iterator<Item = &Counted> {
        self.rounds.iter().flat_map(|round| &round.counted)
    }

    /// Copies of a page and more that nothing counts, as [`Metadata`](super::compare::Metadata) has them.
    fn pages(&self) -> impl Iterator<Item = (&(&'static str, String), &(Direction, u64, u64))> {
        self.rounds.iter().flat_map(|round| &round.pages)
    }

    /// Copies of all that moves somewhere, where nothing counts them.
    fn every_byte(&self) -> impl Iterator<Item = &Uncounted> {
        self.rounds.iter().flat_map(|round| &round.uncounted)
    }

    /// Those of them whose use refuses coverage the state `complete`. The others every machine has (terminals).
    fn refusing(&self) -> impl Iterator<Item = &Uncounted> {
        self.every_byte().filter(|uncounted| !uncounted.entry.signs().is_empty())
    }

    /// By path and direction, over all rounds.
    fn paths(&self) -> BTreeMap<(Option<Path>, Direction), Sides> {
        let mut paths: BTreeMap<_, Sides> = BTreeMap::new();
        for compared in self.compared() {
            for (path, sides) in &compared.paths {
                paths.entry((*path, compared.group.direction)).or_default().add(*sides);
            }
        }
        paths
    }

    /// Why there is a residual.
    fn reasons(&self) -> Vec<String> {
        let differ = self.differs().then(|| "the probes and the hardware disagree".to_owned());
        let pages = self.pages().map(|((primitive, caller), (_, bytes, calls))| {
            format!(
                "{} B in {} calls of {primitive} from {caller}: a page and more at a time is no structure, and nothing counts it",
                human::count(*bytes),
                human::count(*calls)
            )
        });
        let refusing = self
            .refusing()
            .map(|uncounted| format!("{}: nothing counts it (docs/coverage.md)", of(uncounted)));
        differ.into_iter().chain(pages).chain(refusing).collect()
    }

    /// Sums by direction; a direction in which nothing could be compared is absent.
    fn sums(&self, of: impl Fn(Sides) -> i64) -> Map<String, Value> {
        let sum = |direction: Direction| {
            let mut compared = self.compared().filter(|c| c.group.direction == direction).peekable();
            compared.peek()?;
            Some((direction.name().to_owned(), json!(compared.map(|c| of(c.sum())).sum::<i64>())))
        };
        Direction::ALL.into_iter().filter_map(sum).collect()
    }

    pub fn to_json(&self) -> Value {
        let compared = |c: &Compared| {
            let mut value = sides(c.sum());
            value["primitives"] = json!(c.group.primitives);
            value["direction"] = json!(c.group.direction.name());
            value
        };
        let path = |((path, direction), both): (&(Option<Path>, Direction), &Sides)| {
            let mut value = sides(*both);
            value["path"] = json!(path_name(*path));
            value["direction"] = json!(direction.name());
            value
        };
        let counted = |counted: &Counted| {
            let mut value = sides(counted.sides);
            value["memcpy"] = json!(counted.name);
            value["probe"] = json!(counted.row);
            value
        };
        let every_byte = |uncounted: &Uncounted| {
            json!({
                "memcpy": uncounted.name,
                "what": uncounted.entry.what,
                "bytes": uncounted.bytes,
                "calls": uncounted.calls,
            })
        };
        let rounds = |of: fn(&Round) -> Value| -> Vec<Value> {
            self.rounds.iter().map(of).filter(|watched| *watched != json!([])).collect()
        };
        let metadata = self.rounds.iter().flat_map(|round| &round.metadata);
        let uncounted = |((primitive, caller), (direction, bytes, calls)): (
            &(&str, String),
            &(Direction, u64, u64),
        )| {
            json!({"primitive": primitive, "caller": caller, "direction": direction.name(), "bytes": bytes, "calls": calls})
        };
        json!({
            "schema": "tracer/1",
            "kernel": self.kernel,
            "rounds": rounds(|round| json!(round.primitives)),
            "memcpy_rounds": rounds(|round| json!(round.places)),
            "witness": self.sums(|sides| sides.witness as i64),
            "counted": self.sums(|sides| sides.counted as i64),
            "residual": self.sums(|sides| sides.residual()),
            "compared": self.compared().map(compared).collect::<Vec<_>>(),
            "paths": self.paths().iter().map(path).collect::<Vec<_>>(),
            "memcpy": self.counted().map(counted).collect::<Vec<_>>(),
            "metadata": metadata.map(uncounted).collect::<Vec<_>>(),
            "uncounted_pages": self.pages().map(uncounted).collect::<Vec<_>>(),
            "uncounted_memcpy": self.every_byte().map(every_byte).collect::<Vec<_>>(),
            "reasons": self.reasons(),
        })
    }

    pub fn to_text(&self) -> String {
        let mut text = format!("audit on kernel {}: hardware breakpoints against the probes\n", self.kernel);
        for round in &self.rounds {
            let watched = [round.primitives.join(", "), round.places.join("; ")].concat();
            let _ = writeln!(text, "\nbreakpoints on {watched}");
            for c in &round.compared {
                line(&mut text, c.group.direction.name(), c.sum(), &c.group.primitives.join(", "));
            }
            for counted in &round.counted {
                line(&mut text, counted.row, counted.sides, &counted.name);
            }
        }
        let paths = self.paths();
        if !paths.is_empty() {
            text.push_str("\nby path\n");
        }
        for ((path, direction), both) in paths {
            line(&mut text, path_name(path), both, direction.name());
        }
        self.metadata_as_text(&mut text);
        let elsewhere: Vec<_> = self.every_byte().filter(|u| u.entry.signs().is_empty()).collect();
        if !elsewhere.is_empty() {
            text.push_str(
                "\ncopies that nothing counts and every machine has (no residual; docs/coverage.md):\n",
            );
        }
        for uncounted in elsewhere {
            let _ = writeln!(text, "  {}", of(uncounted));
        }
        text.push_str(if self.is_clean() { "\nno residual\n" } else { "\n" });
        for reason in self.reasons() {
            let _ = writeln!(text, "RESIDUAL: {reason}");
        }
        text
    }

    fn metadata_as_text(&self, text: &mut String) {
        let metadata: Vec<_> = self.rounds.iter().flat_map(|round| &round.metadata).collect();
        if !metadata.is_empty() {
            text.push_str("\nstructures of constant size, which no probe sees (no residual):\n");
        }
        for ((primitive, caller), (_, bytes, calls)) in metadata {
            let _ = writeln!(
                text,
                "  {:>10} B in {:>6} calls  {primitive} from {caller}",
                human::count(*bytes),
                human::count(*calls)
            );
        }
    }
}

fn path_name(path: Option<Path>) -> &'static str {
    path.map_or("unknown", Path::name)
}

fn of(uncounted: &Uncounted) -> String {
    let (bytes, calls) = (human::count(uncounted.bytes), human::count(uncounted.calls));
    format!("{bytes} B in {calls} calls of {}: {}", uncounted.name, uncounted.entry.what)
}

fn sides(both: Sides) -> Value {
    json!({"witness": both.witness, "counted": both.counted, "residual": both.residual()})
}

fn line(text: &mut String, what: &str, both: Sides, of: &str) {
    let _ = writeln!(
        text,
        "  {what:<15} witness {:>16} B   counted {:>16} B   residual {:>10} B   {of}",
        human::count(both.witness),
        human::count(both.counted),
        both.residual(),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callsites::survey;
    use crate::cli::commands::audit::compare::Metadata;
    use crate::cli::commands::audit::groups::Group;

    fn report(metadata: &[(&str, u64, u64)], pages: &[(&str, u64, u64)]) -> Report {
        let of = |all: &[(&str, u64, u64)]| -> Metadata {
            let one = |(caller, bytes, calls): &(&str, u64, u64)| {
                (("_copy_from_user", (*caller).to_owned()), (Direction::FromUser, *bytes, *calls))
            };
            all.iter().map(one).collect()
        };
        let (metadata, pages) = (of(metadata), of(pages));
        let round = Round { primitives: vec!["_copy_from_user"], metadata, pages, ..Round::default() };
        Report { kernel: "7.2".to_owned(), rounds: vec![round] }
    }

    /// Two calls in a function of the survey.
    fn uncounted(function: &str, bytes: u64) -> Report {
        let entry = survey::entries().find(|entry| entry.functions.contains(&function)).unwrap();
        let uncounted = vec![Uncounted { name: "memcpy in f".into(), entry, bytes, calls: 2 }];
        Report { kernel: "7.2".into(), rounds: vec![Round { uncounted, ..Round::default() }] }
    }

    #[test]
    fn structures_are_no_residual_and_pages_are() {
        let clean = report(&[("do_sys_poll", 4095, 1)], &[]);
        assert!(clean.is_clean() && clean.reasons().is_empty());
        assert!(clean.to_text().ends_with("\nno residual\n"));

        let uncounted = report(&[], &[("mfill_atomic", 4096 * 1024, 1024)]);
        assert!(!uncounted.is_clean());
        let text = uncounted.to_text();
        assert!(text.contains("\nRESIDUAL: 4,194,304 B in 1,024 calls of _copy_from_user"), "{text}");
        assert_eq!(uncounted.to_json()["uncounted_pages"][0]["caller"], "mfill_atomic");
    }

    #[test]
    fn a_residual_of_a_path_is_not_hidden_by_another_paths() {
        let group =
            Group { direction: Direction::ToUser, primitives: vec!["_copy_to_iter"], rows: vec!["check"] };
        let paths = [
            (Some(Path::Read), Sides { witness: 4096, counted: 0 }),
            (Some(Path::OtherSyscall), Sides { witness: 0, counted: 4096 }),
        ];
        let compared = vec![Compared { group, paths: paths.into() }];
        let report = Report { kernel: "7.2".into(), rounds: vec![Round { compared, ..Round::default() }] };
        assert_eq!(report.to_json()["residual"]["to_user"], 0);
        assert_eq!(report.to_json()["paths"][0]["residual"], 4096);
        assert!(!report.is_clean());
        assert!(report.to_text().contains("RESIDUAL: the probes and the hardware disagree"));
    }

    #[test]
    fn calls_of_memcpy_are_a_residual_if_nothing_counts_them() {
        let of = |witness, counted| {
            let sides = Sides { witness, counted };
            let counted = vec![Counted { name: "memcpy in fuse_copy_do".into(), row: "fuse_copy", sides }];
            Report { kernel: "7.2".into(), rounds: vec![Round { counted, ..Round::default() }] }
        };
        assert!(of(8192, 8192).is_clean());
        assert!(!of(8192, 4096).is_clean());
        let report = uncounted("sctp_packet_transmit", 2000);
        let text = report.to_text();
        assert!(text.contains("\nRESIDUAL: 2,000 B in 2 calls of memcpy in f: SCTP"), "{text}");
        assert_eq!(report.to_json()["uncounted_memcpy"][0]["bytes"], 2000);
        assert!(!report.is_clean());
    }

    #[test]
    fn what_every_machine_has_is_shown_and_is_no_residual() {
        let report = uncounted("canon_copy_from_read_buf", 20);
        let text = report.to_text();
        assert!(text.contains("\n  20 B in 2 calls of memcpy in f: terminals"), "{text}");
        assert!(text.ends_with("\nno residual\n"), "{text}");
    }
}
