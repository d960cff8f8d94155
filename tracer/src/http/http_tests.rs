use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::output::testing;

fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(testing::PATIENCE)).expect("timeout");
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, then the end");
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

fn serve(snapshot: impl Fn() -> Snapshot + Send + Sync + 'static) -> Running {
    Server::bind("0").expect("bind").spawn(Arc::new(snapshot)).expect("spawn")
}

fn sample() -> Snapshot {
    testing::snapshot(vec![testing::process(7, "nginx", testing::sendfile())])
}

#[test]
fn serves_what_prometheus_asks_for() {
    let server = serve(sample);
    let metrics = get(server.address(), "/metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(metrics.contains("\ntracer_payload_bytes_total{pid=\"7\",comm=\"nginx\""));
    for path in ["/", "/-/healthy", "/-/ready"] {
        assert!(get(server.address(), path).starts_with("HTTP/1.1 200"), "{path}");
    }
    assert!(get(server.address(), "/etc/passwd").starts_with("HTTP/1.1 404"));
    let post = ask(server.address(), "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405") && post.contains("allow: GET, HEAD"), "{post}");
    assert!(ask(server.address(), "nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
}

#[test]
fn a_panic_while_reading_is_one_failed_scrape() {
    let server = serve(|| panic!("a test's panic"));
    assert!(get(server.address(), "/metrics").starts_with("HTTP/1.1 500"));
    assert!(get(server.address(), "/-/healthy").starts_with("HTTP/1.1 200"));
}

#[test]
fn silent_clients_hold_their_place_only_for_a_while() {
    let server = serve(sample);
    let silent: Vec<_> = (0..accept::MAX_CONNECTIONS)
        .map(|_| TcpStream::connect(server.address()).expect("connect"))
        .collect();
    // Nobody would answer if they could stay.
    assert!(get(server.address(), "/-/healthy").starts_with("HTTP/1.1 200"));
    drop(silent);
}

#[test]
fn dropping_it_frees_the_address() {
    let server = serve(sample);
    let address = server.address();
    drop(server);
    Server::bind(&address.to_string()).expect("free again");
}

#[test]
fn addresses_as_people_write_them() {
    let first = |listen| addresses(listen).map(|found| found[0].to_string()).map_err(|e| e.to_string());
    assert_eq!(first(":9435").as_deref(), Ok("127.0.0.1:9435"));
    assert_eq!(first("9435").as_deref(), Ok("127.0.0.1:9435"));
    assert_eq!(first("0.0.0.0:9435").as_deref(), Ok("0.0.0.0:9435"));
    assert_eq!(first("[::1]:9435").as_deref(), Ok("[::1]:9435"));
    assert!(first("localhost:9435").is_ok());
    for (wrong, why) in [
        ("", "is not a port"),
        ("x", "is not a port"),
        ("127.0.0.1", "is not a port"),
        ("127.0.0.1:65536", "is not a port"),
        ("::1:9435", "needs brackets"),
        ("no-such-host.invalid:1", "is not known"),
    ] {
        let error = first(wrong).expect_err(wrong);
        assert!(error.contains(why), "{wrong}: {error}");
    }
}

#[test]
fn an_address_in_use_says_what_to_do() {
    let taken = Server::bind("127.0.0.1:0").expect("bind");
    let address = taken.address().to_string();
    let error = Server::bind(&address).err().expect("refused").to_string();
    let port = taken.address().port();
    assert!(error.starts_with(&format!("cannot listen on {address}: Address already in use")), "{error}");
    assert!(error.contains(&format!("ss -ltnp 'sport = :{port}'")), "{error}");
}
