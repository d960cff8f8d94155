//! Processes that have ended and whose slots were given back: their counts stay.

use std::collections::VecDeque;

use crate::model::snapshot::{Folded, Process};

/// Ended processes that are kept one by one (about 2.6 KB each); older ones are only in the sum.
pub const KEPT: usize = 16_384;

/// Ended processes, oldest first, and the sum of those that are too many.
pub struct Ended {
    limit: usize,
    kept: VecDeque<Process>,
    folded: Folded,
}

impl Ended {
    /// Keeps up to `limit` of them one by one.
    pub fn new(limit: usize) -> Self {
        Ended { limit, kept: VecDeque::new(), folded: Folded::default() }
    }

    /// Takes the last word on a process.
    pub fn push(&mut self, process: Process) {
        self.kept.push_back(process);
        while self.kept.len() > self.limit
            && let Some(oldest) = self.kept.pop_front()
        {
            self.folded.processes += 1;
            self.folded.add(&oldest);
        }
    }

    pub fn kept(&self) -> impl Iterator<Item = &Process> {
        self.kept.iter()
    }

    pub fn folded(&self) -> &Folded {
        &self.folded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::snapshot::plus;
    use crate::output::testing::{process, sendfile};

    #[test]
    fn what_is_too_much_is_in_the_sum() {
        let mut ended = Ended::new(2);
        for pid in 1..=5 {
            ended.push(process(pid, "x", sendfile()));
        }
        assert_eq!(ended.kept().map(|p| p.pid).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(ended.folded().processes, 3);
        let three = plus(&plus(&sendfile(), &sendfile()), &sendfile());
        assert_eq!(ended.folded().ledger.ledger, three);
    }

    #[test]
    fn none_may_be_kept() {
        let mut ended = Ended::new(0);
        ended.push(process(1, "x", sendfile()));
        assert_eq!((ended.kept().count(), ended.folded().ledger.ledger), (0, sendfile()));
    }
}
