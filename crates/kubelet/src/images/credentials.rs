//! Registry credentials out of image pull secrets.

use std::sync::Arc;

use base64::Engine as _;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

use super::reference::registry;
use crate::cri::proto::AuthConfig;

/// Credentials in `secrets` that fit the registry of `image`, in order.
pub fn matching(secrets: &[Arc<Secret>], image: &str) -> Vec<AuthConfig> {
    secrets
        .iter()
        .flat_map(|secret| entries(secret))
        .filter_map(|(server, auth)| fits(&server, image).then_some(auth))
        .collect()
}

fn entries(secret: &Secret) -> Vec<(String, AuthConfig)> {
    let Some(data) = &secret.data else { return Vec::new() };
    let (bytes, nested) = match (data.get(".dockerconfigjson"), data.get(".dockercfg")) {
        (Some(new), _) => (&new.0, true),
        (None, Some(old)) => (&old.0, false),
        (None, None) => return Vec::new(),
    };
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return Vec::new() };
    let servers = if nested { document.get("auths") } else { Some(&document) };
    let Some(Value::Object(servers)) = servers else { return Vec::new() };
    servers.iter().map(|(server, entry)| (server.clone(), auth(server, entry))).collect()
}

fn auth(server: &str, entry: &Value) -> AuthConfig {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    let packed = base64::engine::general_purpose::STANDARD.decode(text("auth")).unwrap_or_default();
    if let Some((user, pass)) = String::from_utf8_lossy(&packed).split_once(':') {
        user.clone_into(&mut username);
        pass.clone_into(&mut password);
    }
    AuthConfig {
        username,
        password,
        server_address: server.to_owned(),
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
        ..Default::default()
    }
}

/// Whether the server of a credential (`https://host/path`, with `*.` globs) serves `image`.
fn fits(server: &str, image: &str) -> bool {
    let server = server.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let path = path.trim_matches('/');
    let wanted = registry(image);
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let host_fits = match host.strip_prefix("*.") {
        Some(suffix) => wanted.split_once('.').is_some_and(|(_, rest)| rest == suffix),
        None => host == wanted,
    };
    let api_version = matches!(path, "" | "v1" | "v2");
    host_fits && (api_version || image.starts_with(&format!("{wanted}/{path}")))
}
