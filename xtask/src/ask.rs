//! HTTP by hand, for what listens on this machine's loopback: a replay, and Prometheus's API.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// A page of a busy server takes its time.
const LIMIT: Duration = Duration::from_secs(120);

/// A loopback address that nobody listens on.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    listener.local_addr().context("no address")
}

fn request(address: SocketAddr, head: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("no answer at {address}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "{head}\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("an answer without an end of headers")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    ensure!(head.starts_with("HTTP/1.0 200"), "{address}: {}", head.lines().next().unwrap_or_default());
    Ok(answer.split_off(end + 4))
}

/// A page; HTTP/1.0, so that it comes in one piece.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    let body = request(address, &format!("GET {path} HTTP/1.0"))?;
    String::from_utf8(body).with_context(|| format!("{path} is no text"))
}

/// Bytes of a page as Prometheus gets it.
pub fn compressed(address: SocketAddr, path: &str) -> Result<usize> {
    Ok(request(address, &format!("GET {path} HTTP/1.0\r\nAccept-Encoding: gzip"))?.len())
}

/// The `data` of an answer of Prometheus's API; `parameters` by name, not yet encoded.
pub fn api(address: SocketAddr, verb: &str, call: &str, parameters: &[(&str, &str)]) -> Result<Value> {
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let query: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let body = request(address, &format!("{verb} /api/v1/{call}?{} HTTP/1.0", query.join("&")))?;
    let mut answer: Value = serde_json::from_slice(&body).with_context(|| format!("{call}: no JSON"))?;
    Ok(answer["data"].take())
}

/// The one number that a query has, if it has any.
pub fn number(address: SocketAddr, query: &str) -> Result<Option<f64>> {
    let data = api(address, "GET", "query", &[("query", query)])?;
    let text = data["result"][0]["value"][1].as_str();
    text.map(|text| text.parse().with_context(|| format!("{query}: {text:?}"))).transpose()
}

/// Waits until somebody says at `path` that all is well.
pub fn wait(address: SocketAddr, path: &str) -> Result<()> {
    let begun = Instant::now();
    while get(address, path).is_err() {
        if begun.elapsed() > LIMIT {
            bail!("nothing at {address}{path} after {} s", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
