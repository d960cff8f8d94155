//! `tracer audit`: the witness beside the probes, on the user's own process.
//!
//! The two are compared where they speak of the same bytes: in a round, the rows all of whose primitives
//! are under a breakpoint. What a breakpoint sees at a call site that no probe covers is metadata of
//! constant size: it is named, and is no residual.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tracer_ebpf::abi::{DIRECTIONS, Direction};
use tracer_ebpf::table::{PRIMITIVES, Primitive};

use super::watch::Signals;
use super::{Outcome, status, watch};
use crate::cli::{Audit, Format};
use crate::coverage::IN_LIB;
use crate::facts::kallsyms::Kallsyms;
use crate::fault::Fault;
use crate::plan::Attach;
use crate::session::{Options, Selection, Session};
use crate::sink::human;
use crate::target;
use crate::witness::{self, SLOTS, Testimony};

/// Which primitives a row's bytes go through. A kernel lacks some; the rest has to be complete.
const ROW_PRIMITIVES: &[(&str, &[&str])] = &[
    (
        "check",
        &["_copy_to_user", "_copy_to_iter", "_copy_from_user", "_copy_from_iter", "_copy_from_iter_full"],
    ),
    ("random_read", &["_copy_to_iter"]),
    ("file_read", TO_PAGE),
    ("shmem_read", TO_PAGE),
    ("hugetlbfs_read", TO_PAGE),
    ("pipe_read", TO_PAGE),
    ("pipe_to_user", TO_PAGE),
    ("file_write", ATOMIC),
    ("iomap_write", ATOMIC),
    ("fuse_write", ATOMIC),
    ("pipe_write", FROM_PAGE),
    ("skb_from_iter", FROM_PAGE),
    ("process_vm", &["copy_page_to_iter", "copy_page_from_iter"]),
];
const TO_PAGE: &[&str] = &["copy_page_to_iter"];
const FROM_PAGE: &[&str] = &["copy_page_from_iter"];
const ATOMIC: &[&str] =
    &["copy_page_from_iter_atomic", "copy_folio_from_iter_atomic", "iov_iter_copy_from_user_atomic"];

pub fn audit(args: Audit) -> Outcome {
    match report(&args) {
        Ok(report) => {
            let text = match args.format {
                Format::Json => format!("{}\n", report.to_json()),
                Format::Table => report.to_text(),
            };
            super::print(&text)?;
            Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(status::RESIDUAL) })
        }
        Err(error) => {
            crate::sink::say(&format!("could not audit: {error:#}"));
            Ok(ExitCode::from(status::NO_AUDIT))
        }
    }
}

type Watched = (&'static Primitive, u64);

fn report(args: &Audit) -> Result<Report> {
    if !cfg!(target_arch = "x86_64") {
        bail!("hardware breakpoints on kernel functions are supported on x86_64 only");
    }
    let target = target::resolve(args.pid)?;
    let options = Options {
        attach: Attach::Auto,
        audit: true,
        copy_sizes: false,
        stats: false,
        fault: Fault::from_env()?,
    };
    let selection = Selection::Processes { targets: vec![target], children: false };
    let mut session = Session::prepare(&selection, &options)?;
    let rounds = {
        let Some(symbols) = session.coverage.symbols() else {
            bail!("kernel symbols are needed: {}", session.snapshot().coverage.reasons.join("; "));
        };
        rounds(symbols, &args.primitive)?
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let share = args.duration / rounds.len() as u32;
    let mut report = Report { kernel: session.facts.release.clone(), rounds: Vec::new() };
    runtime.block_on(async {
        let mut signals = Signals::install()?;
        let mut announced = false;
        for watched in &rounds {
            let points = witness::place(&mut session.kernel, watched)?;
            session.open()?;
            if !std::mem::replace(&mut announced, true) {
                watch::announce(&format!("pid {}", args.pid));
            }
            let go_on = wait(share, &mut signals).await;
            session.close()?;
            points.remove(&mut session.kernel)?;
            report.rounds.push(Round::compare(&mut session, watched)?);
            if !go_on {
                break;
            }
        }
        Ok(report)
    })
}

/// False if a signal ended the wait.
async fn wait(time: Duration, signals: &mut Signals) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = signals.any() => false,
    }
}

