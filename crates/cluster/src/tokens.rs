//! Bootstrap tokens as kubeadm makes them: Secrets in `kube-system`
//! (<https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>).

use std::collections::BTreeMap;
use std::time::Duration;

use component::bootstrap_token::{GROUP, NAME_PREFIX, NAMESPACE, TYPE, Token, is_id};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};

/// The group whose tokens let nodes join.
pub const NODE_GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";
/// How long a token is good unless something else is asked for (kubeadm's default).
pub const DEFAULT_TTL: Duration = Duration::from_secs(24 * 3600);

/// What a token is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long it is good; for ever if nothing is said.
    pub ttl: Option<Duration>,
    /// `signing`, `authentication`.
    pub usages: Vec<String>,
    /// Groups of its user.
    pub groups: Vec<String>,
    /// What it is for, in words.
    pub description: String,
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The API server refused, or does not answer.
    #[error(transparent)]
    Api(#[from] Box<kube::Error>),
    /// One with this id is there already.
    #[error("a token with id {0:?} already exists")]
    Exists(String),
    /// A usage that tokens do not have.
    #[error(
        "invalid bootstrap token usage string: {0:?}; it must be \"signing\" or \"authentication\""
    )]
    Usage(String),
    /// A group that tokens may not have.
    #[error(
        "bootstrap group {0:?} is invalid (must begin with \"system:bootstrappers:\", and end with a lower case letter or digit)"
    )]
    Group(String),
    /// Neither a token nor the id of one.
    #[error("given token didn't match pattern {0:?}, nor is it a token's id")]
    Malformed(String),
    /// No such token.
    #[error("no token with id {0:?}")]
    Missing(String),
    /// The system has no randomness.
    #[error("cannot make a token: the system gives no randomness")]
    Randomness,
}

/// A token that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The token.
    pub token: String,
    /// When it ends.
    pub expires: Option<String>,
    /// What it may do.
    pub usages: Vec<&'static str>,
    /// What it is for.
    pub description: String,
    /// Groups of its user.
    pub groups: String,
}

/// The usages and the field of each in a Secret.
const USAGES: [(&str, &str); 2] =
    [("authentication", "usage-bootstrap-authentication"), ("signing", "usage-bootstrap-signing")];

impl Default for Settings {
    fn default() -> Self {
        Self {
            ttl: Some(DEFAULT_TTL),
            usages: USAGES.map(|(usage, _)| usage.to_owned()).to_vec(),
            groups: vec![NODE_GROUP.to_owned()],
            description: String::new(),
        }
    }
}

/// A new token.
///
/// # Errors
/// When the system has no randomness.
pub fn generate() -> Result<Token, TokenError> {
    Token::generate().map_err(|_| TokenError::Randomness)
}

/// Makes `token` known to the cluster.
///
/// # Errors
/// [`TokenError`] when its settings are invalid, or the API server refuses.
pub async fn create(client: &Client, token: &Token, settings: &Settings) -> Result<(), TokenError> {
    let secret = secret(token, settings, Timestamp::now())?;
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    match api.create(&PostParams::default(), &secret).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            Err(TokenError::Exists(token.id.clone()))
        }
        Err(error) => Err(Box::new(error).into()),
    }
}

/// The tokens that there are.
///
/// # Errors
/// When the API server refuses.
pub async fn list(client: &Client) -> Result<Vec<Listed>, TokenError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let params = ListParams::default().fields(&format!("type={TYPE}"));
    let found = api.list(&params).await.map_err(Box::new)?;
    Ok(found.items.iter().filter_map(describe).collect())
}

/// Removes a token, given whole or by its id.
///
/// # Errors
/// [`TokenError`] when there is none, or the API server refuses.
pub async fn delete(client: &Client, given: &str) -> Result<String, TokenError> {
    let id = match given.parse::<Token>() {
        Ok(token) => token.id,
        Err(_) if is_id(given) => given.to_owned(),
        Err(_) => return Err(TokenError::Malformed(given.to_owned())),
    };
    let api: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    match api.delete(&format!("{NAME_PREFIX}{id}"), &DeleteParams::default()).await {
        Ok(_) => Ok(id),
        Err(kube::Error::Api(status)) if status.is_not_found() => Err(TokenError::Missing(id)),
        Err(error) => Err(Box::new(error).into()),
    }
}

