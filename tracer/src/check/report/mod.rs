//! A judgement as text: for people, for scripts, for CI systems.

mod github;
mod json;
mod junit;
mod markdown;
mod text;
mod words;

use super::verdict::Report;

/// What a report says beside the judgement.
#[derive(Clone, Debug)]
pub struct Context {
    /// As given on the command line.
    pub policy: String,
    /// The command line that does this again.
    pub reproduce: String,
    /// When the check began (RFC 3339, UTC), and where.
    pub timestamp: String,
    pub host: String,
    /// Columns; 0 for no limit.
    pub width: usize,
}

/// A form that `--report` writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Json,
    Junit,
    Markdown,
    Github,
}

impl Format {
    pub const NAMES: [&str; 4] = ["json", "junit", "markdown", "github"];

    pub fn named(name: &str) -> Option<Format> {
        let formats = [Format::Json, Format::Junit, Format::Markdown, Format::Github];
        Self::NAMES.iter().position(|n| *n == name).map(|index| formats[index])
    }
}

pub fn render(format: Format, report: &Report, context: &Context) -> String {
    match format {
        Format::Json => json::render(report, context),
        Format::Junit => junit::render(report, context),
        Format::Markdown => markdown::render(report, context),
        Format::Github => github::render(report, context),
    }
}

pub use text::render as render_text;

#[cfg(test)]
#[path = "../report_tests.rs"]
mod tests;
