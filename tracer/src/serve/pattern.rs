//! Patterns of names, as shells have them: `*` is any text, `?` one character.

/// A pattern that the whole name must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<char>);

impl Pattern {
    /// Every text is a pattern; an empty one matches nothing that has a name, which is a mistake.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("an empty pattern matches nothing".into()),
            text => Ok(Pattern(text.chars().collect())),
        }
    }

    /// In time proportional to both lengths multiplied, whatever the pattern.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut p, mut n) = (0, 0);
        // Where to go on if what follows the last star does not fit: one more character is the star's.
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            match self.0.get(p) {
                Some('*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(c) if *c == '?' || *c == name[n] => {
                    p += 1;
                    n += 1;
                }
                _ => match star {
                    Some((at, taken)) => {
                        star = Some((at, taken + 1));
                        p = at + 1;
                        n = taken + 1;
                    }
                    None => return false,
                },
            }
        }
        self.0[p..].iter().all(|c| *c == '*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_in_shells() {
        for (pattern, name, expected) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx2", false),
            ("nginx*", "nginx2", true),
            ("*", "", true),
            ("*.service", "a.service", true),
            ("*.service", ".service", true),
            ("*a*b", "aab", true),
            ("*a*b", "aba", false),
            ("?", "\u{fffd}", true),
            ("?", "", false),
            ("/system.slice/*", "/system.slice/a/b", true),
            ("a**b", "ab", true),
            ("*\n*", "a\nb", true),
        ] {
            assert_eq!(Pattern::parse(pattern).expect("valid").matches(name), expected, "{pattern} {name:?}");
        }
        assert!(Pattern::parse("").is_err());
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = Pattern::parse(&"*a".repeat(500)).expect("valid");
        assert!(!pattern.matches(&"ab".repeat(400)));
    }
}
