//! How a host that joins learns of its cluster without trusting what it cannot check: the
//! ConfigMap `kube-public/cluster-info` is read from a server that nobody vouches for, its signature
//! is checked with the token, its authority with the pin, and then it is read again from a server
//! that this authority vouches for (<https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-join/>).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component::bootstrap_token::{CLUSTER_INFO, KUBECONFIG_KEY, SIGNATURE_PREFIX, Token};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use machinery::hex;
use ring::digest::{SHA256, digest};
use x509_parser::pem::parse_x509_pem;

/// Between tries: the signature comes a moment after the token, and the server may not be up yet.
const RETRY: Duration = Duration::from_millis(500);
/// The kind of pins that there is.
const PIN_PREFIX: &str = "sha256:";

/// What is known of the cluster from the command line.
#[derive(Clone, Debug)]
pub struct Hints {
    /// Host and port of an API server.
    pub endpoint: String,
    /// The token.
    pub token: Token,
    /// Pins of the authority; one of them has to fit.
    pub pins: Vec<String>,
    /// Whether it is meant that there is no pin.
    pub unpinned: bool,
}

/// What is known of the cluster then.
#[derive(Clone, Debug)]
pub(super) struct Discovered {
    /// Where it is reached.
    pub server: String,
    /// Its authority, PEM.
    pub ca: String,
}

/// Why the cluster cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// Neither a pin nor the wish for none.
    #[error(
        "discovery.bootstrapToken: Invalid value: \"\": using token-based discovery without --discovery-token-ca-cert-hash can be unsafe (see https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-join). Set --discovery-token-unsafe-skip-ca-verification to continue"
    )]
    NoPin,
    /// Not a pin.
    #[error(
        "invalid public key hash, expected \"format:hex-value\" with the format sha256, not {0:?}"
    )]
    MalformedPin(String),
    /// Not an address.
    #[error("couldn't parse the address {0:?} of the API server: it must be of the form host:port")]
    Endpoint(String),
    /// The server cannot be spoken to.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    /// It does not tell.
    #[error("couldn't read the \"cluster-info\" ConfigMap of {endpoint}: {source}")]
    Read {
        /// The server.
        endpoint: String,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
    /// No signature, or a wrong one.
    #[error("failed to verify the \"cluster-info\" ConfigMap: {0}")]
    Signature(&'static str),
    /// Not a kubeconfig of one cluster.
    #[error("the \"cluster-info\" ConfigMap holds no usable kubeconfig: {0}")]
    Kubeconfig(String),
    /// The authority is another.
    #[error(
        "cluster CA found in cluster-info ConfigMap is invalid: none of the public keys {0:?} are pinned"
    )]
    WrongAuthority(Vec<String>),
    /// What a server says that the authority vouches for is something else.
    #[error("the second kubeconfig from the \"cluster-info\" ConfigMap differs from the first")]
    Changed,
}

/// The pin of an authority's certificate (PEM): the SHA-256 of its public key.
///
/// # Errors
/// When it is none.
pub fn pin(certificate: &str) -> Result<String, DiscoveryError> {
    let malformed = || DiscoveryError::Kubeconfig("its authority is no certificate".to_owned());
    let (_, pem) = parse_x509_pem(certificate.as_bytes()).map_err(|_| malformed())?;
    let parsed = pem.parse_x509().map_err(|_| malformed())?;
    let hash = digest(&SHA256, parsed.public_key().raw);
    Ok(format!("{PIN_PREFIX}{}", hex::digits(hash)))
}

impl Hints {
    /// Looks for mistakes before anything is done.
    ///
    /// # Errors
    /// The first one.
    pub fn validate(&self) -> Result<(), DiscoveryError> {
        if crate::config::split_endpoint(&self.endpoint).is_none() {
            return Err(DiscoveryError::Endpoint(self.endpoint.clone()));
        }
        if self.pins.is_empty() && !self.unpinned {
            return Err(DiscoveryError::NoPin);
        }
        for pin in &self.pins {
            let hex = pin.strip_prefix(PIN_PREFIX).unwrap_or_default();
            if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(DiscoveryError::MalformedPin(pin.clone()));
            }
        }
        Ok(())
    }
}

