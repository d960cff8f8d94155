//! Failures made on purpose, so that tests can show what happens then: `TRACER_FAULT=refuse:ROW,slots:N,kept:N`.

use anyhow::{Result, bail};

/// What is to fail.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Fault {
    refused: Vec<String>,
    /// Number of processes that get a slot.
    pub slots: Option<u32>,
    /// Number of ended processes that are kept one by one.
    pub kept: Option<usize>,
    /// Pretends that the kernel's text cannot be read.
    pub no_text: bool,
}

impl Fault {
    /// Reads `TRACER_FAULT`.
    pub fn from_env() -> Result<Self> {
        match std::env::var("TRACER_FAULT") {
            Ok(text) => Self::parse(&text),
            Err(_) => Ok(Self::default()),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let mut fault = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once(':') {
                Some(("refuse", row)) => fault.refused.push(row.to_owned()),
                Some(("slots", n)) if n.parse::<u32>().is_ok_and(|n| n > 0) => {
                    fault.slots = n.parse().ok();
                }
                Some(("kept", n)) if n.parse::<usize>().is_ok() => fault.kept = n.parse().ok(),
                None if part == "no-text" => fault.no_text = true,
                _ => bail!("TRACER_FAULT: `{part}` is none of refuse:ROW, slots:N, kept:N, no-text"),
            }
        }
        Ok(fault)
    }

    /// True if a row must not attach.
    pub fn refuses(&self, row: &str) -> bool {
        self.refused.iter().any(|r| r == row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_tests_ask_for() {
        let fault = Fault::parse("refuse:filemap_read,slots:1,kept:0").expect("valid");
        assert!(fault.refuses("filemap_read") && !fault.refuses("check"));
        assert_eq!((fault.slots, fault.kept), (Some(1), Some(0)));
        for bad in ["refuse", "slots:0", "slots:x", "explode:now"] {
            assert!(Fault::parse(bad).is_err(), "{bad}");
        }
    }
}
