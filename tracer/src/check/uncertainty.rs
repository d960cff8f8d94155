//! What can still be said when a window is in doubt.
//!
//! Missing events can only add to a sum: "more than 0 bytes were copied" stays true, "nothing was copied"
//! does not. So a limit that is exceeded may be a violation for certain even in a window that could never
//! pass.

use super::metric::Nature;
use super::reason::Doubt;

/// What a comparison claims of the true value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// It is at least what was measured.
    AtLeast,
    /// It is not 0.
    NotZero,
    /// It is at most what was measured.
    AtMost,
    /// It is what was measured.
    Exactly,
}

/// True if the claim holds whatever the doubt is about.
pub fn is_certain(claim: Claim, nature: Nature, of_a_process: bool, doubts: &[Doubt]) -> bool {
    doubts.iter().all(|doubt| survives(claim, nature, of_a_process, *doubt))
}

fn survives(claim: Claim, nature: Nature, of_a_process: bool, doubt: Doubt) -> bool {
    let is_sum = matches!(nature, Nature::Copies | Nature::Events);
    // A sum that can only grow. Of a ratio only this much is left: it is not 0 if its numerator is not.
    let grows = match claim {
        Claim::AtLeast => is_sum,
        Claim::NotZero => !matches!(nature, Nature::Either | Nature::Unexplained),
        Claim::AtMost | Claim::Exactly => false,
    };
    match doubt {
        Doubt::Everything => false,
        _ if nature == Nature::Fixed => true,
        Doubt::EventsMissing | Doubt::TooShort => grows,
        Doubt::ProcessesMerged => grows || !of_a_process,
        // What is unexplained is so, whatever explains it in truth.
        Doubt::PayloadUnexplained if nature == Nature::Unexplained => true,
        Doubt::CopiesMissing | Doubt::PayloadUnexplained => match nature {
            // Not of copies.
            Nature::Events | Nature::EventRatio | Nature::Fixed => true,
            // The payload below the line is exact.
            Nature::Copies | Nature::CopyRatio => matches!(claim, Claim::AtLeast | Claim::NotZero),
            Nature::Either | Nature::Unexplained => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_survives_which_doubt() {
        use Claim::{AtLeast, AtMost, Exactly, NotZero};
        use Doubt::{
            CopiesMissing, EventsMissing, Everything, PayloadUnexplained, ProcessesMerged, TooShort,
        };
        use Nature::{Copies, CopyRatio, Either, EventRatio, Events, Fixed, Unexplained};
        // claim, nature, doubt: certain?
        let cases = [
            (AtLeast, Copies, EventsMissing, true),
            (AtLeast, Events, TooShort, true),
            (AtLeast, CopyRatio, EventsMissing, false),
            (AtLeast, CopyRatio, TooShort, false),
            (AtLeast, CopyRatio, CopiesMissing, true),
            (AtMost, CopyRatio, CopiesMissing, false),
            (NotZero, CopyRatio, EventsMissing, true),
            (NotZero, CopyRatio, TooShort, true),
            (NotZero, Either, EventsMissing, false),
            (AtMost, Copies, EventsMissing, false),
            (AtMost, EventRatio, CopiesMissing, true),
            (Exactly, Events, CopiesMissing, true),
            (Exactly, Copies, CopiesMissing, false),
            (AtLeast, Either, CopiesMissing, false),
            (AtMost, Fixed, EventsMissing, true),
            (AtLeast, Fixed, Everything, false),
            (AtLeast, Copies, Everything, false),
            (AtMost, Copies, ProcessesMerged, true),
            (AtLeast, Copies, PayloadUnexplained, true),
            (NotZero, CopyRatio, PayloadUnexplained, true),
            (AtMost, CopyRatio, PayloadUnexplained, false),
            (AtMost, Either, PayloadUnexplained, false),
            (AtLeast, Either, PayloadUnexplained, false),
            (AtMost, Events, PayloadUnexplained, true),
            (NotZero, Unexplained, PayloadUnexplained, true),
            (AtMost, Unexplained, PayloadUnexplained, true),
            (NotZero, Unexplained, CopiesMissing, false),
            (NotZero, Unexplained, EventsMissing, false),
        ];
        for (claim, nature, doubt, certain) in cases {
            let found = is_certain(claim, nature, false, &[doubt]);
            assert_eq!(found, certain, "{claim:?} {nature:?} {doubt:?}");
        }
        assert!(!is_certain(AtMost, Copies, true, &[ProcessesMerged]));
        assert!(is_certain(AtLeast, Copies, true, &[ProcessesMerged]));
        assert!(is_certain(AtMost, Copies, true, &[]));
        assert!(!is_certain(AtLeast, Copies, false, &[EventsMissing, Everything]));
    }
}
