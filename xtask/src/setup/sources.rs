//! The machine's own Debian mirror, read from its apt sources, so that proxies, mirrors and
//! snapshots that somebody set up are honoured. Pure: text in, sources out.

use anyhow::{Result, anyhow};

/// Where Debian is to be had.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirrors {
    pub main: Source,
    pub security: Source,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub uri: String,
    pub signed_by: String,
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One entry of either format.
#[derive(Debug, Default)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// Names the Debian mirror where the machine's own sources name none (another distribution).
pub const MIRROR_VARIABLE: &str = "TRACER_DEBIAN_MIRROR";

/// `files`: name (ends in .list or .sources) and text; `named`: the value of [`MIRROR_VARIABLE`], which
/// goes before them.
pub fn mirrors(files: &[(String, String)], codename: &str, named: Option<&str>) -> Result<Mirrors> {
    let entries: Vec<Entry> = files
        .iter()
        .flat_map(
            |(name, text)| {
                if name.ends_with(".sources") { parse_deb822(text) } else { parse_lines(text) }
            },
        )
        .collect();
    let find = |suite: String| {
        let entry =
            entries.iter().find(|e| e.suites.contains(&suite) && e.components.iter().any(|c| c == "main"))?;
        // A key given inline (or none) cannot be named in our list; Debian's own keyring can.
        let signed_by = entry
            .signed_by
            .as_deref()
            .filter(|key| key.starts_with('/') && !key.contains(char::is_whitespace))
            .unwrap_or(KEYRING);
        Some(source(entry.uris.first()?, signed_by))
    };
    let main = named.map(|uri| source(uri, KEYRING)).or_else(|| find(codename.to_string())).ok_or_else(|| {
        anyhow!(
            "no Debian mirror is known: this machine's apt sources have no suite {codename} with component main\n  \
             set {MIRROR_VARIABLE} to the address of one (the part of a sources.list line before the suite)"
        )
    })?;
    // Mirrors carry both archives side by side, as the Debian mirrors' layout has it.
    let beside = || source(&format!("{}-security", main.uri), &main.signed_by);
    let security = match named {
        Some(_) => beside(),
        None => find(format!("{codename}-security")).unwrap_or_else(beside),
    };
    Ok(Mirrors { main, security })
}

fn source(uri: &str, signed_by: &str) -> Source {
    Source { uri: uri.trim_end_matches('/').to_string(), signed_by: signed_by.to_string() }
}

/// A sources.list for these suites.
pub fn list(mirrors: &Mirrors, suites: &[String]) -> String {
    suites
        .iter()
        .map(|suite| {
            let security = suite.ends_with("-security");
            let source = if security { &mirrors.security } else { &mirrors.main };
            format!("deb [signed-by={} arch=amd64] {} {suite} main\n", source.signed_by, source.uri)
        })
        .collect()
}

fn parse_deb822(text: &str) -> Vec<Entry> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines
        .split(|line| line.trim().is_empty())
        .filter_map(|stanza| {
            let field = |name: &str| {
                let at = stanza.iter().position(|line| {
                    line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
                })?;
                let first = stanza[at].split_once(':')?.1.trim().to_string();
                let more = stanza[at + 1..].iter().take_while(|line| line.starts_with([' ', '\t']));
                Some(more.fold(first, |text, line| text + " " + line.trim()).trim().to_string())
            };
            let words = |name: &str| -> Vec<String> {
                let text = field(name).unwrap_or_default();
                text.split_whitespace().map(String::from).collect()
            };
            let enabled = !field("Enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
            (enabled && words("Types").iter().any(|kind| kind == "deb")).then(|| Entry {
                uris: words("URIs"),
                suites: words("Suites"),
                components: words("Components"),
                signed_by: field("Signed-By"),
            })
        })
        .collect()
}

fn parse_lines(text: &str) -> Vec<Entry> {
    text.lines()
        .filter_map(|line| {
            let rest = line.split('#').next()?.trim().strip_prefix("deb")?;
            let rest = rest.strip_prefix([' ', '\t'])?.trim();
            let (options, rest) = match rest.strip_prefix('[') {
                Some(rest) => rest.split_once(']')?,
                None => ("", rest),
            };
            let signed_by = options
                .split_whitespace()
                .find_map(|option| option.strip_prefix("signed-by="))
                .map(String::from);
            let mut words = rest.split_whitespace().map(String::from);
            Some(Entry {
                uris: vec![words.next()?],
                suites: vec![words.next()?],
                components: words.collect(),
                signed_by,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> Vec<(String, String)> {
        vec![(name.to_string(), text.to_string())]
    }

    #[test]
    fn deb822_as_in_debian_12_images() {
        let text = "Types: deb\n# a comment between fields\n\
            URIs: http://mirror.example/debian/\nSuites: bookworm bookworm-updates\n\
            Components: main\nSigned-By: /usr/share/keyrings/a.gpg\n\n\
            Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n\
            Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x\n";
        let found = mirrors(&file("debian.sources", text), "bookworm", None).unwrap();
        assert_eq!(found.main.uri, "http://mirror.example/debian");
        assert_eq!(found.main.signed_by, "/usr/share/keyrings/a.gpg");
        assert_eq!(found.security.uri, "http://mirror.example/debian-security");
        assert_eq!(found.security.signed_by, KEYRING);
    }

    #[test]
    fn one_line_format() {
        let text = "# deb http://no/ bookworm main\ndeb-src http://no/ bookworm main\n\
            deb [arch=amd64 signed-by=/k.gpg] http://yes/debian bookworm main contrib\n";
        let found = mirrors(&file("sources.list", text), "bookworm", None).unwrap();
        assert_eq!(found.main, Source { uri: "http://yes/debian".into(), signed_by: "/k.gpg".into() });
        assert_eq!(found.security.uri, "http://yes/debian-security", "beside the main archive");
    }

    #[test]
    fn disabled_and_foreign_sources_do_not_count() {
        let text = "Types: deb\nEnabled: no\nURIs: http://no\nSuites: bookworm\nComponents: main\n\n\
            Types: deb\nURIs: http://other\nSuites: nodistro\nComponents: main\n";
        let error = mirrors(&file("x.sources", text), "bookworm", None).unwrap_err().to_string();
        assert!(error.contains("bookworm") && error.contains(MIRROR_VARIABLE), "{error}");
    }

    #[test]
    fn a_named_mirror_goes_before_the_machines_own() {
        let text =
            "deb http://no/debian bookworm main\ndeb http://no/debian-security bookworm-security main\n";
        let found =
            mirrors(&file("sources.list", text), "bookworm", Some("http://mirror.example/debian/")).unwrap();
        assert_eq!(
            found.main,
            Source { uri: "http://mirror.example/debian".into(), signed_by: KEYRING.into() }
        );
        assert_eq!(found.security.uri, "http://mirror.example/debian-security");
    }

    #[test]
    fn security_suites_come_from_the_security_mirror() {
        let found = mirrors(&[], "bookworm", Some("http://mirror.example/debian")).unwrap();
        let text = list(&found, &["bullseye".into(), "bullseye-security".into()]);
        assert!(text.contains("/debian bullseye main\n"), "{text}");
        assert!(text.contains("/debian-security bullseye-security main\n"), "{text}");
    }
}
