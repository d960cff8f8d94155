//! TLS and passwords as the web configuration file says them now: it is read again when it, or a file that it
//! names, changes.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use hyper::header::HeaderMap;
use tokio_rustls::TlsAcceptor;

use super::auth::{Access, Users};
use super::pages::Stats;
use super::tls;
use super::web_config::WebConfig;
use crate::fmt::human;
use crate::fmt::say;

/// Changes are looked for at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the file says.
pub struct Rules {
    pub tls: Option<TlsAcceptor>,
    pub headers: HeaderMap,
    users: Arc<Users>,
}

/// The file, and what it says.
pub struct Web {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    rules: Arc<Rules>,
    /// The files that were read, with what tells that one has changed.
    files: Vec<(PathBuf, Stamp)>,
    looked: Instant,
}

/// Device, inode, size and times of a file; `None` if it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl Web {
    pub fn read(path: &Path) -> Result<Self> {
        let (rules, files) = load(path);
        let state = State { rules: Arc::new(rules?), files, looked: Instant::now() };
        Ok(Web { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// Directories of all files that are read: these are needed as long as it serves.
    pub fn directories(&self) -> Vec<PathBuf> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let parent = |(path, _): &(PathBuf, Stamp)| match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        state.files.iter().map(parent).collect()
    }

    /// The rules of now. A file that is wrong changes nothing, and says so once.
    pub fn now(&self, stats: &Stats) -> Arc<Rules> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < LOOK_EVERY {
            return Arc::clone(&state.rules);
        }
        state.looked = Instant::now();
        if state.files.iter().any(|(path, known)| stamp(path) != *known) {
            let (rules, files) = load(&self.path);
            state.files = files;
            stats.web_config_refused.store(rules.is_err(), Ordering::Relaxed);
            match rules {
                Ok(rules) => state.rules = Arc::new(rules),
                Err(error) => say(&format!("the web configuration stays as it was: {error:#}")),
            }
        }
        Arc::clone(&state.rules)
    }

    pub async fn admit(&self, headers: &HeaderMap, stats: &Stats) -> Access {
        let users = Arc::clone(&self.now(stats).users);
        users.admit(headers).await
    }
}

/// Reads everything, and tells which files that were, also if one of them is wrong.
fn load(path: &Path) -> (Result<Rules>, Vec<(PathBuf, Stamp)>) {
    // Taken before the reading: a change in between is seen the next time.
    let mut files = vec![(path.to_owned(), stamp(path))];
    let shown = human::escape(&path.to_string_lossy()).into_owned();
    let rules = (|| {
        let content = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
        let config = WebConfig::parse(&content).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(|problem| format!("{shown}:{problem}")).collect();
            anyhow!("{}", lines.join("\n  "))
        })?;
        let base = path.parent().unwrap_or(Path::new(""));
        let tls = config.tls.as_ref().map(|tls| {
            for file in
                [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()].into_iter().flatten()
            {
                files.push((base.join(file), stamp(&base.join(file))));
            }
            tls::acceptor(tls, base)
        });
        Ok(Rules { tls: tls.transpose()?, headers: config.headers, users: Users::new(config.users) })
    })();
    (rules, files)
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}
