//! `64MiB`, `200ms`, `5%`, `0.99`: numbers as a policy writes them.

use std::time::Duration;

use crate::config::problem::unknown;
use crate::fmt::human;

/// Byte units; binary and decimal ones are told apart, as a limit that is 5 % off is wrong.
pub const BYTE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A day: longer than any window that a check should wait for.
pub const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// `64MiB`, `4 KiB`, `1.5GiB`, `144`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let scale = match unit {
        "" => 1,
        unit => match BYTE_UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, scale)) => *scale,
            None => return Err(unknown("unit of bytes", unit, &BYTE_UNITS.map(|(name, _)| name))),
        },
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).ok_or_else(|| format!("`{}` is too large", shown(text)));
    }
    let value = self::number(number)? * scale as f64;
    // 2^53: beyond it a float skips whole numbers.
    if value.fract() != 0.0 || value > 9_007_199_254_740_992.0 {
        return Err(format!("`{}` is no whole number of bytes", shown(text)));
    }
    Ok(value as u64)
}

/// `40`, `1000000`.
pub fn count(text: &str) -> Result<u64, String> {
    if text.starts_with('-') {
        return Err(negative(text));
    }
    text.parse().map_err(|_| format!("`{}` is no whole number: write for example 40", shown(text)))
}

/// `0.99`, `2`: finite and not negative.
pub fn number(text: &str) -> Result<f64, String> {
    let value: f64 = match text.parse() {
        Ok(value) => value,
        Err(_) if matches!(text.to_lowercase().as_str(), ".nan" | ".inf" | "+.inf" | "-.inf") => f64::NAN,
        Err(_) => return Err(format!("`{}` is no number: write for example 0.5 or 40", shown(text))),
    };
    if !value.is_finite() {
        return Err(format!("`{}` is no limit: nothing compares with it", shown(text)));
    }
    if value.is_sign_negative() && value != 0.0 {
        return Err(negative(text));
    }
    Ok(value.abs())
}

/// `99%` or `0.99`.
pub fn share(text: &str) -> Result<f64, String> {
    let value = match text.strip_suffix('%') {
        Some(percent) => number(percent.trim_end())? / 100.0,
        None => number(text)?,
    };
    if value > 1.0 {
        return Err(format!("`{}` is more than everything: a share is 0 to 1, or 0% to 100%", shown(text)));
    }
    Ok(value)
}

/// `5%`, as a factor: 0.05. `None` if it is no percentage.
pub fn percent(text: &str) -> Option<Result<f64, String>> {
    text.strip_suffix('%').map(|percent| Ok(number(percent.trim_end())? / 100.0))
}

/// `2s`, `200ms`, `1m 30s`; at most a day.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(negative(text));
    }
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("`{}`: {error} (write 2s, 200ms or 5m)", shown(text)))?;
    if duration > MAX_DURATION {
        return Err(format!("`{}` is longer than a day", shown(text)));
    }
    Ok(duration)
}

fn negative(text: &str) -> String {
    format!("`{}` is negative: no metric ever is", shown(text))
}

fn shown(text: &str) -> String {
    human::label(text, 40)
}

/// The number, and the unit behind it.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_ascii_alphabetic() && c != 'e').unwrap_or(text.len());
    (text[..end].trim_end(), text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let good = [
            ("0", 0),
            ("144", 144),
            ("4KiB", 4096),
            ("64 MiB", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("64MB", 64_000_000),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in good {
            assert_eq!(super::bytes(text), Ok(bytes), "{text}");
        }
        for bad in
            ["", "MiB", "-1", "-1MiB", "64Mib", "0.3B", "99999999TiB", "NaN", ".inf", "1e400", "4 KiB x"]
        {
            assert!(super::bytes(bad).is_err(), "{bad}");
        }
        assert!(super::bytes("64Mib").expect_err("unit").contains("did you mean `MiB`"));
        assert!(super::bytes("64ms").expect_err("unit").contains("unit of bytes"));
    }

    #[test]
    fn numbers() {
        assert_eq!((number("0"), number("0.99"), number("1e3")), (Ok(0.0), Ok(0.99), Ok(1000.0)));
        assert_eq!(number("-0").map(f64::is_sign_negative), Ok(false));
        for bad in ["", "-1", "NaN", "nan", "inf", ".nan", "-.inf", "1,5", "5%", "0x10"] {
            assert!(number(bad).is_err(), "{bad}");
        }
        assert_eq!((share("99%"), share("0.99"), share("100 %")), (Ok(0.99), Ok(0.99), Ok(1.0)));
        assert!(share("1.01").is_err() && share("101%").is_err());
        assert_eq!(percent("5%"), Some(Ok(0.05)));
        assert_eq!(percent("5"), None);
        assert!(percent("-5%").is_some_and(|p| p.is_err()));
        assert!(count("-1").is_err() && count("1.5").is_err() && count("40") == Ok(40));
    }

    #[test]
    fn durations() {
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!((duration("0"), duration("0s")), (Ok(Duration::ZERO), Ok(Duration::ZERO)));
        assert_eq!(duration("1day"), Ok(MAX_DURATION));
        for bad in ["", "-1s", "5", "2 years", "25h", "99999999999999999999s", "NaN", "5%"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
