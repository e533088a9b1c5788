//! The authorities of the cluster, while one takes over from another.
//!
//! What a cluster trusts is in `kube-public/cluster-info`, with which nodes joined. A kubelet that is
//! told so (`--follow-authorities`) keeps its kubeconfig and its client authorities in line with it,
//! and notes on its Node how far it is, so that whoever replaces an authority knows when all have
//! followed. Upstream leaves these files to administrators.
//!
//! A bundle is taken over only if it shares a certificate with the one that is trusted already: no
//! change of a ConfigMap alone makes a node change sides. On a node that holds the authority's key
//! its files are the truth, and only the kubeconfig follows.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::Informer;
use component::authorities::{ISSUER, TRUSTS, digest};
use component::followed::Followed;
use component::pki::Certificate;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::config::Kubeconfig;
use machinery::codec::yaml;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::bootstrap::write_private;
use super::store::Store;

/// Wait after the API server refused.
const RETRY: Duration = Duration::from_secs(2);

/// What follows the cluster's authorities.
#[derive(Clone, Debug)]
pub struct Follower {
    /// Name of the Node.
    pub node_name: String,
    /// The kubelet's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The authorities of its clients.
    pub client_ca: PathBuf,
    /// Its certificates.
    pub certificates: Vec<Store>,
}

/// The bundle to trust, if another one than `present` is `published` and can be believed.
#[must_use]
pub fn accept(present: &str, published: &str) -> Option<String> {
    if present == published {
        return None;
    }
    let known: Vec<_> = Certificate::all(present.as_bytes()).collect();
    let shared = Certificate::all(published.as_bytes()).any(|one| known.contains(&one));
    shared.then(|| published.to_owned())
}

// === impl Follower ===

