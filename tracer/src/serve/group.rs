//! What was counted for a group, and how a page shows it.

use serde::{Deserialize, Serialize};
use tracer_ebpf::abi::Ledger;

use super::labels::Who;
use super::persist::sparse;
use crate::model::snapshot::{Highest, plus};
use crate::output::prometheus::{Active, label_text};

/// Everything that was counted for one group.
#[derive(Clone, Serialize, Deserialize)]
pub struct Group {
    #[serde(with = "sparse")]
    pub ledger: Ledger,
    /// Summed up process by process, because it does not follow from a sum of ledgers.
    #[serde(flatten)]
    pub highest: Highest,
    /// One of its processes, if it is grouped by pid and that lives.
    pub(super) who: Option<Who>,
    /// Living processes in it.
    pub(super) living: usize,
    /// The lower the older.
    pub(super) order: u64,
    /// Number of series that it has, once known; reset by what changes them.
    #[serde(skip)]
    pub(super) series: Option<usize>,
    /// Of the ledger.
    #[serde(skip)]
    pub active: Active,
    /// Its key as text.
    #[serde(skip)]
    pub labels: String,
    /// The labels of its process as text; empty if it has none.
    #[serde(skip)]
    pub info: String,
}

impl Group {
    pub(super) fn new(order: u64, labels: String) -> Self {
        Group {
            ledger: Ledger::ZERO,
            highest: Highest::default(),
            who: None,
            living: 0,
            order,
            series: None,
            active: Active::default(),
            labels,
            info: String::new(),
        }
    }

    pub(super) fn add(&mut self, ledger: &Ledger, highest: &Highest) {
        self.ledger = plus(&self.ledger, ledger);
        self.highest.add(highest);
        self.active = Active::of(&self.ledger);
        self.series = None;
    }

    pub fn who(&self) -> Option<&Who> {
        self.who.as_ref()
    }

    pub(super) fn set_who(&mut self, who: Option<Who>) {
        if self.who != who {
            self.who = who;
            self.write_info();
        }
    }

    /// Makes up for what is not saved, because it follows from what is.
    pub(super) fn complete(&mut self, labels: String) {
        self.labels = labels;
        self.active = Active::of(&self.ledger);
        self.write_info();
    }

    fn write_info(&mut self) {
        let labels = self.who.as_ref().map(Who::labels).unwrap_or_default();
        self.info = label_text(labels.iter().map(|(name, value)| (*name, value.as_str())));
        self.series = None;
    }
}