fn secret(token: &Token, settings: &Settings, now: Timestamp) -> Result<Secret, TokenError> {
    let mut data: BTreeMap<String, String> =
        [("token-id", &token.id), ("token-secret", &token.secret)]
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .into();
    for usage in &settings.usages {
        let known = USAGES.iter().find(|(known, _)| known == usage);
        let (_, field) = known.ok_or_else(|| TokenError::Usage(usage.clone()))?;
        data.insert((*field).to_owned(), "true".to_owned());
    }
    for group in &settings.groups {
        let rest = group.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':'));
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = rest.is_some_and(|rest| {
            rest.bytes().all(|byte| inner(byte) || matches!(byte, b':' | b'-'))
                && rest.bytes().next_back().is_some_and(inner)
        });
        if !fits {
            return Err(TokenError::Group(group.clone()));
        }
    }
    if !settings.groups.is_empty() {
        data.insert("auth-extra-groups".to_owned(), settings.groups.join(","));
    }
    if !settings.description.is_empty() {
        data.insert("description".to_owned(), settings.description.clone());
    }
    if let Some(ttl) = settings.ttl {
        let end = SignedDuration::try_from(ttl).ok().and_then(|ttl| now.checked_add(ttl).ok());
        let end = end.unwrap_or(Timestamp::MAX);
        data.insert("expiration".to_owned(), end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    let data = data.into_iter().map(|(name, value)| (name, ByteString(value.into_bytes())));
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(token.secret_name()),
            namespace: Some(NAMESPACE.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(TYPE.to_owned()),
        data: Some(data.collect()),
        ..Secret::default()
    })
}

fn describe(secret: &Secret) -> Option<Listed> {
    let field = |name: &str| {
        let bytes = secret.data.as_ref()?.get(name)?;
        String::from_utf8(bytes.0.clone()).ok()
    };
    let usages = USAGES.iter().filter(|(_, name)| field(name).as_deref() == Some("true"));
    Some(Listed {
        token: format!("{}.{}", field("token-id")?, field("token-secret")?),
        expires: field("expiration"),
        usages: usages.map(|(usage, _)| *usage).collect(),
        description: field("description").unwrap_or_default(),
        groups: field("auth-extra-groups").unwrap_or_default(),
    })
}

// === impl Listed ===

/// The head of kubeadm's table of tokens.
pub const HEAD: [&str; 6] = ["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"];

impl Listed {
    /// Its row in the table at `now`.
    #[must_use]
    pub fn row(&self, now: Timestamp) -> [String; 6] {
        let none = |text: String| if text.is_empty() { "<none>".to_owned() } else { text };
        let (ttl, expires) = match &self.expires {
            None => ("<forever>".to_owned(), "<never>".to_owned()),
            Some(text) => {
                let end = text.parse::<Timestamp>().ok();
                (end.map_or("<invalid>".to_owned(), |end| left(end, now)), text.clone())
            }
        };
        let usages = none(self.usages.join(","));
        let (description, groups) = (none(self.description.clone()), none(self.groups.clone()));
        [self.token.clone(), ttl, expires, usages, description, groups]
    }
}

/// The time that is left, short, as upstream's tables have it.
fn left(end: Timestamp, now: Timestamp) -> String {
    let seconds = end.duration_since(now).as_secs();
    match seconds {
        ..0 => "<invalid>".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => format!("{}m{}s", seconds / 60, seconds % 60),
        600..10_800 => format!("{}m", seconds / 60),
        10_800..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_written_and_listed_as_kubeadm_does() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let made = secret(&token, &Settings::default(), now).unwrap();
        assert_eq!(made.metadata.name.as_deref(), Some("bootstrap-token-abcdef"));
        let listed = describe(&made).unwrap();
        let row = listed.row(now + SignedDuration::from_secs(60));
        assert_eq!(
            row.each_ref().map(String::as_str),
            [
                "abcdef.0123456789abcdef",
                "23h",
                "2026-01-02T00:00:00Z",
                "authentication,signing",
                "<none>",
                NODE_GROUP,
            ]
        );
        assert_eq!(listed.row(now + SignedDuration::from_hours(25))[1], "<invalid>");
        let forever = Settings { ttl: None, usages: Vec::new(), ..Settings::default() };
        let row = describe(&secret(&token, &forever, now).unwrap()).unwrap().row(now);
        assert_eq!(
            (row[1].as_str(), row[2].as_str(), row[3].as_str()),
            ("<forever>", "<never>", "<none>")
        );
    }

    #[test]
    fn usages_and_groups_are_checked() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let check = |settings: Settings, wanted: &str| {
            let error = secret(&token, &settings, Timestamp::UNIX_EPOCH).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        let settings = Settings::default();
        check(Settings { usages: vec!["all".into()], ..settings.clone() }, "usage string: \"all\"");
        for group in ["system:masters", "system:bootstrappers", "system:bootstrappers:a-"] {
            let wanted = format!("bootstrap group {group:?} is invalid");
            check(Settings { groups: vec![group.into()], ..settings.clone() }, &wanted);
        }
    }

    #[test]
    fn times_are_short() {
        let now = Timestamp::UNIX_EPOCH;
        for (seconds, wanted) in [
            (5, "5s"),
            (119, "119s"),
            (125, "2m5s"),
            (3600, "60m"),
            (86_400, "24h"),
            (172_800, "2d"),
        ] {
            assert_eq!(left(now + SignedDuration::from_secs(seconds), now), wanted);
        }
    }
}
