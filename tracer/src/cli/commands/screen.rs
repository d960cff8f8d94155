//! The terminal while a page is redrawn on it: a screen of its own, so that what was there comes back.

use std::io::{self, IsTerminal as _, Write as _};

use crate::sys;

/// Enters the alternate screen and hides the cursor; home is the upper left.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Rows of a terminal that does not tell.
const ROWS: u16 = 24;

/// True if stdout is a terminal that obeys escape sequences.
pub fn can_redraw() -> bool {
    let knows = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    knows && io::stdout().is_terminal()
}

/// Leaves its screen when it is dropped.
pub struct Screen;

impl Screen {
    pub fn enter() -> io::Result<Self> {
        put(ENTER)?;
        Ok(Screen)
    }

    /// Puts a page in place of the last one.
    pub fn draw(&self, page: &str) -> io::Result<()> {
        let rows = sys::terminal_size(io::stdout()).map_or(ROWS, |(_, rows)| rows);
        put(&frame(page, rows))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no tidying.
        let _ = put(LEAVE);
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A page from the upper left on, without clearing first (which flickers) and without a line feed behind
/// the last row (which scrolls).
fn frame(page: &str, rows: u16) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let rows = usize::from(rows.max(1));
    let hidden = if lines.len() > rows { lines.len() - rows + 1 } else { 0 };
    let mut shown: Vec<String> =
        lines[..lines.len() - hidden].iter().map(|line| (*line).to_owned()).collect();
    if hidden > 0 {
        shown.push(format!("({hidden} lines more)"));
    }
    // Each line clears what the last page had behind it, the last one also what it had below.
    format!("\x1b[H{}\x1b[K\x1b[J", shown.join("\x1b[K\r\n"))
}

#[cfg(test)]
mod tests {
    use super::frame;

    #[test]
    fn a_page_that_fits_is_drawn_over_the_last_one() {
        assert_eq!(frame("a\nb\n", 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    }

    #[test]
    fn a_page_that_is_too_long_does_not_scroll() {
        assert_eq!(frame("a\nb\nc\n", 2), "\x1b[Ha\x1b[K\r\n(2 lines more)\x1b[K\x1b[J");
        assert_eq!(frame("a\nb\n", 0), "\x1b[H(2 lines more)\x1b[K\x1b[J");
    }
}
