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
        self.compared().all(|compared| compared.residual() == 0)
    }

    fn compared(&self) -> impl Iterator<Item = &Compared> {
        self.rounds.iter().flat_map(|round| &round.compared)
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
        let metadata: Vec<_> = metadata.map(|((primitive, caller), (direction, bytes, calls))| {
            json!({"primitive": primitive, "caller": caller, "direction": direction.name(), "bytes": bytes, "calls": calls})
        }).collect();
        json!({
            "schema": "tracer/1",
            "kernel": self.kernel,
            "rounds": self.rounds.iter().map(|round| &round.primitives).collect::<Vec<_>>(),
            "witness": self.sums(|c| c.witness as i64),
            "counted": self.sums(|c| c.counted as i64),
            "residual": self.sums(Compared::residual),
            "compared": self.compared().map(compared).collect::<Vec<_>>(),
            "metadata": metadata,
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
        text.push_str(if self.is_clean() {
            "\nno residual\n"
        } else {
            "\nRESIDUAL: the probes and the hardware disagree\n"
        });
        text
    }
}