/// The primitives of this kernel in rounds of at most four, those of one direction together.
fn rounds(symbols: &Kallsyms, wanted: &[String]) -> Result<Vec<Vec<Watched>>> {
    let mut there: Vec<Watched> = Vec::new();
    for primitive in PRIMITIVES.iter().filter(|p| !p.witness_program.is_empty()) {
        there.extend(symbols.address(primitive.name).map(|address| (primitive, address)));
    }
    if !wanted.is_empty() {
        let chosen: Vec<Watched> =
            there.iter().copied().filter(|(p, _)| wanted.iter().any(|w| w == p.name)).collect();
        if chosen.len() != wanted.len() || chosen.len() > SLOTS {
            let names: Vec<_> = there.iter().map(|(p, _)| p.name).collect();
            bail!("--primitive takes up to {SLOTS} of this kernel's: {}", names.join(", "));
        }
        return Ok(vec![chosen]);
    }
    let mut rounds = Vec::new();
    for direction in [Direction::ToUser, Direction::FromUser] {
        let side: Vec<Watched> = there.iter().copied().filter(|(p, _)| p.direction == direction).collect();
        rounds.extend(side.chunks(SLOTS).map(<[_]>::to_vec));
    }
    Ok(rounds)
}

/// One round's comparison.
struct Round {
    primitives: Vec<&'static str>,
    /// Bytes by direction, at covered call sites and by the probes; `None`: not comparable here.
    witness: [Option<u64>; DIRECTIONS],
    counted: [Option<u64>; DIRECTIONS],
    /// `(primitive, caller) -> (direction, bytes, calls)`: structures of constant size.
    metadata: BTreeMap<(&'static str, String), (Direction, u64, u64)>,
}

impl Round {
    fn compare(session: &mut Session, watched: &[Watched]) -> Result<Round> {
        let heard = witness::hear(&mut session.kernel)?;
        let rows = witness::counted(&mut session.kernel)?;
        let symbols = session.coverage.symbols().context("kernel symbols are gone")?;
        let has = |name: &str| watched.iter().any(|(p, _)| p.name == name);
        let exists = |name: &str| symbols.address(name).is_some();
        let directions = |name: &str| PRIMITIVES.iter().find(|p| p.name == name).map(|p| p.direction);
        let mut round = Round {
            primitives: watched.iter().map(|(p, _)| p.name).collect(),
            witness: [None; DIRECTIONS],
            counted: [None; DIRECTIONS],
            metadata: BTreeMap::new(),
        };
        for (_, direction) in watched.iter().map(|(p, _)| (p, p.direction)) {
            round.witness[direction as usize] = Some(0);
        }
        round.witness[Direction::InKernel as usize] = Some(0);
        for testimony in &heard {
            round.take(session, testimony);
        }
        for (row, primitives) in ROW_PRIMITIVES {
            for direction in Direction::ALL {
                // In-kernel copies of a row go through the primitives of both directions.
                let relevant = || {
                    primitives.iter().filter(|p| {
                        exists(p) && (direction == Direction::InKernel || directions(p) == Some(direction))
                    })
                };
                let bytes = rows.get(row).map_or(0, |bytes| bytes[direction as usize]);
                let complete = relevant().all(|p| has(p));
                // The check's in-kernel copies may be of either side; they belong to the round that has them.
                let partly = direction == Direction::InKernel && relevant().any(|p| has(p));
                if relevant().next().is_some() && (complete || partly) {
                    *round.counted[direction as usize].get_or_insert(0) += bytes;
                }
            }
        }
        let sites = rows.get("call_site").copied().unwrap_or_default();
        for (counted, bytes) in round.counted.iter_mut().zip(sites) {
            *counted = counted.map(|counted| counted + bytes);
        }
        Ok(round)
    }

    /// Books one testimony as covered or as metadata; calls within the copy helpers are their caller's.
    fn take(&mut self, session: &Session, testimony: &Testimony) {
        let (site, coverage) = caller(session, testimony);
        if IN_LIB.contains(&site.as_str()) {
            return;
        }
        if coverage == Some("uncovered") {
            let entry =
                self.metadata.entry((testimony.primitive.name, site)).or_insert((testimony.direction, 0, 0));
            entry.1 += testimony.count.bytes;
            entry.2 += testimony.count.calls;
            return;
        }
        *self.witness[testimony.direction as usize].get_or_insert(0) += testimony.count.bytes;
    }