/// Learns of the cluster; tries until it works, or what comes back cannot be believed.
///
/// # Errors
/// [`DiscoveryError`].
pub(super) async fn discover(hints: &Hints) -> Result<Discovered, DiscoveryError> {
    let endpoint = &hints.endpoint;
    let mut insecure = config(endpoint);
    // As kubeadm: nothing is believed of this answer but what the signature and the pin prove.
    insecure.accept_invalid_certs = true;
    insecure.root_cert = Some(Vec::new());
    let insecure = client::connect_with(insecure, "ironclad-join")?;
    let mut told = false;
    let first = loop {
        match read(&insecure, endpoint).await.and_then(|info| verified(&info, &hints.token)) {
            Ok(first) => break first,
            Err(error @ (DiscoveryError::Read { .. } | DiscoveryError::Signature(MISSING))) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "waiting for the cluster");
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(RETRY).await;
    };
    let discovered = parse(&first)?;
    let found = pin(&discovered.ca)?;
    if !hints.unpinned && !hints.pins.iter().any(|pin| pin.eq_ignore_ascii_case(&found)) {
        return Err(DiscoveryError::WrongAuthority(vec![found]));
    }
    let file = Kubeconfig::from_yaml(&with_context(&discovered))
        .map_err(|error| DiscoveryError::Kubeconfig(error.to_string()))?;
    let trusted = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| DiscoveryError::Kubeconfig(error.to_string()))?;
    let trusted = client::connect_with(trusted, "ironclad-join")?;
    let second = verified(&read(&trusted, &discovered.server).await?, &hints.token)?;
    if second == first { Ok(discovered) } else { Err(DiscoveryError::Changed) }
}

fn config(endpoint: &str) -> Config {
    let uri = format!("https://{endpoint}").parse().expect("the endpoint has been validated");
    Config::new(uri)
}

async fn read(client: &Client, endpoint: &str) -> Result<ConfigMap, DiscoveryError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-public");
    let failed =
        |source| DiscoveryError::Read { endpoint: endpoint.to_owned(), source: Box::new(source) };
    api.get(CLUSTER_INFO).await.map_err(failed)
}

const MISSING: &str = "there is no JWS signed with this token yet, or the token has expired; `ironclad token create` makes another";

/// The kubeconfig in `cluster-info`, if the token signed it.
fn verified(info: &ConfigMap, token: &Token) -> Result<String, DiscoveryError> {
    let field = |name: &str| info.data.as_ref().and_then(|data| data.get(name));
    let content =
        field(KUBECONFIG_KEY).ok_or(DiscoveryError::Signature("there is no kubeconfig"))?;
    let signature = field(&format!("{SIGNATURE_PREFIX}{}", token.id))
        .ok_or(DiscoveryError::Signature(MISSING))?;
    if token.verify(content, signature) {
        Ok(content.clone())
    } else {
        Err(DiscoveryError::Signature("the token does not fit its signature"))
    }
}

fn parse(text: &str) -> Result<Discovered, DiscoveryError> {
    let broken = |problem: &str| DiscoveryError::Kubeconfig(problem.to_owned());
    let file = Kubeconfig::from_yaml(text).map_err(|error| broken(&error.to_string()))?;
    let cluster = file.clusters.first().and_then(|named| named.cluster.clone());
    let cluster = cluster.ok_or_else(|| broken("it has no cluster"))?;
    let server = cluster.server.ok_or_else(|| broken("its cluster has no server"))?;
    let ca = cluster
        .certificate_authority_data
        .and_then(|data| STANDARD.decode(data).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| broken("its cluster has no authority"))?;
    Ok(Discovered { server, ca })
}

