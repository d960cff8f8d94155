//! What `tracer audit` prints.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use tracer_ebpf::abi::Direction;

use super::compare::{Compared, Round};
use crate::sink::human;

pub struct Report {
    pub kernel: String,
    pub rounds: Vec<Round>,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.compared().all(|compared| compared.residual() == 0) && self.pages().next().is_none()
    }

    fn compared(&self) -> impl Iterator<Item = &Compared> {
        self.rounds.iter().flat_map(|round| &round.compared)
    }

    /// Copies of a page and more that nothing counts, as [`Metadata`] has them.
    fn pages(&self) -> impl Iterator<Item = (&(&'static str, String), &(Direction, u64, u64))> {
        self.rounds.iter().flat_map(|round| &round.pages)
    }

    /// Why there is a residual.
    fn reasons(&self) -> Vec<String> {
        let differ = self.compared().any(|compared| compared.residual() != 0);
        let differ = differ.then(|| "the probes and the hardware disagree".to_owned());
        let pages = self.pages().map(|((primitive, caller), (_, bytes, calls))| {
            format!(
                "{} B in {} calls of {primitive} from {caller}: a page and more at a time is no structure, and nothing counts it",
                human::count(*bytes),
                human::count(*calls)
            )
        });
        differ.into_iter().chain(pages).collect()
    }

    /// Sums by direction; a direction in which nothing could be compared is absent.
    fn sums(&self, of: impl Fn(&Compared) -> i64) -> Map<String, Value> {
        let sum = |direction: Direction| {
            let mut compared = self.compared().filter(|c| c.group.direction == direction).peekable();
            compared.peek()?;
            Some((direction.name().to_owned(), json!(compared.map(&of).sum::<i64>())))
        };
        Direction::ALL.into_iter().filter_map(sum).collect()
    }

    pub fn to_json(&self) -> Value {
        let compared = |c: &Compared| {
            json!({
                "primitives": c.group.primitives,
                "direction": c.group.direction.name(),
                "witness": c.witness,
                "counted": c.counted,
                "residual": c.residual(),
            })
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
            "rounds": self.rounds.iter().map(|round| &round.primitives).collect::<Vec<_>>(),
            "witness": self.sums(|c| c.witness as i64),
            "counted": self.sums(|c| c.counted as i64),
            "residual": self.sums(Compared::residual),
            "compared": self.compared().map(compared).collect::<Vec<_>>(),
            "metadata": metadata.map(uncounted).collect::<Vec<_>>(),
            "uncounted_pages": self.pages().map(uncounted).collect::<Vec<_>>(),
            "reasons": self.reasons(),
        })
    }

    pub fn to_text(&self) -> String {
        let mut text = format!("audit on kernel {}: hardware breakpoints against the probes\n", self.kernel);
        for round in &self.rounds {
            let _ = writeln!(text, "\nbreakpoints on {}", round.primitives.join(", "));
            for c in &round.compared {
                let _ = writeln!(
                    text,
                    "  {:<10} witness {:>16} B   counted {:>16} B   residual {:>10} B   {}",
                    c.group.direction.name(),
                    human::count(c.witness),
                    human::count(c.counted),
                    c.residual(),
                    c.group.primitives.join(", "),
                );
            }
        }
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
        text.push_str(if self.is_clean() { "\nno residual\n" } else { "\n" });
        for reason in self.reasons() {
            let _ = writeln!(text, "RESIDUAL: {reason}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::audit::compare::Metadata;

    fn report(metadata: &[(&str, u64, u64)], pages: &[(&str, u64, u64)]) -> Report {
        let of = |all: &[(&str, u64, u64)]| -> Metadata {
            let one = |(caller, bytes, calls): &(&str, u64, u64)| {
                (("_copy_from_user", (*caller).to_owned()), (Direction::FromUser, *bytes, *calls))
            };
            all.iter().map(one).collect()
        };
        let (metadata, pages) = (of(metadata), of(pages));
        let round = Round { primitives: vec!["_copy_from_user"], compared: Vec::new(), metadata, pages };
        Report { kernel: "7.2".to_owned(), rounds: vec![round] }
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
}
