//! What is noted of which request, as an `audit.k8s.io/v1` Policy says. Pure.

use machinery::codec::{self, FieldValidation};
use machinery::field::{Error as FieldError, ErrorList, Path};
use machinery::{Value, names, schema};

use crate::authn::User;
use crate::request_info::RequestInfo;

const API_VERSION: &str = "audit.k8s.io/v1";
const LEVELS: [&str; 4] = ["None", "Metadata", "Request", "RequestResponse"];

/// How much is noted of a request; each level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who asked for what, when, and what came of it.
    Metadata,
    /// The object in the request too.
    Request,
    /// And the one in the response.
    RequestResponse,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is known who asks for what.
    RequestReceived,
    /// The head of the response is sent, of requests that stay open.
    ResponseStarted,
    /// Everything is sent.
    ResponseComplete,
    /// The handler broke down.
    Panic,
}

/// What is to be noted of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// See [`Level`].
    pub level: Level,
    /// Whether managed fields are left out of objects.
    pub omit_managed_fields: bool,
    omitted: u8,
}

/// Rules, of which the first that matches a request decides.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
}

#[derive(Debug, Default)]
struct Rule {
    scope: Scope,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    urls: Vec<String>,
}

#[derive(Debug)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

/// Why a policy is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not the object it should be.
    #[error("failed decoding: {0}")]
    Decode(#[from] machinery::codec::DecodeError),
    /// It is another object.
    #[error("unknown group version field {0} in policy")]
    Version(String),
    /// It says something that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It says nothing.
    #[error("loaded illegal policy with 0 rules")]
    Empty,
}

// === impl Level ===

impl Level {
    /// The word in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        LEVELS[self as usize]
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::None, Self::Metadata, Self::Request, Self::RequestResponse]
            .into_iter()
            .find(|level| level.as_str() == word)
    }
}

// === impl Stage ===

impl Stage {
    const ALL: [Self; 4] =
        [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    /// The word in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

// === impl Scope ===

impl Scope {
    /// Whether an event is made of a stage.
    #[must_use]
    pub fn includes(&self, stage: Stage) -> bool {
        self.level > Level::None && self.omitted & stage.bit() == 0
    }
}

// === impl Policy ===

impl Policy {
    /// Reads a policy in YAML or JSON.
    ///
    /// # Errors
    /// When it is malformed, contradicts itself or is empty.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let ty = schema::builtin().kind("audit.k8s.io", "v1", "Policy").expect("a built-in kind");
        let policy = codec::decode_yaml(text, ty, FieldValidation::Strict)?.value;
        let version = policy["apiVersion"].as_str().unwrap_or_default();
        if version != API_VERSION || policy["kind"] != "Policy" {
            return Err(Error::Version(version.to_owned()));
        }
        let errors = check(&policy);
        if !errors.is_empty() {
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            return Err(Error::Invalid(texts.join(", ")));
        }
        let omitted = stages(&policy["omitStages"]);
        let managed = policy["omitManagedFields"].as_bool().unwrap_or(false);
        let rules: Vec<Rule> =
            list(&policy["rules"]).iter().map(|rule| Rule::new(rule, omitted, managed)).collect();
        if rules.is_empty() { Err(Error::Empty) } else { Ok(Self { rules }) }
    }

    /// What is to be noted of a request; `user` is none when authentication failed.
    #[must_use]
    pub fn scope(&self, user: Option<&User>, info: &RequestInfo<'_>) -> Scope {
        let rule = self.rules.iter().find(|rule| rule.matches(user, info));
        rule.map(|rule| rule.scope).unwrap_or_default()
    }
}

// === impl Rule ===

impl Rule {
    fn new(rule: &Value, omitted: u8, omit_managed_fields: bool) -> Self {
        Self {
            scope: Scope {
                level: Level::parse(rule["level"].as_str().unwrap_or_default()).unwrap_or_default(),
                omit_managed_fields: rule["omitManagedFields"]
                    .as_bool()
                    .unwrap_or(omit_managed_fields),
                omitted: omitted | stages(&rule["omitStages"]),
            },
            users: texts(&rule["users"]),
            groups: texts(&rule["userGroups"]),
            verbs: texts(&rule["verbs"]),
            resources: list(&rule["resources"])
                .iter()
                .map(|resources| Resources {
                    group: resources["group"].as_str().unwrap_or_default().to_owned(),
                    resources: texts(&resources["resources"]),
                    names: texts(&resources["resourceNames"]),
                })
                .collect(),
            namespaces: texts(&rule["namespaces"]),
            urls: texts(&rule["nonResourceURLs"]),
        }
    }