impl Follower {
    /// Follows until shutdown.
    pub async fn run(self, client: kube::Client, shutdown: CancellationToken) {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
        let informer = Informer::<ConfigMap>::builder(api)
            .fields("metadata.name=cluster-info")
            .start(&shutdown);
        let (sender, mut news) = watch::channel(());
        informer.on_event(move |_| {
            sender.send_replace(());
        });
        let mut files = vec![self.client_ca.clone()];
        files.extend(self.certificates.iter().map(Store::current));
        let mut files = Followed::new(files);
        let nodes: Api<Node> = Api::all(client);
        let mut noted = None;
        loop {
            let published = informer.get(Some("kube-public"), "cluster-info");
            let published = published.as_deref().and_then(bundle_of);
            if let Err(error) = self.apply(published.as_deref()) {
                tracing::warn!(%error, "authorities are left as they were");
            }
            let note = self.note();
            let mut settled = true;
            if note.is_some() && note != noted {
                let patch = json!({"metadata": {"annotations": note}});
                let params = PatchParams::default();
                match nodes.patch_metadata(&self.node_name, &params, &Patch::Merge(&patch)).await {
                    Ok(_) => noted = note,
                    Err(error) => {
                        tracing::debug!(%error, "authorities are not noted on the Node");
                        settled = false;
                    }
                }
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                _ = files.next() => {}
                () = tokio::time::sleep(RETRY), if !settled => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Brings the files in line.
    fn apply(&self, published: Option<&str>) -> std::io::Result<()> {
        let mut trusted = fs::read_to_string(&self.client_ca)?;
        let holds_key = self.client_ca.with_extension("key").exists();
        if !holds_key && let Some(bundle) = published.and_then(|text| accept(&trusted, text)) {
            replace(&self.client_ca, &bundle)?;
            tracing::info!(path = %self.client_ca.display(), "authorities of the cluster changed");
            trusted = bundle;
        }
        let kubeconfig = fs::read_to_string(&self.kubeconfig)?;
        if let Some(text) = with_authorities(&kubeconfig, &trusted) {
            write_private(&self.kubeconfig, &text).map_err(std::io::Error::other)?;
        }
        Ok(())
    }

    /// The annotations that say how far this node is.
    fn note(&self) -> Option<serde_json::Value> {
        let trusted = fs::read_to_string(&self.client_ca).ok()?;
        let held: Option<Vec<_>> = self.certificates.iter().map(Store::load).collect();
        let held = held?;
        let authority = Certificate::all(trusted.as_bytes())
            .find(|authority| held.iter().all(|one| one.is_issued_by(authority)));
        let issuer = authority.map(|authority| digest(&authority.to_pem()));
        Some(json!({TRUSTS: digest(&trusted), ISSUER: issuer}))
    }
}

/// The authorities that `cluster-info` names.
fn bundle_of(map: &ConfigMap) -> Option<String> {
    let text = map.data.as_ref()?.get("kubeconfig")?;
    let config = Kubeconfig::from_yaml(text).ok()?;
    let data = config.clusters.first()?.cluster.as_ref()?.certificate_authority_data.as_ref()?;
    String::from_utf8(STANDARD.decode(data).ok()?).ok()
}

/// A kubeconfig that trusts `bundle`, if it does not yet, and holds its authorities itself.
fn with_authorities(text: &str, bundle: &str) -> Option<String> {
    let mut config = Kubeconfig::from_yaml(text).ok()?;
    let wanted = STANDARD.encode(bundle);
    let mut changed = false;
    for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        if let Some(data) = &mut cluster.certificate_authority_data
            && *data != wanted
        {
            data.clone_from(&wanted);
            changed = true;
        }
    }
    if changed { yaml::to_string(&config).ok() } else { None }
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_added_extension("partial");
    fs::write(&partial, text)?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use component::pki::{Authority, Subject};

    const HOUR: Duration = Duration::from_secs(3600);

    fn certificate() -> (Authority, String) {
        let authority = Authority::generate("kubernetes").unwrap();
        let pem = authority.certificate().to_owned();
        (authority, pem)
    }

    #[test]
    fn only_a_bundle_that_overlaps_is_believed() {
        let (old, new, foreign) = (certificate().1, certificate().1, certificate().1);
        let both = format!("{new}{old}");
        assert_eq!(accept(&old, &old), None);
        assert_eq!(accept(&old, &both), Some(both.clone()));
        assert_eq!(accept(&both, &new), Some(new.clone()));
        for strange in [foreign.as_str(), "", "rubbish"] {
            assert_eq!(accept(&both, strange), None);
        }
    }

    #[test]
    fn files_follow_what_is_published_and_are_then_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let ((old, old_pem), (_, new_pem)) = (certificate(), certificate());
        let config = |ca: &str| {
            let data = STANDARD.encode(ca);
            format!(
                "clusters:\n- name: c\n  cluster: {{server: 'https://x', certificate-authority-data: {data}}}\n"
            )
        };
        fs::write(path("ca.crt"), &old_pem).unwrap();
        fs::write(path("kubelet.conf"), config(&old_pem)).unwrap();
        let store = Store::new(path("pki"), super::super::store::CLIENT);
        let pair = old.issue(&Subject { client: true, ..Subject::default() }, HOUR).unwrap();
        store.save(&pair.certificate, &pair.key, k8s_openapi::jiff::Timestamp::now()).unwrap();
        let follower = Follower {
            node_name: "n".into(),
            kubeconfig: path("kubelet.conf"),
            client_ca: path("ca.crt"),
            certificates: vec![store],
        };
        let both = format!("{old_pem}{new_pem}");
        let held = || {
            let read = Kubeconfig::read_from(path("kubelet.conf")).unwrap();
            let cluster = read.clusters[0].cluster.clone().unwrap();
            let data = STANDARD.decode(cluster.certificate_authority_data.unwrap()).unwrap();
            (fs::read_to_string(path("ca.crt")).unwrap(), String::from_utf8(data).unwrap())
        };
        follower.apply(Some(&both)).unwrap();
        assert_eq!(held(), (both.clone(), both.clone()));
        let note = follower.note().unwrap();
        assert_eq!(note[TRUSTS], digest(&both));
        let signer = Certificate::parse(old_pem.as_bytes()).unwrap().to_pem();
        assert_eq!(note[ISSUER], digest(&signer));
        // The certificate is still the old authority's.
        follower.apply(Some(&new_pem)).unwrap();
        assert_eq!(follower.note().unwrap()[ISSUER], serde_json::Value::Null);
        // Who holds the key does not listen to others.
        fs::write(path("ca.key"), "").unwrap();
        follower.apply(Some(&both)).unwrap();
        assert_eq!(held(), (new_pem.clone(), new_pem));
    }
}
