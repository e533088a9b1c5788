//! What an administrator looks at besides objects, and what is done with another release.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use client::api::{ListParams, LogParams};
use client::{Api, ResourceExt as _};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::acts::{ATTEMPT, until};
use super::{Stage, not_done};
use crate::failure::{Failure, Outcome};
use crate::sight::{Pods, Seen, Shown};

/// The certificates of a cluster: by node and name, when they end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificates(BTreeMap<String, Timestamp>);

// === impl Certificates ===

impl Certificates {
    /// Reads what `ironclad certs check --output json` says, when nothing is wrong with any.
    fn parse(text: &str) -> Seen<Self> {
        let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let rows = document["certificates"].as_array().cloned().unwrap_or_default();
        let mut ends = BTreeMap::new();
        // The keys of tokens have no end.
        for row in rows.iter().filter(|row| row["name"] != "sa") {
            let end = row["expirationDate"].as_str().and_then(|end| end.parse().ok());
            let Some(end) = end.filter(|_| row["problem"].is_null()) else {
                return Err(row.to_string());
            };
            let field = |name: &str| row[name].as_str().unwrap_or_default();
            ends.insert(format!("{}  {}", field("node"), field("name")), end);
        }
        if ends.is_empty() { Err("there are no certificates".to_owned()) } else { Ok(Self(ends)) }
    }

    /// All of `before` are there and end later.
    fn renewed_since(self, before: &Self) -> Seen<Self> {
        let old =
            |(name, end): &(&String, &Timestamp)| self.0.get(*name).is_none_or(|now| now <= *end);
        match before.0.iter().find(old) {
            Some((name, end)) => Err(format!("{name} ends {end}")),
            None => Ok(self),
        }
    }

