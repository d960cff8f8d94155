//! A small HTTP server for Prometheus. Everything about it is bounded: connections, headers, time,
//! and the number of times the maps are read.

mod accept;
mod answer;
mod auth;
mod loopback;
mod page;
mod pages;
mod tls;
mod web;
mod web_config;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::oneshot;

use self::answer::Answers;
pub use self::loopback::Loopback;
pub use self::page::Page;
pub use self::pages::{Pages, Stats};
pub use self::web::Web;
pub use self::web_config::WebConfig;
use crate::model::snapshot::Snapshot;
use crate::output::prometheus::Exporter;

/// Reads the counters; called from a thread of the server, never twice at once.
pub type SnapshotFn = Arc<dyn Fn() -> Snapshot + Send + Sync>;

const MAX_HEADER_BYTES: usize = 16 << 10;
/// From the connection to the end of the request's head, a TLS handshake included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

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

    /// Serves the metrics of snapshots.
    pub fn spawn(self, snapshot: SnapshotFn) -> Result<Running> {
        let pages = pages::Live { snapshot, exporter: Mutex::new(Exporter::new()) };
        self.serve(Arc::new(pages), None, || {})
    }

    /// Serves on threads of its own, which run `confine` first: to give up what they do not need.
    pub fn serve(
        self,
        pages: Arc<dyn Pages>,
        web: Option<Web>,
        confine: impl FnOnce() + Send + 'static,
    ) -> Result<Running> {
        serve_all(vec![self], pages, web, confine)
    }
}

/// Serves the same pages on several addresses, as one server: the limits are those of all together.
pub fn serve_all(
    servers: Vec<Server>,
    pages: Arc<dyn Pages>,
    web: Option<Web>,
    confine: impl FnOnce() + Send + 'static,
) -> Result<Running> {
    let (stop, stopped) = oneshot::channel();
    let address = servers.first().context("no address to serve on")?.address;
    // One thread for connections, one for reading maps and one for passwords, however many clients there are.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .context("cannot start the HTTP server")?;
    let serve = move || {
        confine();
        runtime.block_on(async {
            let answers = Arc::new(Answers::new(pages, web));
            for server in servers {
                tokio::spawn(accept::accept(server.listener, Arc::clone(&answers)));
            }
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
pub fn host_and_port(listen: &str) -> Result<(&str, u16)> {
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

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

#[cfg(test)]
mod hostile_tests;

#[cfg(test)]
mod tls_tests;
