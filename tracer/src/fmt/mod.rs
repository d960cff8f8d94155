//! How things are written for people: units, names, times. Imports nothing.

pub mod human;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// One message on standard error. (`eprintln!` panics if its reader is gone; then nobody is left to tell.)
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "tracer: {text}");
}

/// RFC 3339 in UTC, whole seconds. `None` outside of 1970 to 9999, which only a broken clock says.
pub fn rfc3339(time: SystemTime) -> Option<String> {
    // humantime panics before the epoch.
    time.duration_since(UNIX_EPOCH).ok()?;
    let mut text = String::new();
    write!(text, "{}", humantime::format_rfc3339_seconds(time)).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn impossible_times_are_absent() {
        assert_eq!(rfc3339(UNIX_EPOCH).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), None);
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(1 << 40)), None);
    }
}
