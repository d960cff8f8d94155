//! Windows of one session: each is what was counted between a beginning and an end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tracer_ebpf::abi::Direction;

use crate::model::snapshot::{Derived as _, Snapshot};
use crate::output::json::to_json;
use crate::probes::hw_breakpoints;
use crate::session::Session;

/// Readings until the parts are the total: while nothing runs, the first one does.
const READINGS: usize = 25;

pub struct Meter {
    pub session: Session,
    opened: bool,
    begun: Option<Begun>,
}

struct Begun {
    before: Snapshot,
    started: SystemTime,
    at: Instant,
}

/// A window, and what came up in it about what could not be seen.
pub struct Counted {
    /// As the contract has it, with `sources` added.
    pub json: Value,
    pub snapshot: Snapshot,
    pub new_notes: Vec<String>,
}

impl Meter {
    pub fn new(session: Session) -> Self {
        Meter { session, opened: false, begun: None }
    }

    pub fn is_in_window(&self) -> bool {
        self.begun.is_some()
    }

    /// A window begins. The gate is opened for the first, so that this one begins at once everywhere; later
    /// ones begin with a reading, and are exact if nothing runs then.
    pub fn begin(&mut self) -> Result<()> {
        self.session.refresh();
        hw_breakpoints::counted(&mut self.session.kernel)?;
        let before = if self.opened { self.quiet_reading() } else { self.session.snapshot() };
        if !self.opened {
            self.session.open()?;
            self.opened = true;
        }
        self.begun = Some(Begun { before, started: SystemTime::now(), at: Instant::now() });
        Ok(())
    }

    /// The window ends; with the last one, counting does.
    pub fn end(&mut self, last: bool) -> Result<Counted> {
        let begun = self.begun.take().context("no window has begun")?;
        let length = begun.at.elapsed();
        if last {
            self.session.close()?;
        }
        self.session.refresh();
        let after = self.quiet_reading();
        let mut window = after.since(&begun.before);
        window.started = begun.started;
        window.window = length;
        // Those of earlier windows, and programs of tracer's own.
        window.processes.retain(|process| !process.exited || !process.ledger.is_empty());
        let new_notes =
            after.notes.iter().filter(|note| !begun.before.notes.contains(note)).cloned().collect();
        let mut json = to_json(&window);
        json["sources"] = self.sources(&window)?;
        Ok(Counted { json, snapshot: window, new_notes })
    }

    fn quiet_reading(&self) -> Snapshot {
        for _ in 1..READINGS {
            let reading = self.session.snapshot();
            if reading.adds_up() {
                return reading;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.session.snapshot()
    }

    /// Which functions the copies were counted at.
    fn sources(&mut self, window: &Snapshot) -> Result<Value> {
        let counted = hw_breakpoints::counted(&mut self.session.kernel)?;
        let symbols: BTreeMap<&str, &str> =
            window.probes.iter().map(|probe| (probe.name, probe.symbol.as_str())).collect();
        Ok(counted
            .into_iter()
            .map(|(name, cells)| {
                let of = |direction: Direction| -> u64 {
                    cells.iter().filter(|((_, d), _)| *d == direction).map(|(_, bytes)| bytes).sum()
                };
                let copied: BTreeMap<&str, u64> = Direction::ALL.iter().map(|d| (d.name(), of(*d))).collect();
                json!({"probe": name, "symbol": symbols.get(name).unwrap_or(&name), "copied_bytes": copied})
            })
            .collect())
    }
}
