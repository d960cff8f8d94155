//! What is told on standard error before counting begins.

use crate::fmt::{human, say};
use crate::model::snapshot::CoverageState;
use crate::session::Session;

/// Reasons told before counting begins; the rest is in `doctor` and in the JSON.
const REASONS: usize = 5;

/// What cannot be seen, before counting begins.
pub fn warn(session: &Session) {
    let snapshot = session.snapshot();
    let (observed, coverage) = (snapshot.observed, &snapshot.coverage);
    if !observed.copies {
        say("copies are NOT OBSERVED on this kernel; the rest is counted");
    } else if coverage.state != CoverageState::Complete {
        say(&format!("coverage of copies is {}", coverage.state_since()));
    }
    for reason in coverage.reasons.iter().take(REASONS) {
        say(&format!("  {}", human::escape(reason)));
    }
    if !coverage.reasons.is_empty() {
        say("  `tracer doctor` shows every probe, with cause and remedy");
    }
    for note in &snapshot.notes {
        say(&human::escape(note));
    }
}

/// The one line that tells scripts that counting has begun.
pub fn counting(what: &str) {
    say(&format!("counting {what}"));
}
