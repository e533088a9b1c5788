//! Kubeconfig files (<https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component::bootstrap_token::Token;
use component::pki::Pair;
use machinery::codec::yaml;
use serde_json::json;

/// With what a user is recognized.
#[derive(Clone, Copy, Debug)]
pub enum Credentials<'a> {
    /// A client certificate and its key.
    Pair(&'a Pair),
    /// A file with both.
    File(&'a str),
    /// A bootstrap token.
    Token(&'a Token),
    /// Nothing: the file only says how the cluster is reached.
    None,
}

/// The text of a kubeconfig with one cluster, one user and one context.
#[must_use]
pub fn render(
    cluster: &str,
    server: &str,
    ca: &str,
    user: &str,
    credentials: Credentials<'_>,
) -> String {
    let clusters = json!([{"name": cluster, "cluster": {
        "server": server,
        "certificate-authority-data": STANDARD.encode(ca),
    }}]);
    let own = match credentials {
        Credentials::Pair(pair) => json!({
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.key),
        }),
        Credentials::File(path) => json!({"client-certificate": path, "client-key": path}),
        Credentials::Token(token) => json!({"token": token.to_string()}),
        Credentials::None => {
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "clusters": clusters,
                "contexts": [], "current-context": "", "preferences": {}, "users": [],
            });
            return yaml::write(&config);
        }
    };
    let context = format!("{user}@{cluster}");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": clusters,
        "users": [{"name": user, "user": own}],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        "current-context": context,
        "preferences": {},
    });
    yaml::write(&config)
}
