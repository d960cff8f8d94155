//! Clients that mean harm, or are broken: what they do is bounded, and scrapes by others go on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::accept::{MAX_CONNECTIONS, SLOW};
use super::page::Page;
use super::pages::{Pages, Stats};
use super::{MAX_HEADER_BYTES, Running, Server};
use crate::output::testing::PATIENCE;

/// About as large as the page of a machine with a thousand processes.
const PAGE: usize = 4 << 20;
const EVICTED: &str = "evicted ";

struct Large;

impl Pages for Large {
    fn metrics(&self, server: &Stats) -> Option<Page> {
        let evicted = format!("{EVICTED}{}\n", server.evicted.load(Ordering::Relaxed));
        Some((evicted + &"# a comment\n".repeat(PAGE / 12)).into())
    }

    fn ready(&self) -> Result<(), String> {
        Err("a probe is missing".into())
    }
}

fn serve() -> Running {
    Server::bind("0").expect("bind").serve(Arc::new(Large), None, || {}).expect("serve")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

fn ask(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    // A server that has refused already may not read the rest.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// Gets the whole page; returns how many connections were closed so far to make room.
fn scrape(address: SocketAddr) -> u64 {
    let answer = ask(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.len() > PAGE - 100, "{} bytes", answer.len());
    let answer = String::from_utf8(answer).expect("text");
    let evicted = answer.lines().find_map(|line| line.strip_prefix(EVICTED)?.parse().ok());
    evicted.expect("a number")
}

#[test]
fn thousands_of_idle_connections() {
    let server = serve();
    let idle: Vec<_> = (0..2_000)
        .filter_map(|i| {
            let mut stream = TcpStream::connect(server.address()).ok()?;
            if i % 2 == 0 {
                let _ = stream.write_all(b"GET /metrics HT");
            }
            Some(stream)
        })
        .collect();
    assert!(idle.len() > 500, "{} connections", idle.len());
    assert!(scrape(server.address()) > 0, "all have only timed out");
    // All but the newest have been closed.
    for mut stream in &idle[..idle.len() - MAX_CONNECTIONS] {
        stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
        assert!(!matches!(stream.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock));
    }
}

#[test]
fn clients_that_never_read_their_answer() {
    let server = serve();
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = connect(server.address());
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
            stream
        })
        .collect();
    for stream in &slow {
        // Something has come, or its end: so it had its place, or was refused one.
        let _ = stream.peek(&mut [0]);
    }
    // Those that have had time enough give way.
    std::thread::sleep(SLOW);
    scrape(server.address());
    drop(slow);
}

#[test]
fn garbage_and_oversized_requests() {
    let server = serve();
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(2 * MAX_HEADER_BYTES));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5_000));
    for request in [long.as_bytes(), many.as_bytes()] {
        let answer = ask(server.address(), request);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"),
            "{:?}",
            &answer[..answer.len().min(80)]
        );
    }
    let mut seed = 1u64;
    for length in (0..2_000).step_by(10) {
        let garbage: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as u8
            })
            .collect();
        let mut stream = connect(server.address());
        let _ = stream.write_all(&garbage);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
    // Pipelined: the first is answered, and the connection closed.
    let twice = ask(server.address(), b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n\xff\xfe\r\n\r\n");
    assert_eq!(twice.windows(8).filter(|window| *window == b"HTTP/1.1").count(), 1);
    scrape(server.address());
}

#[test]
fn not_ready_says_why() {
    let server = serve();
    let answer =
        String::from_utf8(ask(server.address(), b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n")).expect("text");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("a probe is missing"), "{answer}");
}
