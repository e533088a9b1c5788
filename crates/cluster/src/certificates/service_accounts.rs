//! Replacing the keys of service-account tokens: API servers first believe the new one too, then sign
//! with it, and forget the old one when no token that it signed is in use any more.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use component::pki;
use kube::Client;
use serde_json::Value;

use super::files::{self, FileError};
use super::inspect::{PUBLIC_KEYS, SIGNING_KEY};
use super::rotate::Member;

/// How long a token is used at most: kubelets ask for another one long before an hour is over.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// The new key until it signs, without the leading slash.
const NEXT: &str = "etc/kubernetes/pki/sa-next.key";
/// Between looks at the keys that an API server publishes.
const POLL: Duration = Duration::from_millis(200);

/// Why the keys are not replaced.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file is of no use.
    #[error(transparent)]
    File(#[from] FileError),
    /// No key could be made.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// There is none.
    #[error("{}: not there", .0.display())]
    Missing(PathBuf),
    /// The rotation before is not finished.
    #[error(
        "the key of before is still trusted; `ironclad certs rotate-sa-key --finish` drops it first"
    )]
    Unfinished,
    /// Tokens are in use that only the old key vouches for.
    #[error(
        "tokens that the old key signed may be in use for another {} minutes; --force drops it now, and Pods whose tokens it signed are locked out until they get others",
        left.as_secs().div_ceil(60)
    )]
    TooEarly {
        /// For so long.
        left: Duration,
    },
    /// The API server does not publish the keys.
    #[error("the API server did not take over the new keys within {} seconds", .0.as_secs())]
    NotTaken(Duration),
}

/// Makes a new key, lets API servers believe it and then sign with it. The old one stays trusted.
///
/// # Errors
/// [`KeyError`]; repeating goes on from there.
pub async fn rotate(
    members: &[Member],
    client: &Client,
    patience: Duration,
) -> Result<(), KeyError> {
    let Some(first) = members.first() else { return Ok(()) };
    let current = read(&first.root, SIGNING_KEY)?;
    let pending = members.iter().find_map(|member| files::text(&member.root.join(NEXT)).ok()?);
    let new = match pending {
        // Broken off before.
        Some(key) => key,
        None => {
            let published = read(&first.root, PUBLIC_KEYS)?;
            if published.matches("BEGIN PUBLIC KEY").count() > 1 {
                return Err(KeyError::Unfinished);
            }
            pki::signing_key()?.0
        }
    };
    let mut public = vec![pki::public_key(&current)?];
    let fresh = pki::public_key(&new)?;
    if public[0] != fresh {
        public.push(fresh);
    }
    for member in members {
        files::replace(&member.root.join(NEXT), &new, 0o600)?;
        trust(&member.root, &public)?;
    }
    taken(client, public.len(), patience).await?;
    for member in members {
        files::replace(&member.root.join(SIGNING_KEY), &new, 0o600)?;
    }
    for member in members {
        let path = member.root.join(NEXT);
        std::fs::remove_file(&path).map_err(|source| FileError::Io { path, source })?;
    }
    Ok(())
}

/// Lets API servers forget all keys but the one that signs. Too early it is refused, unless `force`d.
///
/// # Errors
/// [`KeyError::TooEarly`], or what went wrong.
pub fn finish(members: &[Member], now: SystemTime, force: bool) -> Result<(), KeyError> {
    for member in members {
        let path = member.root.join(SIGNING_KEY);
        let since = std::fs::metadata(&path).and_then(|found| found.modified());
        let since = since.map_err(|source| FileError::Io { path, source })?;
        let left = left(since, now);
        if !left.is_zero() && !force {
            return Err(KeyError::TooEarly { left });
        }
    }
    for member in members {
        let own = pki::public_key(&read(&member.root, SIGNING_KEY)?)?;
        trust(&member.root, &[own])?;
    }
    Ok(())
}

/// How long a token may still be in use that was signed until `since`.
fn left(since: SystemTime, now: SystemTime) -> Duration {
    TOKEN_LIFE.saturating_sub(now.duration_since(since).unwrap_or_default())
}

/// Writes the keys that are believed, unless they are already.
fn trust(root: &Path, public: &[String]) -> Result<(), KeyError> {
    let path = root.join(PUBLIC_KEYS);
    let held = files::text(&path)?.unwrap_or_default();
    let same = held.matches("BEGIN PUBLIC KEY").count() == public.len()
        && public.iter().all(|key| held.contains(key.trim()));
    if !same {
        files::replace(&path, &public.concat(), 0o644)?;
    }
    Ok(())
}

fn read(root: &Path, name: &str) -> Result<String, KeyError> {
    let path = root.join(name);
    files::text(&path)?.ok_or(KeyError::Missing(path))
}

/// Waits until the API server publishes `count` keys.
async fn taken(client: &Client, count: usize, patience: Duration) -> Result<(), KeyError> {
    let published = async || {
        let request = http::Request::get("/openid/v1/jwks").body(Vec::new());
        let request = request.expect("the path is valid");
        let text = client.request_text(request).await.ok()?;
        let keys: Value = serde_json::from_str(&text).ok()?;
        Some(keys["keys"].as_array()?.len())
    };
    let waiting = async {
        while published().await != Some(count) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(patience, waiting).await.map_err(|_| KeyError::NotTaken(patience))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_key_is_dropped_when_its_tokens_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        std::fs::create_dir_all(root.join("etc/kubernetes/pki")).unwrap();
        let [old, new] = [(); 2].map(|()| pki::signing_key().unwrap());
        std::fs::write(root.join(SIGNING_KEY), &new.0).unwrap();
        std::fs::write(root.join(PUBLIC_KEYS), format!("{}{}", old.1, new.1)).unwrap();
        let members = [Member { name: "m1".into(), root: root.clone() }];
        let now = SystemTime::now();
        let early = finish(&members, now, false).unwrap_err();
        assert!(early.to_string().contains("for another 60 minutes"), "{early}");
        let held = || std::fs::read_to_string(root.join(PUBLIC_KEYS)).unwrap();
        assert!(held().contains(&old.1));
        finish(&members, now + TOKEN_LIFE, false).unwrap();
        assert_eq!(held(), new.1);
        finish(&members, now, true).unwrap();
        assert_eq!(held(), new.1);
    }
}
