//! Sentences about what could not be seen, to be shown before the numbers.

use super::{Session, observed};
use crate::model::snapshot::Observed;

impl Session {
    pub(super) fn notes(&self, observed: &Observed) -> Vec<String> {
        let mut notes = Vec::new();
        notes.extend(self.unseen(observed));
        if observed.payload && !observed.copies {
            notes.push(
                "payload of io_uring, sendmmsg, recvmmsg, msgsnd and mq_send is told by their copies, and so is not \
                 observed either"
                    .to_owned(),
            );
        }
        if self.follows_forks && !self.is_attached("fork") {
            notes.push(
                "processes that begin from now on are not counted, or as ended ones whose pids they take: probe fork \
                 is not attached"
                    .to_owned(),
            );
        }
        if observed.copies && !self.tells_interrupts && self.facts.reduced().is_none() {
            notes.push(
                "kernel symbols are hidden (kernel.kptr_restrict), so bounce buffers copied in a hard interrupt \
                 are booked to the interrupted process"
                    .to_owned(),
            );
        }
        notes.extend(self.kernel.warning().map(str::to_owned));
        notes.extend(self.coverage.notes());
        notes
    }

    /// What is not observed, why, and what would help.
    fn unseen(&self, observed: &Observed) -> Option<String> {
        let unseen = observed::unseen(observed);
        let reduced = self.facts.reduced();
        let why = match &reduced {
            Some(refusal) => {
                format!("{}; to see all: {}, `tracer doctor` tells more", refusal.why, refusal.hint)
            }
            None => "`tracer doctor` tells why, and what would help".to_owned(),
        };
        (!unseen.is_empty()).then(|| format!("not observed here: {}. {why}", unseen.join(", ")))
    }
}
