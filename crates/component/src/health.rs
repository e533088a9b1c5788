//! Named health checks and the answers of `/healthz`, `/livez` and `/readyz`, in the text form of
//! <https://kubernetes.io/docs/reference/using-api/health-checks/>.

use std::fmt::Write as _;
use std::sync::{Arc, RwLock};

use http::StatusCode;

type Probe = dyn Fn() -> Result<(), String> + Send + Sync;

/// Which endpoints ask a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All three endpoints.
    Everywhere,
    /// Only `/readyz`: the process is alive but not yet, or no longer, of use.
    Readiness,
}

/// The three endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The old name, which asks the same as liveness.
    Healthz,
    /// Should the process be restarted?
    Livez,
    /// Should it get requests?
    Readyz,
}

impl Endpoint {
    /// Splits a request path such as `/readyz/etcd` into its endpoint and the check it names.
    #[must_use]
    pub fn from_path(path: &str) -> Option<(Self, Option<&str>)> {
        let rest = path.strip_prefix('/')?;
        let (head, check) = match rest.split_once('/') {
            Some((head, check)) => (head, Some(check).filter(|c| !c.is_empty())),
            None => (rest, None),
        };
        let endpoint = match head {
            "healthz" => Self::Healthz,
            "livez" => Self::Livez,
            "readyz" => Self::Readyz,
            _ => return None,
        };
        Some((endpoint, check))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Healthz => "healthz",
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }
}

struct Check {
    name: String,
    scope: Scope,
    probe: Box<Probe>,
}

/// The checks of one process; clones share them. `ping` is always there.
#[derive(Clone)]
pub struct Checks(Arc<RwLock<Vec<Check>>>);

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Checks")
    }
}

impl Default for Checks {
    fn default() -> Self {
        let checks = Self(Arc::default());
        checks.add("ping", Scope::Everywhere, || Ok(()));
        checks
    }
}

// === impl Checks ===

impl Checks {
    /// Adds a check; `probe` says why it fails. It is called on each request, so it must be cheap.
    pub fn add(
        &self,
        name: impl Into<String>,
        scope: Scope,
        probe: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        let check = Check { name: name.into(), scope, probe: Box::new(probe) };
        self.0.write().expect("no probe panics under the lock").push(check);
    }

    /// Answers a request for `path` (with its raw query), or `None` when the path is not one of
    /// the health endpoints or names an unknown check.
    #[must_use]
    pub fn answer(&self, path: &str, query: Option<&str>) -> Option<(StatusCode, String)> {
        let (endpoint, name) = Endpoint::from_path(path)?;
        let checks = self.0.read().expect("no probe panics under the lock");
        let asked =
            |check: &&Check| check.scope == Scope::Everywhere || endpoint == Endpoint::Readyz;
        if let Some(name) = name {
            let check = checks.iter().filter(asked).find(|check| check.name == name)?;
            return Some(match (check.probe)() {
                Ok(()) => (StatusCode::OK, "ok".to_owned()),
                Err(reason) => {
                    let text = format!("internal server error: {reason}\n");
                    (StatusCode::INTERNAL_SERVER_ERROR, text)
                }
            });
        }
        let mut excluded: Vec<&str> = Vec::new();
        let mut verbose = false;
        for pair in query.unwrap_or_default().split('&') {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("exclude", value) => excluded.push(value),
                ("verbose", _) => verbose = true,
                _ => {}
            }
        }
        let mut text = String::new();
        let mut failed = Vec::new();
        for check in checks.iter().filter(asked) {
            let line = if let Some(at) = excluded.iter().position(|name| *name == check.name) {
                excluded.swap_remove(at);
                writeln!(text, "[+]{} excluded: ok", check.name)
            } else if let Err(reason) = (check.probe)() {
                tracing::info!(check = check.name, endpoint = endpoint.name(), reason, "failed");
                failed.push(check.name.as_str());
                writeln!(text, "[-]{} failed: reason withheld", check.name)
            } else {
                writeln!(text, "[+]{} ok", check.name)
            };
            line.expect("writing to a String cannot fail");
        }
        if !excluded.is_empty() {
            let names: Vec<_> = excluded.iter().map(|name| format!("{name:?}")).collect();
            text.push_str("warn: some health checks cannot be excluded: no matches for ");
            text.push_str(&names.join(", "));
            text.push('\n');
        }
        if !failed.is_empty() {
            text.push_str(endpoint.name());
            text.push_str(" check failed\n");
            return Some((StatusCode::INTERNAL_SERVER_ERROR, text));
        }
        if !verbose {
            return Some((StatusCode::OK, "ok".to_owned()));
        }
        text.push_str(endpoint.name());
        text.push_str(" check passed\n");
        Some((StatusCode::OK, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, query: Option<&str>, want: Option<(u16, &str)>) {
        let checks = Checks::default();
        checks.add("etcd", Scope::Everywhere, || Ok(()));
        checks.add("informer-sync", Scope::Readiness, || Err("3 not synced".to_owned()));
        let got = checks.answer(path, query);
        let got = got.as_ref().map(|(code, text)| (code.as_u16(), text.as_str()));
        assert_eq!(got, want, "{path} {query:?}");
    }

    #[test]
    fn answers_read_as_upstream() {
        check("/healthz", None, Some((200, "ok")));
        check(
            "/livez",
            Some("verbose"),
            Some((200, "[+]ping ok\n[+]etcd ok\nlivez check passed\n")),
        );
        check("/livez/etcd", None, Some((200, "ok")));
        check(
            "/readyz",
            None,
            Some((
                500,
                "[+]ping ok\n[+]etcd ok\n[-]informer-sync failed: reason withheld\nreadyz check failed\n",
            )),
        );
        check(
            "/readyz",
            Some("verbose&exclude=informer-sync&exclude=nope"),
            Some((
                200,
                "[+]ping ok\n[+]etcd ok\n[+]informer-sync excluded: ok\nwarn: some health checks \
                 cannot be excluded: no matches for \"nope\"\nreadyz check passed\n",
            )),
        );
        check("/readyz/informer-sync", None, Some((500, "internal server error: 3 not synced\n")));
        check("/livez/informer-sync", None, None);
        check("/metrics", None, None);
    }
}
