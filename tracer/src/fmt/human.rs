//! Numbers and names as people read them.

use std::borrow::Cow;
use std::time::Duration;

/// A name chosen by somebody else (a process names itself), safe to print: control characters,
/// invisible ones and those that reorder text become escapes, and so does the backslash.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(must_escape) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if must_escape(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\\' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text`, escaped and cut to at most `limit` columns.
pub fn label(text: &str, limit: usize) -> String {
    cut(&escape(text), limit).into_owned()
}

/// `text`, at most `limit` columns wide; a tilde stands for the rest.
pub fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if columns(text) <= limit {
        return Cow::Borrowed(text);
    }
    let mut left = limit.saturating_sub(1);
    let fits = |c: &char| {
        let room = column(*c) <= left;
        left = left.saturating_sub(column(*c));
        room
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push('~');
    Cow::Owned(cut)
}

/// Columns that a text takes on a terminal.
pub fn columns(text: &str) -> usize {
    text.chars().map(column).sum()
}

/// East Asian scripts and pictures take two columns, and all that follow the first of them is taken for
/// such: a table that is a column too wide is better than one that breaks its lines.
fn column(c: char) -> usize {
    if c >= '\u{1100}' && !('\u{2000}'..='\u{22ff}').contains(&c) && c != '\u{fffd}' { 2 } else { 1 }
}

/// `512 B`, `64.0 MiB`: three significant digits, exact below 1 KiB.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.5 would be rounded to 1024 of the smaller unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 event`, `1,203 events`.
pub fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 {
        ""
    } else if noun.ends_with('s') || noun.ends_with("ch") {
        "es"
    } else {
        "s"
    };
    format!("{} {noun}{ending}", count(number))
}

/// `2.00`; something that is not 0 is never shown as 0.
pub fn ratio(ratio: f64) -> String {
    if ratio > 0.0 && ratio < 0.005 { "<0.01".to_owned() } else { format!("{ratio:.2}") }
}

/// `512`, `1.25`, `12,345`: three significant digits up to 1000, whole above.
pub fn rate(rate: f64) -> String {
    match rate {
        r if r >= 999.5 => count(r.round() as u64),
        r if r > 0.0 && r < 0.005 => "<0.01".to_owned(),
        r => three_digits(r),
    }
}

/// `10.0 s`.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn three_digits(value: f64) -> String {
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_significant_digits() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10_239, "10.0 KiB"),
            (1_048_575, "1.00 MiB"),
            (64 << 20, "64.0 MiB"),
            (640 << 20, "640 MiB"),
            (1023 << 20, "1023 MiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn thousands() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")];
        for (n, text) in cases {
            assert_eq!(count(n), text);
        }
    }

    #[test]
    fn plurals() {
        assert_eq!(counted(1, "process"), "1 process");
        assert_eq!(counted(0, "process"), "0 processes");
        assert_eq!(counted(1203, "event"), "1,203 events");
    }

    #[test]
    fn small_is_not_zero() {
        assert_eq!([ratio(0.0), ratio(1e-9), ratio(2.0)], ["0.00", "<0.01", "2.00"]);
        assert_eq!([rate(0.0), rate(1e-9), rate(1.5), rate(512.0)], ["0.00", "<0.01", "1.50", "512"]);
        assert_eq!(rate(123_456.7), "123,457");
    }

    #[test]
    fn escapes_what_a_terminal_would_obey() {
        assert_eq!(escape("nginx: worker ü"), "nginx: worker ü");
        assert_eq!(escape("a\n\x1b[31m\u{9b}\\\u{202e}\u{7f}"), r"a\n\u{1b}[31m\u{9b}\\\u{202e}\u{7f}");
        assert_eq!(label("\x1b\x1b\x1b", 8), r"\u{1b}\~");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!([columns("abc"), columns("日本"), columns("🦀x"), columns("ü\u{fffd}")], [3, 4, 3, 2]);
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本~");
        assert_eq!(cut("日本語", 4), "日~");
        assert_eq!([cut("abc", 2), cut("abc", 1), cut("abc", 3)], ["a~", "~", "abc"]);
    }
}
