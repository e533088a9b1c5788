//! Kubeconfig files (<https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component::pki::Pair;
use serde_json::json;

/// The text of a kubeconfig with one cluster, one user with a client certificate and one context.
#[must_use]
pub fn render(cluster: &str, server: &str, ca: &str, user: &str, credentials: &Pair) -> String {
    let context = format!("{user}@{cluster}");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(ca),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": STANDARD.encode(&credentials.certificate),
            "client-key-data": STANDARD.encode(&credentials.key),
        }}],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        "current-context": context,
        "preferences": {},
    });
    serde_yaml::to_string(&config).expect("a JSON value is always valid YAML")
}
