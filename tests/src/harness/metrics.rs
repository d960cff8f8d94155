//! A scrape of the tracer's Prometheus endpoint, by hand: one GET, and as much
//! of the text format as the tests need.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result, ensure};

use super::LIMIT;

/// A loopback address that nobody listens on.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// GET `path`: status line and body.
pub fn get(address: SocketAddr, path: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("no answer at {address}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of headers")?;
    Ok((head.lines().next().unwrap_or_default().into(), body.into()))
}

/// The metrics page; anything but 200 is an error.
pub fn scrape(address: SocketAddr) -> Result<String> {
    let (status, body) = get(address, "/metrics")?;
    ensure!(status.contains(" 200 "), "/metrics answered {status:?}");
    Ok(body)
}

/// The sum of all samples of `name` that have all of `labels`.
pub fn sum(page: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| sample(line, name, labels)).sum()
}

fn sample(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
    let rest = line.strip_prefix(name)?;
    let (set, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once('}')?,
        None if rest.starts_with(' ') => ("", rest),
        None => return None,
    };
    let has =
        |(label, value): &(&str, &str)| set.split(',').any(|pair| pair == format!("{label}=\"{value}\""));
    if !labels.iter().all(has) {
        return None;
    }
    // Counters of bytes are whole, but may be written as floats.
    Some(value.trim().parse::<f64>().ok()? as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_total x\na_total{pid=\"1\",path=\"read\"} 3\n\
        a_total{pid=\"1\",path=\"write\"} 4\na_total{pid=\"2\",path=\"read\"} 5\na_total_more 6\n";

    #[test]
    fn sums_by_labels() {
        assert_eq!(sum(PAGE, "a_total", &[("pid", "1")]), 7);
        assert_eq!(sum(PAGE, "a_total", &[("path", "read"), ("pid", "2")]), 5);
        assert_eq!(sum(PAGE, "a_total", &[]), 12);
    }
}
