//! Passwords (bcrypt), checked one at a time, and remembered while their file does not change.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;

/// A check takes some 50 ms of one CPU: that is what a wrong password costs, and only one at a time.
const MAX_WAITING: usize = 8;
/// Right ones; more than this are not remembered.
const MAX_REMEMBERED: usize = 1_000;
/// Checked for a user who does not exist, so that the time does not tell who does. (Of a random password.)
const NOBODY: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Granted,
    Denied,
    /// Too many are being checked.
    Busy,
}

/// Users of one version of the file.
pub struct Users {
    users: Vec<(String, String)>,
    /// Digests of name and password that were right.
    right: Mutex<HashSet<Vec<u8>>>,
    waiting: Semaphore,
    one: Semaphore,
}

impl Users {
    pub fn new(users: Vec<(String, String)>) -> Arc<Self> {
        let (waiting, one) = (Semaphore::new(MAX_WAITING), Semaphore::new(1));
        Arc::new(Users { users, right: Mutex::default(), waiting, one })
    }

    pub async fn admit(self: &Arc<Self>, headers: &HeaderMap) -> Access {
        if self.users.is_empty() {
            return Access::Granted;
        }
        let Some((name, password)) = credentials(headers) else { return Access::Denied };
        let key = digest(&SHA256, format!("{}:{name}{password}", name.len()).as_bytes()).as_ref().to_vec();
        if self.right.lock().unwrap_or_else(PoisonError::into_inner).contains(&key) {
            return Access::Granted;
        }
        let Ok(_waiting) = self.waiting.try_acquire() else { return Access::Busy };
        let Ok(_one) = self.one.acquire().await else { return Access::Busy };
        let users = Arc::clone(self);
        let checked = tokio::task::spawn_blocking(move || {
            let known = users.users.iter().find(|(known, _)| *known == name);
            let hash = known.map_or(NOBODY, |(_, hash)| hash);
            bcrypt::verify(&password, hash).unwrap_or(false) && known.is_some()
        });
        if !checked.await.unwrap_or(false) {
            return Access::Denied;
        }
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() < MAX_REMEMBERED {
            right.insert(key);
        }
        Access::Granted
    }
}

/// Name and password of `Authorization: Basic ...`.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).expect("valid"));
        headers
    }

    #[test]
    fn how_credentials_come() {
        let basic = format!("Basic {}", STANDARD.encode("alice:a:b"));
        assert_eq!(credentials(&headers(&basic)), Some(("alice".into(), "a:b".into())));
        for bad in ["Basic", "Basic !!!", "Bearer abc", "Basic YWxpY2U="] {
            assert_eq!(credentials(&headers(bad)), None, "{bad}");
        }
        assert_eq!(credentials(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn right_and_wrong() {
        let hash = bcrypt::hash("secret", 4).expect("hash");
        let users = Users::new(vec![("alice".into(), hash)]);
        let as_ = |who: &str| headers(&format!("Basic {}", STANDARD.encode(who)));
        for (who, expected) in [
            ("alice:secret", Access::Granted),
            ("alice:secret", Access::Granted),
            ("alice:Secret", Access::Denied),
            ("bob:secret", Access::Denied),
        ] {
            assert_eq!(users.admit(&as_(who)).await, expected, "{who}");
        }
        assert_eq!(users.admit(&HeaderMap::new()).await, Access::Denied);
        assert_eq!(Users::new(Vec::new()).admit(&HeaderMap::new()).await, Access::Granted);
    }
}
