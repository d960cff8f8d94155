//! What is wrong with a policy, and where.

use std::fmt;

/// One mistake in a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// 1-based; `None` if it concerns the whole file.
    pub line: Option<usize>,
    pub text: String,
}

impl Problem {
    pub fn at(line: usize, text: impl Into<String>) -> Self {
        Problem { line: Some(line), text: text.into() }
    }

    pub fn whole(text: impl Into<String>) -> Self {
        Problem { line: None, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(out, "{line}: {}", self.text),
            None => write!(out, " {}", self.text),
        }
    }
}

/// `unknown metric `copied_byte`; did you mean `copied_bytes`?`, or the list of what there is.
pub fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let word_shown = crate::fmt::human::label(word, 60);
    match nearest(word, known) {
        Some(name) => format!("unknown {what} `{word_shown}`; did you mean `{name}`?"),
        None => format!("unknown {what} `{word_shown}`; there are: {}", known.join(", ")),
    }
}

/// The known name that a typing mistake leads to, if one is near enough.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // The distance is quadratic in length, and nobody mistypes by a kilobyte.
    if word.len() > 100 {
        return None;
    }
    let lower = word.to_lowercase().replace('-', "_");
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    let best = known.iter().copied().min_by_key(|name| distance(name))?;
    let contains = |name: &&str| lower.len() >= 4 && (name.contains(&lower) || lower.contains(*name));
    if distance(best) <= (best.len() / 3).max(1) {
        return Some(best);
    }
    known.iter().copied().find(contains)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name() {
        let names = ["copied_bytes", "copies", "copies_per_byte", "payload_share"];
        assert_eq!(nearest("copied_byte", &names), Some("copied_bytes"));
        assert_eq!(nearest("Copies-Per-Byte", &names), Some("copies_per_byte"));
        assert_eq!(nearest("tracer_copied_bytes_total", &names), Some("copied_bytes"));
        assert_eq!(nearest("weather", &names), None);
        assert!(unknown("metric", "weather", &names).contains("there are: copied_bytes"));
    }
}
