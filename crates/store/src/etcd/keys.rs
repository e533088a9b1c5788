//! Where the store's keys are in etcd: `/registry/…` is under a prefix of the operator's choice,
//! all else is the same in both.

use bytes::Bytes;

use crate::types::prefix_end;

/// The root of all keys that are moved.
const ROOT: &[u8] = b"/registry/";

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// With a slash at both ends; `None` when nothing is moved.
    moved: Option<Bytes>,
}

impl Keys {
    /// Keys below `/registry/` are below `prefix` in etcd.
    pub(super) fn new(prefix: &str) -> Self {
        let prefix = format!("/{}/", prefix.trim_matches('/'));
        let prefix = if prefix == "//" { "/".to_owned() } else { prefix };
        Self { moved: (prefix.as_bytes() != ROOT).then(|| prefix.into()) }
    }

    /// A key or the start of a range as etcd has it.
    pub(super) fn outward(&self, key: Bytes) -> Bytes {
        match (&self.moved, key.strip_prefix(ROOT)) {
            (Some(moved), Some(rest)) => [moved.as_ref(), rest].concat().into(),
            _ => key,
        }
    }

    /// The end of a range as etcd has it, in which an empty key with an end of one zero byte is
    /// everything.
    pub(super) fn outward_end(&self, end: Option<Bytes>) -> Bytes {
        let Some(end) = end else { return Bytes::from_static(b"\0") };
        match &self.moved {
            // "/registry0" ends "/registry/".
            Some(moved) if Some(&end) == prefix_end(ROOT).as_ref() => {
                prefix_end(moved).unwrap_or_else(|| Bytes::from_static(b"\0"))
            }
            _ => self.outward(end),
        }
    }

    /// A key of etcd's as the store has it; `None` when it is not the store's.
    pub(super) fn inward(&self, key: Bytes) -> Option<Bytes> {
        let Some(moved) = &self.moved else { return Some(key) };
        match key.strip_prefix(moved.as_ref()) {
            Some(rest) => Some([ROOT, rest].concat().into()),
            // Somebody else's, who has not moved.
            None if key.starts_with(ROOT) => None,
            None => Some(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_out_and_come_back() {
        let check = |prefix: &str, ours: &'static str, theirs: &'static str| {
            let keys = Keys::new(prefix);
            assert_eq!(keys.outward(ours.into()), theirs, "{prefix} {ours}");
            assert_eq!(keys.inward(theirs.into()).unwrap(), ours, "{prefix} {theirs}");
        };
        check("/registry", "/registry/pods/a/b", "/registry/pods/a/b");
        check("registry/", "compact_rev_key", "compact_rev_key");
        check("/blue/one", "/registry/pods/a/b", "/blue/one/pods/a/b");
        check("/blue", "compact_rev_key", "compact_rev_key");
        assert_eq!(Keys::new("/blue").inward("/registry/pods/a/b".into()), None);
    }

    #[test]
    fn ranges_keep_their_bounds() {
        let check = |prefix: &str, ours: &'static str, want: [&str; 2]| {
            let keys = Keys::new(prefix);
            let end = prefix_end(ours.as_bytes());
            assert_eq!(keys.outward(ours.into()), want[0], "{prefix} {ours}");
            assert_eq!(keys.outward_end(end), want[1], "{prefix} {ours}");
        };
        check("/registry", "/registry/", ["/registry/", "/registry0"]);
        check("/blue", "/registry/", ["/blue/", "/blue0"]);
        check("/blue", "/registry/pods/", ["/blue/pods/", "/blue/pods0"]);
        check("/blue", "", ["", "\0"]);
    }
}
