//! The file of `--web.config.file`, in the format of Prometheus' exporter-toolkit (its `web-configuration.md`).
//!
//! What the format has and tracer does not do is refused by name: a setting that is silently ignored would be
//! taken for protection.

use std::path::PathBuf;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config::node::{Entry, Kind, Node, Value};
use crate::config::problem::Problem;
use crate::config::reader::{self, Map, Problems};
use crate::fmt::human;

const KIND: Kind = Kind { noun: "a web configuration", least: "`tls_server_config` or `basic_auth_users`" };
const TOP: [&str; 3] = ["tls_server_config", "http_server_config", "basic_auth_users"];
const TLS: [&str; 7] = [
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "min_version",
    "max_version",
    "prefer_server_cipher_suites",
];
/// Of the format, but not of tracer's TLS.
const TLS_REFUSED: [&str; 6] =
    ["cert", "key", "client_ca", "client_allowed_sans", "cipher_suites", "curve_preferences"];
const HTTP: [&str; 2] = ["http2", "headers"];
/// What the toolkit lets a file set.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "X-Frame-Options",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "Strict-Transport-Security",
];
const CLIENT_AUTH: [&str; 3] = ["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"];
const UNVERIFIED: [&str; 2] = ["RequestClientCert", "RequireAnyClientCert"];
const VERSIONS: [&str; 2] = ["TLS12", "TLS13"];
const MAX_USERS: usize = 1_000;

#[derive(Debug, Default)]
pub struct WebConfig {
    pub tls: Option<TlsConfig>,
    pub headers: HeaderMap,
    /// Name and bcrypt hash.
    pub users: Vec<(String, String)>,
}

#[derive(Debug, PartialEq)]
pub struct TlsConfig {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub client_auth: ClientAuth,
    pub client_ca_file: Option<PathBuf>,
    /// TLS 1.2 may be spoken; and 1.3.
    pub versions: (bool, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    IfGiven,
    Required,
}

impl WebConfig {
    pub fn parse(content: &[u8]) -> Result<Self, Vec<Problem>> {
        if content.iter().all(u8::is_ascii_whitespace) {
            // The toolkit's meaning: no TLS, no passwords.
            return Ok(Self::default());
        }
        reader::parse(content, &KIND, read)
    }
}

fn read(root: &Node, problems: &mut Problems) -> Option<WebConfig> {
    let map = Map::of(root, KIND.noun, &TOP, problems)?;
    let section = |key| map.entry(key).filter(|entry| !entry.node.is_null());
    Some(WebConfig {
        tls: section("tls_server_config").and_then(|entry| tls(&entry.node, problems)),
        headers: section("http_server_config").map(|entry| http(&entry.node, problems)).unwrap_or_default(),
        users: section("basic_auth_users").map(|entry| users(&entry.node, problems)).unwrap_or_default(),
    })
}

fn tls(node: &Node, problems: &mut Problems) -> Option<TlsConfig> {
    let known: Vec<&str> = TLS.iter().chain(&TLS_REFUSED).copied().collect();
    let map = Map::of(node, "tls_server_config", &known, problems)?;
    for key in TLS_REFUSED {
        if let Some(entry) = map.entry(key) {
            problems.add(entry.line, format!("{key} is not supported by tracer: leave it out"));
        }
    }
    let path = |found: Option<(usize, &str)>| found.map(|(_, text)| PathBuf::from(text));
    let cert_file = path(map.needed("cert_file", problems));
    let key_file = path(map.needed("key_file", problems));
    let client_ca_file = path(map.text("client_ca_file", problems));
    let client_auth = map.parsed("client_auth_type", client_auth, problems);
    // The toolkit's own rule, which catches the mistake of a CA that nobody asks for.
    let client_auth = client_auth.unwrap_or(ClientAuth::None);
    if client_ca_file.is_some() != (client_auth != ClientAuth::None) {
        let text = "client_ca_file and client_auth_type (with Verify in its name) need each other";
        problems.add(map.line, text);
    }
    let min = map.parsed("min_version", version, problems).unwrap_or(0);
    let max = map.parsed("max_version", version, problems).unwrap_or(1);
    if min > max {
        problems.add(map.line, "min_version is above max_version");
    }
    map.flag("prefer_server_cipher_suites", problems);
    let versions = (min == 0, max == 1);
    Some(TlsConfig { cert_file: cert_file?, key_file: key_file?, client_auth, client_ca_file, versions })
}

fn client_auth(text: &str) -> Result<ClientAuth, String> {
    match CLIENT_AUTH.iter().position(|known| *known == text) {
        Some(0) => Ok(ClientAuth::None),
        Some(1) => Ok(ClientAuth::IfGiven),
        Some(_) => Ok(ClientAuth::Required),
        None if UNVERIFIED.contains(&text) => {
            Err(format!("{text} verifies nothing and is not supported; use RequireAndVerifyClientCert"))
        }
        None => {
            let shown = human::label(text, 40);
            Err(format!("`{shown}` is none of {}", CLIENT_AUTH.join(", ")))
        }
    }
}

/// 0 for TLS 1.2, 1 for 1.3.
fn version(text: &str) -> Result<usize, String> {
    VERSIONS.iter().position(|known| *known == text).ok_or_else(|| match text {
        "TLS10" | "TLS11" => format!("{text} is broken and not supported; there are TLS12 and TLS13"),
        _ => format!("`{}` is none of TLS12, TLS13", human::label(text, 20)),
    })
}

fn http(node: &Node, problems: &mut Problems) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(map) = Map::of(node, "http_server_config", &HTTP, problems) else { return headers };
    // HTTP/1.1 is what every client of such a server speaks too, so true is no promise that is broken.
    map.flag("http2", problems);
    let Some(entry) = map.entry("headers").filter(|entry| !entry.node.is_null()) else { return headers };
    let Some(map) = Map::of(&entry.node, "headers", &HEADERS, problems) else { return headers };
    for name in HEADERS {
        let value = map.parsed(name, |text| HeaderValue::from_str(text).map_err(|e| e.to_string()), problems);
        if let (Some(value), Ok(name)) = (value, HeaderName::from_bytes(name.as_bytes())) {
            headers.insert(name, value);
        }
    }
    headers
}