/// A kubeconfig that trusts the authority and has no credentials.
fn with_context(discovered: &Discovered) -> String {
    let config = serde_json::json!({
        "clusters": [{"name": "c", "cluster": {
            "server": discovered.server,
            "certificate-authority-data": STANDARD.encode(&discovered.ca),
        }}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    });
    config.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubeconfig::{Credentials, render};
    use component::pki::Authority;

    fn token() -> Token {
        "abcdef.0123456789abcdef".parse().unwrap()
    }

    #[test]
    fn only_what_the_token_signed_is_believed() {
        let ca = Authority::generate("ca").unwrap();
        let content = render("", "https://192.0.2.1:6443", ca.certificate(), "", Credentials::None);
        let info = |content: &str, signature: Option<String>| {
            let mut data = std::collections::BTreeMap::new();
            data.insert(KUBECONFIG_KEY.to_owned(), content.to_owned());
            data.extend(signature.map(|s| (format!("{SIGNATURE_PREFIX}abcdef"), s)));
            ConfigMap { data: Some(data), ..ConfigMap::default() }
        };
        let signature = token().sign(&content);
        let good = verified(&info(&content, Some(signature.clone())), &token()).unwrap();
        let discovered = parse(&good).unwrap();
        assert_eq!(discovered.server, "https://192.0.2.1:6443");
        assert_eq!(discovered.ca, ca.certificate());
        for (content, signature) in
            [(content.as_str(), None), ("other", Some(signature)), (&content, Some("a..b".into()))]
        {
            let refused = verified(&info(content, signature), &token());
            assert!(matches!(refused, Err(DiscoveryError::Signature(_))));
        }
        assert!(matches!(parse("clusters: []"), Err(DiscoveryError::Kubeconfig(_))));
    }

    #[test]
    fn pins_are_those_that_openssl_makes() {
        // openssl x509 -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256
        let certificate = "\
-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUE1AYEzLcr5/cv9lbxsDjOTRPsWkwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKa3ViZXJuZXRlczAgFw0yNjExMzAxNjE1MTNaGA8yMTI2MTEw
NjE2MTUxM1owFTETMBEGA1UEAwwKa3ViZXJuZXRlczBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABAzdNR6XysTK6W9FKtSi1DYi+TBa1lHaFCuIKyDMSCyjdMhuNXiS
J3APiD3oRak766fPDOo9qOQuz4UKzKKZ7EmjUzBRMB0GA1UdDgQWBBQVns9pZyzF
5Dl75TcW2YDMtkfM8zAfBgNVHSMEGDAWgBQVns9pZyzF5Dl75TcW2YDMtkfM8zAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQCXCbbw8UDf8m6VZHtk
TPKfZJtYGsIvugqkqYk3oqkMwAIgClsPIqZ731Olx3i+ENGZzuou9BgkptTDBDJd
etjIrm8=
-----END CERTIFICATE-----";
        assert_eq!(
            pin(certificate).unwrap(),
            "sha256:3bd60302cee253ab8e707b914fcfba157d1e02db948bf0089705f1a45b5eff3f"
        );
        assert!(pin("rubbish").is_err());
    }

    #[test]
    fn hints_are_checked_first() {
        let hints = |endpoint: &str, pins: &[&str], unpinned| Hints {
            endpoint: endpoint.to_owned(),
            token: token(),
            pins: pins.iter().map(|pin| (*pin).to_owned()).collect(),
            unpinned,
        };
        let good = format!("sha256:{}", "0a".repeat(32));
        assert!(hints("192.0.2.1:6443", &[&good], false).validate().is_ok());
        assert!(hints("192.0.2.1:6443", &[], true).validate().is_ok());
        let check = |hints: Hints, wanted: &str| {
            let error = hints.validate().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        check(hints("192.0.2.1", &[&good], false), "of the form host:port");
        check(hints("a:1", &[], false), "--discovery-token-unsafe-skip-ca-verification");
        check(hints("a:1", &["sha1:00"], false), "invalid public key hash");
        check(hints("a:1", &["sha256:00"], false), "invalid public key hash");
    }
}
