//! A small HTTP server for Prometheus. Everything about it is bounded: connections, headers, time,
//! and the number of times the maps are read.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Mutex, Semaphore, oneshot};

use super::prom::{self, Exporter};
use crate::snapshot::Snapshot;

/// Reads the counters; called from a thread of the server, never twice at once.
pub type SnapshotFn = Arc<dyn Fn() -> Snapshot + Send + Sync>;

const MAX_CONNECTIONS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 << 10;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a whole connection, so that one that reads slowly ends too. Prometheus gives up after 10 s.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);
/// Scrapes closer together than this get the same text.
const SHARED_FOR: Duration = Duration::from_millis(50);

const LANDING: &str = "<!DOCTYPE html><html lang=\"en\"><title>tracer</title><h1>tracer</h1>\
    <p>How often did the CPU copy each byte?</p>\
    <ul><li><a href=\"/metrics\">/metrics</a></li><li><a href=\"/-/healthy\">/-/healthy</a></li>\
    <li><a href=\"/-/ready\">/-/ready</a></li></ul></html>\n";

/// A bound address that nobody is served on yet: clients wait in the kernel's queue.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// A server at work; ends when dropped.
pub struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds `host:port`, `:port` or `port`; the host is loopback unless given. Port 0 takes a free one.
    pub fn bind(listen: &str) -> Result<Server> {
        let addresses = addresses(listen)?;
        let listener = TcpListener::bind(addresses.as_slice()).map_err(|cause| refused(listen, cause))?;
        let prepare = || -> std::io::Result<SocketAddr> {
            listener.set_nonblocking(true)?;
            listener.local_addr()
        };
        let address = prepare().with_context(|| format!("cannot listen on {listen}"))?;
        Ok(Server { listener, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves on a thread of its own, which inherits the capabilities of the caller: drop them before.
    pub fn spawn(self, snapshot: SnapshotFn) -> Result<Running> {
        let (stop, stopped) = oneshot::channel();
        let address = self.address;
        // One thread for connections and one for reading maps, however many clients there are.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .context("cannot start the HTTP server")?;
        let serve = move || {
            runtime.block_on(async {
                tokio::spawn(accept(self.listener, Arc::new(Scrapes::new(snapshot))));
                // Ends when the sender is dropped.
                let _ = stopped.await;
            });
            // A snapshot in progress must not hold up the end of the program.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new()
            .name("tracer-http".to_owned())
            .spawn(serve)
            .context("cannot start the HTTP server's thread")?;
        Ok(Running { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Running {
    /// With the port that was really taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends without a result, and a panic has been reported already.
            let _ = thread.join();
        }
    }
}

/// Checks how an address is written; whether it can be had, [`Server::bind`] tells.
pub fn parse_listen(listen: &str) -> Result<String> {
    host_and_port(listen).map(|_| listen.to_owned())
}

/// The host is empty if none is given, and without its brackets.
fn host_and_port(listen: &str) -> Result<(&str, u16)> {
    const USAGE: &str = "give it as 127.0.0.1:9435, [::1]:9435, :9435 or 9435";
    let (host, port) = listen.rsplit_once(':').unwrap_or(("", listen));
    let port = port.parse().map_err(|_| anyhow!("{port:?} is not a port; {USAGE}"))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare == host && host.contains(':') {
        return Err(anyhow!("an IPv6 address needs brackets; {USAGE}"));
    }
    Ok((bare, port))
}

fn addresses(listen: &str) -> Result<Vec<SocketAddr>> {
    let (host, port) = host_and_port(listen)?;
    if host.is_empty() {
        return Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]);
    }
    let found = (host, port).to_socket_addrs().map_err(|cause| {
        anyhow!("--listen {listen:?}: the host {host:?} is not known: {cause}\n  give an address of this machine, or only a port")
    })?;
    Ok(found.collect())
}

fn refused(listen: &str, cause: std::io::Error) -> anyhow::Error {
    let port = listen.rsplit_once(':').map_or(listen, |(_, port)| port);
    let next = match cause.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("`ss -ltnp 'sport = :{port}'` tells who has it; or choose another port")
        }
        std::io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address; `ip addr` lists those it has".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE".to_owned(),
        _ => "choose another address with --listen".to_owned(),
    };
    anyhow!("cannot listen on {listen}: {cause}\n  {next}")
}

async fn accept(listener: TcpListener, scrapes: Arc<Scrapes>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(cause) => return super::say(&format!("the HTTP server cannot start: {cause}")),
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Out of descriptors, or the client has gone: neither is helped by trying at once.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let scrapes = Arc::clone(&scrapes);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let scrapes = Arc::clone(&scrapes);
                async move { Ok::<_, Infallible>(scrapes.answer(&request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_header_size(MAX_HEADER_BYTES)
                // A new connection per scrape costs nothing beside the scrape, and frees the place.
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            // Both ways of ending badly are the client's: it went away, or it was too slow.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
            drop(place);
        });
    }
}

/// The last scrape, shared by all that ask at about the same time.
struct Scrapes {
    snapshot: SnapshotFn,
    exporter: Arc<std::sync::Mutex<Exporter>>,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Scrapes {
    fn new(snapshot: SnapshotFn) -> Self {
        Scrapes { snapshot, exporter: Arc::default(), last: Mutex::new(None) }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        const TEXT: &str = "text/plain; charset=utf-8";
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match request.uri().path() {
            "/metrics" => match self.metrics().await {
                Some(text) => response(StatusCode::OK, prom::CONTENT_TYPE, text),
                None => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the counters could not be read\n"),
            },
            "/-/healthy" => response(StatusCode::OK, TEXT, "tracer is healthy\n"),
            "/-/ready" => response(StatusCode::OK, TEXT, "tracer is ready\n"),
            "/" => response(StatusCode::OK, "text/html; charset=utf-8", LANDING),
            _ => response(StatusCode::NOT_FOUND, TEXT, "not found; the metrics are at /metrics\n"),
        }
    }

    /// `None` if reading them panicked.
    async fn metrics(&self) -> Option<Bytes> {
        // Held over the reading, so that those who come meanwhile wait for its result.
        let mut last = self.last.lock().await;
        if let Some((made, text)) = last.as_ref() {
            if made.elapsed() < SHARED_FOR {
                return Some(text.clone());
            }
        }
        let (snapshot, exporter) = (Arc::clone(&self.snapshot), Arc::clone(&self.exporter));
        let render = move || {
            let snapshot = snapshot();
            // Poisoned or not, what it keeps are plain numbers.
            let mut exporter = exporter.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            Bytes::from(exporter.render(&snapshot))
        };
        let text = tokio::task::spawn_blocking(render).await.ok()?;
        *last = Some((Instant::now(), text.clone()));
        Some(text)
    }
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