    fn residual(&self, direction: Direction) -> Option<i64> {
        let (witness, counted) = (self.witness[direction as usize]?, self.counted[direction as usize]?);
        Some(witness as i64 - counted as i64)
    }
}

/// The function that called, and what covers its call.
fn caller(session: &Session, testimony: &Testimony) -> (String, Option<&'static str>) {
    let address = testimony.return_address;
    let function = session.coverage.symbols().and_then(|s| s.function(address - 1));
    let name = function.map_or_else(|| format!("{address:#x}"), |f| f.name.to_owned());
    // The site whose instruction ends at the return address: `call rel32` has five bytes. A tail call
    // returns to its function's caller, which is no site; its coverage is that of the whole function.
    let site = session.coverage.sites().iter().find(|(site, _)| site.addr + 5 == address);
    (name, site.map(|(_, coverage)| coverage.name()))
}

struct Report {
    kernel: String,
    rounds: Vec<Round>,
}

impl Report {
    fn is_clean(&self) -> bool {
        self.rounds.iter().all(|round| Direction::ALL.iter().all(|d| round.residual(*d).unwrap_or(0) == 0))
    }

    /// Sum over the rounds that compared a direction; `None` if none did.
    fn sum<T: std::iter::Sum>(&self, of: impl Fn(&Round) -> Option<T>) -> Option<T> {
        let values: Vec<T> = self.rounds.iter().filter_map(of).collect();
        (!values.is_empty()).then(|| values.into_iter().sum())
    }

    fn to_json(&self) -> serde_json::Value {
        let mut directions = [serde_json::Map::new(), serde_json::Map::new(), serde_json::Map::new()];
        for direction in Direction::ALL {
            let i = direction as usize;
            let name = direction.name().to_owned();
            let compared = |r: &&Round| r.residual(direction).is_some();
            if self.rounds.iter().any(|r| compared(&r)) {
                let of = |get: fn(&Round, usize) -> Option<u64>| {
                    self.sum(|r| r.residual(direction).and_then(|_| get(r, i)))
                };
                directions[0].insert(name.clone(), json!(of(|r, i| r.witness[i])));
                directions[1].insert(name.clone(), json!(of(|r, i| r.counted[i])));
                directions[2].insert(name, json!(self.sum(|r| r.residual(direction))));
            }
        }
        let [witness, counted, residual] = directions;
        let metadata: Vec<_> = self.metadata().map(|((primitive, caller), (direction, bytes, calls))| {
            json!({"primitive": primitive, "caller": caller, "direction": direction.name(), "bytes": bytes, "calls": calls})
        }).collect();
        let rounds: Vec<_> = self.rounds.iter().map(|r| json!(r.primitives)).collect();
        json!({
            "schema": "tracer/1",
            "kernel": self.kernel,
            "rounds": rounds,
            "witness": witness,
            "counted": counted,
            "residual": residual,
            "metadata": metadata,
        })
    }

    fn metadata(&self) -> impl Iterator<Item = (&(&'static str, String), &(Direction, u64, u64))> {
        self.rounds.iter().flat_map(|round| &round.metadata)
    }

    fn to_text(&self) -> String {
        let mut text = format!("audit on kernel {}: hardware breakpoints against the probes\n", self.kernel);
        for round in &self.rounds {
            let _ = writeln!(text, "\nbreakpoints on {}", round.primitives.join(", "));
            for direction in Direction::ALL {
                let Some(residual) = round.residual(direction) else { continue };
                let bytes = |value: Option<u64>| human::count(value.unwrap_or(0));
                let i = direction as usize;
                let _ = writeln!(
                    text,
                    "  {:<10} witness {:>16} B   counted {:>16} B   residual {residual:>10} B",
                    direction.name(),
                    bytes(round.witness[i]),
                    bytes(round.counted[i]),
                );
            }
        }
        if self.metadata().next().is_some() {
            text.push_str("\nstructures of constant size, which no probe sees (no residual):\n");
        }
        for ((primitive, caller), (_, bytes, calls)) in self.metadata() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_ebpf::table::ROWS;

    #[test]
    fn rows_and_primitives_exist() {
        for (row, primitives) in ROW_PRIMITIVES {
            assert!(ROWS.iter().any(|r| r.name == *row), "{row}");
            for p in *primitives {
                assert!(PRIMITIVES.iter().any(|q| q.name == *p), "{p}");
            }
        }
    }
}