    fn matches(&self, user: Option<&User>, info: &RequestInfo<'_>) -> bool {
        let is_user =
            self.users.is_empty() || user.is_some_and(|user| self.users.contains(&user.name));
        let in_group = self.groups.is_empty()
            || user.is_some_and(|user| self.groups.iter().any(|group| user.in_group(group)));
        if !is_user || !in_group || !among_or_empty(&self.verbs, info.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return info.is_resource
                && among_or_empty(&self.namespaces, info.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|r| r.match_(info)));
        }
        if !self.urls.is_empty() {
            return !info.is_resource && self.urls.iter().any(|url| covers(url, info.path));
        }
        true
    }
}

impl Resources {
    fn match_(&self, info: &RequestInfo<'_>) -> bool {
        if self.group != info.group {
            return false;
        }
        self.resources.is_empty()
            || (among_or_empty(&self.names, &info.name)
                && self.resources.iter().any(|resource| is_resource(resource, info)))
    }
}

/// Whether `pods`, `pods/log`, `pods/*`, `*/log` or `*` means what is asked for.
fn is_resource(pattern: &str, info: &RequestInfo<'_>) -> bool {
    if pattern == "*" {
        return true;
    }
    match pattern.split_once('/') {
        None => info.subresource.is_empty() && pattern == info.resource,
        Some((resource, "*")) => resource == info.resource,
        Some((resource, subresource)) => {
            !info.subresource.is_empty()
                && subresource == info.subresource
                && (resource == "*" || resource == info.resource)
        }
    }
}

/// Whether `/metrics`, `/healthz*` or `*` means a path.
fn covers(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

fn among_or_empty(list: &[String], item: &str) -> bool {
    list.is_empty() || list.iter().any(|known| known == item)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn stages(value: &Value) -> u8 {
    let named = |word: &Value| Stage::ALL.into_iter().find(|stage| *word == stage.as_str());
    list(value).iter().filter_map(named).fold(0, |bits, stage| bits | stage.bit())
}

fn check(policy: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let rules = Path::new("rules");
    for (at, rule) in list(&policy["rules"]).iter().enumerate() {
        check_rule(rule, &rules.index(at), &mut errors);
    }
    errors
}

fn check_rule(rule: &Value, path: &Path, errors: &mut ErrorList) {
    match rule["level"].as_str().unwrap_or_default() {
        "" => errors.push(FieldError::required(&path.child("level"), "")),
        level if Level::parse(level).is_none() => {
            errors.push(FieldError::not_supported(&path.child("level"), level, &LEVELS));
        }
        _ => {}
    }
    let urls = path.child("nonResourceURLs");
    for (at, url) in texts(&rule["nonResourceURLs"]).iter().enumerate() {
        let mut invalid =
            |detail| errors.push(FieldError::invalid(&urls.index(at), &**url, detail));
        if url != "*" && !url.starts_with('/') {
            invalid("non-resource URL rules must begin with a '/' character");
        }
        if url.strip_suffix('*').unwrap_or(url).contains('*') {
            invalid("non-resource URL wildcards '*' must be the final character of the rule");
        }
    }
    let resources = path.child("resources");
    for group in list(&rule["resources"]) {
        let name = group["group"].as_str().unwrap_or_default();
        let messages = if name.is_empty() { Vec::new() } else { names::dns1123_subdomain(name) };
        if !messages.is_empty() {
            let path = resources.child("group");
            errors.push(FieldError::invalid(&path, name, messages.join(",")));
        }
        if !list(&group["resourceNames"]).is_empty() && list(&group["resources"]).is_empty() {
            let path = resources.child("resourceNames");
            let detail = "using resourceNames requires at least one resource";
            errors.push(FieldError::invalid(&path, group["resourceNames"].clone(), detail));
        }
    }
    let omitted = path.child("omitStages");
    for (at, stage) in texts(&rule["omitStages"]).iter().enumerate() {
        if !Stage::ALL.iter().any(|known| known.as_str() == stage) {
            let all = Stage::ALL.map(Stage::as_str).join(",");
            let detail = format!("allowed stages are {all}");
            errors.push(FieldError::invalid(&omitted.index(at), &**stage, detail));
        }
    }
    let some = |field: &str| !list(&rule[field]).is_empty();
    if some("nonResourceURLs") && (some("resources") || some("namespaces")) {
        let detail = "rules cannot apply to both regular resources and non-resource URLs";
        errors.push(FieldError::invalid(&urls, rule["nonResourceURLs"].clone(), detail));
    }
}

#[cfg(test)]
mod tests;
