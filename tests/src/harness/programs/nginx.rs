//! nginx as a server of files: what is tested itself, and what others fetch from.

use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use anyhow::Result;

use super::files::Dir;
use super::server::{self, Server};

pub const NGINX: &str = "/usr/sbin/nginx";

pub struct Nginx {
    master: Server,
    pub port: u16,
    _dir: Rc<Dir>,
}

impl Nginx {
    /// Serves `dir` on a port of the loopback, as [`configuration`] says.
    pub fn start(dir: &Rc<Dir>, name: &str, http: &str, listen: &str) -> Result<Nginx> {
        let port = server::free_port()?;
        let config = configuration(dir, name, port, http, listen)?;
        let mut command = Command::new(NGINX);
        command.arg("-c").arg(config);
        let mut master = Server::start(command, &dir.path().join(format!("{name}.output")))?;
        master.wait_listening(port)?;
        Ok(Nginx { master, port, _dir: Rc::clone(dir) })
    }

    pub fn master(&self) -> u32 {
        self.master.pid()
    }

    /// Reads the configuration again: a new worker takes over from the old one, which ends.
    pub fn reload(&mut self) -> Result<()> {
        let old = self.worker()?;
        // SAFETY: takes no memory of ours; the master is our own child, not yet waited for.
        unsafe { libc::kill(self.master() as i32, libc::SIGHUP) };
        self.master.wait_for("nginx has a new worker, and no other", |master| {
            master.only_child().is_ok_and(|worker| worker != old).then_some(())
        })
    }

    /// The process that serves. There is one once it has served something.
    pub fn worker(&self) -> Result<u32> {
        self.master.only_child()
    }
}

/// Writes what `nginx -c` takes: it serves `dir` on a port of the loopback. `http` are lines of the block of
/// that name, `listen` options of the directive; with `name` begin its own files.
pub fn configuration(dir: &Dir, name: &str, port: u16, http: &str, listen: &str) -> Result<PathBuf> {
    let root = dir.text();
    dir.write(
        &format!("{name}.conf"),
        format!(
            "user root; worker_processes 1; daemon off; pid {root}/{name}.pid; error_log stderr;\n\
             events {{ worker_connections 64; }}\n\
             http {{\n access_log off; {http}\n \
             server {{ listen 127.0.0.1:{port} {listen}; root {root}; }}\n}}\n"
        ),
    )
}
