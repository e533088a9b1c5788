//! Which credentials fit an image. Pure.
//!
//! Servers are named as in Docker's configuration: `https://host:port/path`, where every label of the
//! host may be a glob. Of several that fit, the most specific comes first, and all are tried.
//! <https://kubernetes.io/docs/concepts/containers/images/#config-json>

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::pull_records::Coordinates;
use crate::cri::proto::AuthConfig;

/// How Docker's own registry is named by its client.
const DEFAULT: &str = "index.docker.io";

/// Whose credentials these are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The node's: every Pod on it has them.
    #[default]
    Node,
    /// Those in a Secret.
    Secret(Coordinates),
    /// Those of a service account.
    ServiceAccount(Coordinates),
}

/// Something to show to a registry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Credential {
    /// What is shown.
    pub auth: AuthConfig,
    /// Whose it is.
    pub source: Source,
}

/// Credentials by server.
#[derive(Clone, Debug, Default)]
pub struct Keyring(BTreeMap<Reverse<String>, Vec<Credential>>);

// === impl Keyring ===

impl Keyring {
    /// Adds the credentials for `server`, which are those of `source`.
    pub fn add(&mut self, server: &str, username: String, password: String, source: &Source) {
        let server = without_scheme(server);
        let (host, path) = split_path(server);
        // The versions of the registry's API say nothing of the image.
        let path = match path {
            _ if path.starts_with("/v1/") || path.starts_with("/v2/") => &path[3..],
            _ => path,
        };
        let server = if path == "/" { host.to_owned() } else { format!("{host}{path}") };
        let auth = AuthConfig { username, password, ..AuthConfig::default() };
        let credential = Credential { auth, source: source.clone() };
        self.0.entry(Reverse(server)).or_default().push(credential);
    }

    /// Those that fit `repository` (with its registry, without tag), best first.
    #[must_use]
    pub fn lookup(&self, repository: &str) -> Vec<Credential> {
        let fitting = self.0.iter().filter(|(server, _)| matches(&server.0, repository));
        let found: Vec<_> = fitting.flat_map(|(_, all)| all).cloned().collect();
        let host = repository.split('/').next().unwrap_or_default();
        if found.is_empty() && matches!(host, "docker.io" | DEFAULT) {
            return self.0.get(&Reverse(DEFAULT.to_owned())).cloned().unwrap_or_default();
        }
        found
    }
}

/// Whether `image` (without tag) is one of those that `glob` stands for: the ports are the same, every
/// label of the host matches, and the path begins with the glob's.
#[must_use]
pub fn matches(glob: &str, image: &str) -> bool {
    let (glob_host, glob_path) = split_path(without_scheme(glob));
    let (host, path) = split_path(without_scheme(image));
    let (glob_host, glob_port) = split_port(glob_host);
    let (host, port) = split_port(host);
    let (globs, labels) = (glob_host.split('.'), host.split('.'));
    glob_port == port
        && globs.clone().count() == labels.clone().count()
        && path.starts_with(glob_path)
        && globs.zip(labels).all(|(glob, label)| fits(glob.as_bytes(), label.as_bytes()))
}

fn without_scheme(url: &str) -> &str {
    url.strip_prefix("https://").or(url.strip_prefix("http://")).unwrap_or(url)
}

/// Host with port, and path with its slash.
fn split_path(url: &str) -> (&str, &str) {
    url.split_at(url.find('/').unwrap_or(url.len()))
}

fn split_port(host: &str) -> (&str, &str) {
    host.rsplit_once(':').unwrap_or((host, ""))
}

/// Shell globs: `*`, `?` and `[a-z]`.
fn fits(glob: &[u8], text: &[u8]) -> bool {
    match (glob, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| fits(rest, &text[skip..])),
        ([b'?', rest @ ..], [_, more @ ..]) => fits(rest, more),
        ([b'[', rest @ ..], [first, more @ ..]) => {
            let Some(end) = rest.iter().skip(1).position(|byte| *byte == b']') else {
                return false;
            };
            let (class, rest) = (&rest[..=end], &rest[end + 2..]);
            let (class, wanted) = match class {
                [b'^', class @ ..] => (class, false),
                class => (class, true),
            };
            in_class(class, *first) == wanted && fits(rest, more)
        }
        ([wanted, rest @ ..], [first, more @ ..]) => wanted == first && fits(rest, more),
        (_, []) => false,
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    match class {
        [] => false,
        [from, b'-', to, rest @ ..] => (from..=to).contains(&&byte) || in_class(rest, byte),
        [one, rest @ ..] => *one == byte || in_class(rest, byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_label_by_label() {
        for (glob, image, wanted) in [
            ("*.kubernetes.io", "sub.kubernetes.io/x", true),
            ("*.kubernetes.io", "kubernetes.io/x", false),
            ("*.kubernetes.io", "a.b.kubernetes.io/x", false),
            ("*.*.kubernetes.io", "a.b.kubernetes.io/x", true),
            ("prefix*.kubernetes.io", "prefix-1.kubernetes.io/x", true),
            ("prefix?.kubernetes.io", "prefix-1.kubernetes.io/x", false),
            ("reg[0-9].example", "reg7.example/x", true),
            ("reg[^0-9].example", "reg7.example/x", false),
            ("reg[79].example", "reg7.example/x", true),
            ("*.good.kubernetes.io", "a.bad.kubernetes.io/x", false),
            ("host:5000", "host:5000/x", true),
            ("host", "host:5000/x", false),
            ("host:5000", "host/x", false),
            ("*:5000", "host:5000/x", true),
            ("host/a", "host/a/b", true),
            ("host/a", "host/ab", true),
            ("host/a/b", "host/a", false),
            ("https://host/a", "host/a", true),
            ("registry.io/foo", "registry.io/foo/bar", true),
        ] {
            assert_eq!(matches(glob, image), wanted, "{glob} {image}");
        }
    }

    #[test]
    fn the_most_specific_comes_first_and_all_that_fit_are_found() {
        let mut keyring = Keyring::default();
        for server in [
            "host",
            "https://host/a/b",
            "http://host/a",
            "*",
            "https://other.example",
            "https://index.docker.io/v1/",
            "https://versioned/v2/",
            "https://slash/",
        ] {
            keyring.add(server, server.to_owned(), String::new(), &Source::Node);
        }
        keyring.add("host", "second".to_owned(), String::new(), &Source::Node);
        let users = |image: &str| -> Vec<String> {
            keyring.lookup(image).into_iter().map(|one| one.auth.username).collect()
        };
        assert_eq!(users("host/a/b"), ["https://host/a/b", "http://host/a", "host", "second", "*"]);
        assert_eq!(users("host/c"), ["host", "second", "*"]);
        assert_eq!(users("none.example/c"), [""; 0]);
        assert_eq!(users("docker.io/library/x"), ["https://index.docker.io/v1/"]);
        assert_eq!(users("versioned/x"), ["https://versioned/v2/", "*"]);
        assert_eq!(users("slash/x"), ["https://slash/", "*"]);
    }
}
