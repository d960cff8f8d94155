//! What a server has to say, and what it counts of itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Page, SnapshotFn};
use crate::output::prometheus::Exporter;

/// The content of the pages. Its functions may block: the server asks on a thread that it keeps for that.
pub trait Pages: Send + Sync {
    /// `/metrics`; `None` if they cannot be read now. Never called twice at once.
    fn metrics(&self, server: &Stats) -> Option<Page>;

    /// How long the page that was made last may be served again. Of what is counted nobody gets a reading from
    /// before the question.
    fn fresh_for(&self) -> Duration {
        Duration::ZERO
    }

    /// `/status`: JSON.
    fn status(&self) -> Option<String> {
        None
    }

    /// `/-/ready`, or why not.
    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Pages of a command that counts already when it serves.
pub struct Live {
    pub snapshot: SnapshotFn,
    pub exporter: Mutex<Exporter>,
}

impl Pages for Live {
    fn metrics(&self, _: &Stats) -> Option<Page> {
        let snapshot = (self.snapshot)();
        // Poisoned or not, what it keeps are plain numbers.
        let mut exporter = self.exporter.lock().unwrap_or_else(PoisonError::into_inner);
        Some(exporter.render(&snapshot).into())
    }
}

/// Statuses that are answered at all.
pub const STATUSES: [u16; 7] = [200, 401, 404, 405, 429, 500, 503];

/// What the server did so far.
#[derive(Default)]
pub struct Stats {
    answered: [AtomicU64; STATUSES.len()],
    /// Connections closed to make room for newer ones.
    pub evicted: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub handshakes: AtomicU64,
    /// The last content of the web configuration file is not in use, because it is wrong.
    pub web_config_refused: AtomicBool,
}

impl Stats {
    pub fn answered(&self, status: u16) {
        if let Some(i) = STATUSES.iter().position(|known| *known == status) {
            self.answered[i].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Number of answers by status.
    pub fn by_status(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        STATUSES.iter().zip(&self.answered).map(|(status, count)| (*status, count.load(Ordering::Relaxed)))
    }
}
