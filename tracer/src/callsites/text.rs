//! The kernel's machine code: read it, find the calls of copy primitives, say what covers each.

use anyhow::Result;

use crate::kernel::kallsyms::{Kallsyms, TextRange};

const PAGE: usize = 4096;

/// Something kernel text can be read from: the live kernel, or bytes in a test.
pub trait KernelText {
    /// Exactly `len` bytes at `addr`, or an error.
    fn read(&self, addr: u64, len: usize) -> Result<Vec<u8>>;
}

/// A run of text that was read.
#[derive(Debug, Clone)]
pub struct Segment {
    pub module: Option<String>,
    pub start: u64,
    pub bytes: Vec<u8>,
}

impl Segment {
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }

    /// Bytes `start..end`, as far as they lie within.
    pub fn slice(&self, start: u64, end: u64) -> &[u8] {
        let from = start.saturating_sub(self.start).min(self.bytes.len() as u64) as usize;
        let to = end.saturating_sub(self.start).min(self.bytes.len() as u64) as usize;
        self.bytes.get(from..to).unwrap_or_default()
    }
}

/// Text that could not be read: its call sites are unknown, not absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub range: TextRange,
    pub cause: String,
}

/// All text that could be read, by address, and what could not.
#[derive(Debug, Default)]
pub struct Text {
    pub segments: Vec<Segment>,
    pub unread: Vec<Unread>,
}

impl Text {
    /// Reads `ranges`.
    pub fn read(source: &impl KernelText, ranges: &[TextRange]) -> Self {
        let mut text = Self::default();
        for range in ranges {
            let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
            match source.read(range.start, len) {
                // Kernels give zeroes for pages that are gone, as a module's that is unloaded.
                Ok(bytes) if bytes.chunks(PAGE).any(|page| page.iter().all(|&byte| byte == 0)) => {
                    let cause = String::from("part of it reads as zeroes: unmapped");
                    text.unread.push(Unread { range: range.clone(), cause });
                }
                Ok(bytes) => {
                    let module = range.module.clone();
                    text.segments.push(Segment { module, start: range.start, bytes });
                }
                Err(error) => {
                    text.unread.push(Unread { range: range.clone(), cause: format!("{error:#}") });
                }
            }
        }
        text.segments.sort_by_key(|segment| segment.start);
        text
    }

    /// Reads all text that `symbols` delimit.
    pub fn read_all(source: &impl KernelText, symbols: &Kallsyms) -> Result<Self> {
        Ok(Self::read(source, &symbols.text_ranges()?))
    }

    /// The segment that holds `addr`.
    pub fn segment(&self, addr: u64) -> Option<&Segment> {
        let next = self.segments.partition_point(|segment| segment.start <= addr);
        self.segments[..next].last().filter(|segment| addr < segment.end())
    }
}
