//! Where a webhook is: the `clientConfig` of definitions and webhook configurations.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::Value;

const HTTPS: u16 = 443;

/// Where a webhook is and whom to trust there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClientConfig {
    /// Where.
    pub(crate) place: Place,
    /// PEM certificates to trust; the system's if empty.
    pub(crate) ca_bundle: Vec<u8>,
}

/// Where a webhook is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// At a URL.
    Url(String),
    /// Behind a Service.
    Service {
        /// Of the Service.
        namespace: String,
        /// Of the Service.
        name: String,
        /// With a slash in front.
        path: String,
        /// One of the Service's ports.
        port: u16,
    },
}

/// The configuration names no place.
#[derive(Debug, thiserror::Error)]
#[error("webhook configuration must have either service or URL")]
pub(crate) struct Nowhere;

impl ClientConfig {
    /// From an API object's `clientConfig`.
    pub(crate) fn from_value(config: &Value) -> Result<Self, Nowhere> {
        let text = |value: &Value, field: &str| {
            value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let ca_bundle = STANDARD.decode(text(config, "caBundle")).unwrap_or_default();
        let url = text(config, "url");
        let place = match config.get("service").filter(|service| service.is_object()) {
            Some(service) => {
                let path = text(service, "path");
                let port = service.get("port").and_then(Value::as_u64);
                Place::Service {
                    namespace: text(service, "namespace"),
                    name: text(service, "name"),
                    path: format!("/{}", path.trim_start_matches('/')),
                    port: port.and_then(|port| u16::try_from(port).ok()).unwrap_or(HTTPS),
                }
            }
            None if url.is_empty() => return Err(Nowhere),
            None => Place::Url(url),
        };
        Ok(Self { place, ca_bundle })
    }

    /// The URL that is asked for, and that errors name.
    pub(crate) fn url(&self) -> String {
        match &self.place {
            Place::Url(url) => url.clone(),
            Place::Service { namespace, name, path, port } => {
                format!("https://{name}.{namespace}.svc:{port}{path}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn urls_and_services() {
        let check = |config: Value, url: &str| {
            assert_eq!(ClientConfig::from_value(&config).unwrap().url(), url);
        };
        check(json!({"url": "https://x:1/y"}), "https://x:1/y");
        let service = json!({"service": {"namespace": "n", "name": "s", "path": "/p", "port": 8}});
        check(service, "https://s.n.svc:8/p");
        check(json!({"service": {"namespace": "n", "name": "s"}}), "https://s.n.svc:443/");
        assert!(ClientConfig::from_value(&json!({})).is_err());
    }
}