fn users(node: &Node, problems: &mut Problems) -> Vec<(String, String)> {
    let Value::Map(entries) = &node.value else {
        problems.add(node.line, format!("basic_auth_users must be a map, not {}", node.kind()));
        return Vec::new();
    };
    if entries.is_empty() {
        problems
            .add(node.line, "basic_auth_users is empty: nobody could get in; leave it out for no passwords");
    }
    if entries.len() > MAX_USERS {
        problems.add(node.line, format!("more than {MAX_USERS} users"));
    }
    entries.iter().filter_map(|entry| user(entry, problems)).collect()
}

fn user(entry: &Entry, problems: &mut Problems) -> Option<(String, String)> {
    let Value::Scalar { text, .. } = &entry.node.value else {
        problems.add(entry.line, "a password is one value: a bcrypt hash");
        return None;
    };
    if text.parse::<bcrypt::HashParts>().is_err() {
        let name = human::label(&entry.key, 40);
        // Its text stays out of the message: it may be a password.
        let text = format!("the password of `{name}` is no bcrypt hash: `htpasswd -nBC 10 \"\"` makes one");
        problems.add(entry.line, text);
        return None;
    }
    Some((entry.key.clone(), text.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

    fn refused(text: &str) -> String {
        let problems = WebConfig::parse(text.as_bytes()).expect_err(text);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn the_toolkits_example() {
        let text = format!(
            "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n  \
             client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  min_version: TLS13\n\
             http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n\
             basic_auth_users:\n  alice: {HASH}\n  bob: '{HASH}'\n"
        );
        let config = WebConfig::parse(text.as_bytes()).expect("valid");
        let tls = config.tls.expect("tls");
        assert_eq!((tls.client_auth, tls.versions), (ClientAuth::Required, (false, true)));
        assert_eq!(config.users.len(), 2);
        assert_eq!(config.headers["x-frame-options"], "deny");
        let nothing = WebConfig::parse(b" \n").expect("valid");
        assert!(nothing.tls.is_none() && nothing.users.is_empty());
    }

    #[test]
    fn what_is_wrong_or_not_supported_is_named() {
        for (text, expected) in [
            ("basic_auth_users:\n  alice: secret\n", "2: the password of `alice` is no bcrypt hash"),
            ("basic_auth_users: {}\n", "nobody could get in"),
            ("tls_server_config: {cert_file: a}\n", "needs `key_file`"),
            ("tls_server_config: {cert_file: a, key_file: b, min_version: TLS11}\n", "TLS11 is broken"),
            ("tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}\n", "need each other"),
            ("tls_server_config: {cert_file: a, key_file: b, cipher_suites: [x]}\n", "not supported"),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAnyClientCert}\n",
                "verifies nothing",
            ),
            (
                "tls_server_config: {cert_file: a, key_file: b, min_version: TLS13, max_version: TLS12}\n",
                "above max_version",
            ),
            ("basic_auth_user: {}\n", "did you mean `basic_auth_users`?"),
            ("http_server_config: {headers: {X-Frame-Options: \"a\\nb\"}}\n", "X-Frame-Options"),
        ] {
            let said = refused(text);
            assert!(said.contains(expected), "{text}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
