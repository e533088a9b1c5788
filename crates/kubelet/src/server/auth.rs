//! Who asks, and whether they may: x509 or TokenReview, then SubjectAccessReview.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use component::serve::Certificates;
use http::header::{AUTHORIZATION, HeaderMap};
use http::{Method, Response, StatusCode};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::response::{Body, error};

/// How long answers of the API server are good for, as upstream's defaults.
const TOKEN_TTL: Duration = Duration::from_secs(120);
const ALLOWED_TTL: Duration = Duration::from_secs(300);
const DENIED_TTL: Duration = Duration::from_secs(30);
/// Answers kept; beyond this the expired ones are dropped.
const CACHE_SIZE: usize = 1024;
/// Members may do everything.
const MASTERS: &str = "system:masters";

/// Someone who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) groups: Vec<String>,
}

/// What the connection says of its client.
#[derive(Clone, Debug)]
pub(super) enum Identity {
    /// A trusted certificate.
    Certificate(User),
    /// A certificate that leads nowhere.
    Rejected(String),
    /// No certificate.
    None,
}

impl Identity {
    pub(super) fn of_peer(certificates: &Certificates) -> Self {
        match certificates {
            Certificates::None => Self::None,
            Certificates::Rejected(why) => Self::Rejected(why.clone()),
            Certificates::Trusted(chain) => {
                let leaf = chain.first().map(|leaf| X509Certificate::from_der(leaf));
                match leaf {
                    Some(Ok((_, leaf))) => Self::Certificate(subject(&leaf)),
                    _ => Self::Rejected("unreadable client certificate".to_owned()),
                }
            }
        }
    }
}

/// Common name is the user, organizations are the groups.
fn subject(leaf: &X509Certificate<'_>) -> User {
    let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        attribute.as_str().map(str::to_owned).ok()
    };
    let name = leaf.subject().iter_common_name().filter_map(text).next().unwrap_or_default();
    let mut groups: Vec<String> = leaf.subject().iter_organization().filter_map(text).collect();
    groups.push("system:authenticated".to_owned());
    User { name, uid: String::new(), groups }
}

struct Cached<T> {
    value: T,
    until: Instant,
}

type Cache<K, T> = Mutex<HashMap<K, Cached<T>>>;

/// A right, as SubjectAccessReview takes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Right {
    pub(super) verb: &'static str,
    pub(super) subresource: &'static str,
}

/// Asks the API server and remembers what it said.
pub(super) struct Auth {
    client: Option<kube::Client>,
    node_name: String,
    anonymous: bool,
    tokens: Cache<[u8; 32], Option<User>>,
    rights: Cache<(User, Right), bool>,
}

impl Auth {
    pub(super) fn new(client: Option<kube::Client>, node_name: String, anonymous: bool) -> Self {
        Self { client, node_name, anonymous, tokens: Mutex::default(), rights: Mutex::default() }
    }

    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        identity: Identity,
    ) -> Result<User, Response<Body>> {
        if let Identity::Certificate(user) = identity {
            return Ok(user);
        }
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim);
        let user = match bearer.filter(|token| !token.is_empty()) {
            Some(token) => self.review_token(token).await,
            None if self.anonymous => {
                let (name, group) = ("system:anonymous", "system:unauthenticated");
                let groups = vec![group.to_owned()];
                Some(User { name: name.to_owned(), uid: String::new(), groups })
            }
            None => None,
        };
        user.ok_or_else(|| {
            if let Identity::Rejected(why) = identity {
                tracing::info!(why, "client certificate refused");
            }
            let mut refusal = error(StatusCode::UNAUTHORIZED, "Unauthorized");
            // Upstream's body has no line end here.
            *refusal.body_mut() = super::response::full("Unauthorized");
            refusal
        })
    }

    async fn review_token(&self, token: &str) -> Option<User> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = lookup(&self.tokens, &key) {
            return known;
        }
        let api = Api::<TokenReview>::all(self.client.clone()?);
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() },
            ..TokenReview::default()
        };
        let status = match api.create(&PostParams::default(), &review).await {
            Ok(answer) => answer.status.unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "token cannot be reviewed");
                return None;
            }
        };
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(|user| User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
        });
        remember(&self.tokens, key, user.clone(), TOKEN_TTL);
        user
    }

    pub(super) async fn authorize(
        &self,
        user: &User,
        method: &Method,
        path: &str,
    ) -> Result<(), Response<Body>> {
        if user.groups.iter().any(|group| group == MASTERS) {
            return Ok(());
        }
        let rights = rights(method, path);
        for right in &rights {
            match self.review_access(user, right).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(problem) => {
                    tracing::warn!(problem, user = user.name, "access cannot be reviewed");
                    let message = format!(
                        "Authorization error (user={}, verb={}, resource=nodes, subresource={})",
                        user.name, right.verb, right.subresource
                    );
                    return Err(error(StatusCode::INTERNAL_SERVER_ERROR, message));
                }
            }
        }
        let last = rights.last().expect("every path has a right");
        let names: Vec<&str> = rights.iter().map(|right| right.subresource).collect();
        Err(error(
            StatusCode::FORBIDDEN,
            format!(
                "Forbidden (user={}, verb={}, resource=nodes, subresource(s)=[{}])",
                user.name,
                last.verb,
                names.join(" ")
            ),
        ))
    }

    async fn review_access(&self, user: &User, right: &Right) -> Result<bool, String> {
        let key = (user.clone(), right.clone());
        if let Some(known) = lookup(&self.rights, &key) {
            return Ok(known);
        }
        let client = self.client.clone().ok_or("no API server is configured")?;
        let attributes = ResourceAttributes {
            verb: Some(right.verb.to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(right.subresource.to_owned()),
            name: Some(self.node_name.clone()),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
                groups: Some(user.groups.clone()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api = Api::<SubjectAccessReview>::all(client);
        let answer = api.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| error.to_string())?.status;
        let allowed = status.is_some_and(|status| status.allowed);
        let ttl = if allowed { ALLOWED_TTL } else { DENIED_TTL };
        remember(&self.rights, key, allowed, ttl);
        Ok(allowed)
    }
}

fn lookup<K: std::hash::Hash + Eq, T: Clone>(cache: &Cache<K, T>, key: &K) -> Option<T> {
    let cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    cache.get(key).filter(|cached| Instant::now() < cached.until).map(|cached| cached.value.clone())
}

fn remember<K: std::hash::Hash + Eq, T>(cache: &Cache<K, T>, key: K, value: T, ttl: Duration) {
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    if cache.len() >= CACHE_SIZE {
        cache.retain(|_, cached| now < cached.until);
    }
    cache.insert(key, Cached { value, until: now + ttl });
}

/// Rights of which one is enough for a request; the fine-grained ones first (KEP-2862).
pub(super) fn rights(method: &Method, path: &str) -> Vec<Right> {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    };
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let subresources: &[&'static str] = match first {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "checkpoint" => &["checkpoint"],
        "pods" | "runningpods" | "runningPods" => &["pods", "proxy"],
        "healthz" => &["healthz", "proxy"],
        "configz" => &["configz", "proxy"],
        _ => &["proxy"],
    };
    subresources.iter().map(|&subresource| Right { verb, subresource }).collect()
}