    /// The latest end of any.
    pub(crate) fn last(&self) -> Timestamp {
        self.0.values().copied().max().unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl Shown for Certificates {
    fn rows(&self) -> Vec<String> {
        self.0.iter().map(|(name, end)| format!("{name}  ends {end}")).collect()
    }
}

impl Stage {
    /// The certificates of all nodes, once none is missing or wrong.
    pub(crate) async fn certificates(&mut self, what: &str) -> Outcome<Certificates> {
        self.look_at_certificates(what, Ok).await
    }

    /// The same, once all of `before` have been renewed.
    pub(crate) async fn certificates_after(
        &mut self,
        what: &str,
        before: &Certificates,
    ) -> Outcome<Certificates> {
        self.look_at_certificates(what, |now| now.renewed_since(before)).await
    }

    async fn look_at_certificates(
        &mut self,
        what: &str,
        judge: impl Fn(Certificates) -> Seen<Certificates>,
    ) -> Outcome<Certificates> {
        let ask = async || {
            let text = self.command("certs check --output json").await;
            Certificates::parse(&text.map_err(|failure| failure.to_string())?).and_then(&judge)
        };
        let seen = until(what, ATTEMPT, ask).await?;
        self.saw(what, seen.rows());
        Ok(seen)
    }

    /// The requests for certificates that were issued, by name: whose, and for what.
    pub(crate) async fn issued(&self) -> Outcome<BTreeMap<String, String>> {
        let api: Api<CertificateSigningRequest> = Api::all(self.client.clone());
        let what = "kubectl get certificatesigningrequests";
        let all = api.list(&ListParams::default()).await.map_err(|error| not_done(what, error))?;
        let issued = all.items.into_iter().filter(|request| {
            request.status.as_ref().is_some_and(|status| status.certificate.is_some())
        });
        let row = |request: CertificateSigningRequest| {
            let user = request.spec.username.clone().unwrap_or_default();
            (request.name_any(), format!("{}  {user}  Approved,Issued", request.spec.signer_name))
        };
        Ok(issued.map(row).collect())
    }

    /// The processes of kubelets and container runtimes, as `ironclad service status` tells them.
    pub(crate) async fn services(&mut self) -> Outcome<BTreeSet<String>> {
        let nodes: Vec<_> = self.view.nodes().iter().map(|node| node.name_any()).collect();
        let mut all = BTreeSet::new();
        for node in nodes {
            let text = self.command(&format!("service status --node {node}")).await?;
            let pids = text.lines().filter_map(|line| line.trim().strip_prefix("Main PID: "));
            all.extend(pids.map(str::to_owned));
        }
        Ok(all)
    }

    /// Reads the log of each Pod: the API server reaches its kubelet, and each accepts the other.
    pub(crate) async fn kubelets_answer(&mut self, pods: &Pods) -> Outcome {
        for pod in &pods.0 {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
            let what = format!("kubectl logs {}", pod.name_any());
            self.act(&what);
            let read = api.logs(&pod.name_any(), &LogParams::default()).await;
            read.map_err(|error| not_done(&what, error))?;
        }
        self.saw("their kubelets answer", Vec::new());
        Ok(())
    }

    /// Makes a copy of this program that is another release, and is removed with the result.
    pub(crate) fn release(&mut self, release: &str) -> Outcome<Release> {
        let what = format!("a copy of this program that is {release}");
        self.act(&what);
        let failed = |error: &dyn std::fmt::Display| not_done(&what, error);
        let own = std::env::current_exe().and_then(std::fs::read).map_err(|e| failed(&e))?;
        let changed = component::version::relabelled(own, release);
        let changed = changed.ok_or_else(|| failed(&"the program does not say what it is"))?;
        let folder = std::env::temp_dir().join(format!("{}-{release}", self.namespace));
        let program = Release { path: folder.join("ironclad"), folder };
        let write = || {
            std::fs::create_dir(&program.folder)?;
            std::fs::write(&program.path, &changed)?;
            std::fs::set_permissions(&program.path, std::fs::Permissions::from_mode(0o755))
        };
        write().map_err(|error| failed(&error))?;
        Ok(program)
    }

    /// Runs a command that must be refused, of another release or of this one; what it says then.
    pub(crate) async fn refused(
        &mut self,
        release: Option<&Release>,
        arguments: &str,
    ) -> Outcome<String> {
        let done = match release {
            Some(release) => self.with_release(release, arguments).await,
            None => self.ironclad(arguments).await,
        };
        match done {
            Err(Failure::NotDone { error, .. }) => Ok(error),
            Err(other) => Err(other),
            Ok(said) => Err(not_done(&format!("ironclad {arguments} was not refused"), said)),
        }
    }

    /// Runs a command of another release on the drill's cluster, and returns what it prints.
    pub(crate) async fn with_release(
        &mut self,
        release: &Release,
        arguments: &str,
    ) -> Outcome<String> {
        self.act(&format!("the new ironclad {arguments}"));
        self.command_of(&release.path, arguments).await
    }
}

/// A program that is another release.
pub(crate) struct Release {
    folder: PathBuf,
    path: PathBuf,
}

impl Drop for Release {
    fn drop(&mut self) {
        // In the folder for what may be lost.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_renewed_when_all_end_later() {
        let row = |name: &str, end: &str| {
            format!(r#"{{"node":"m1","name":"{name}","expirationDate":"2026-01-01T00:{end}:00Z"}}"#)
        };
        let all = |ends: [&str; 2]| {
            let rows = [row("a", ends[0]), row("b", ends[1])].join(",");
            Certificates::parse(&format!(r#"{{"certificates":[{rows},{{"name":"sa"}}]}}"#)).unwrap()
        };
        let first = all(["10", "20"]);
        assert_eq!(first.last(), "2026-01-01T00:20:00Z".parse().unwrap());
        assert_eq!(first.rows()[0], "m1  a  ends 2026-01-01T00:10:00Z");
        assert!(all(["11", "21"]).renewed_since(&first).is_ok());
        let error = all(["30", "20"]).renewed_since(&first).unwrap_err();
        assert_eq!(error, "m1  b ends 2026-01-01T00:20:00Z");
        let wrong = r#"{"certificates":[{"name":"a","missing":true}]}"#;
        assert!(Certificates::parse(wrong).is_err() && Certificates::parse("{}").is_err());
    }
}
