//! What an operator says for all namespaces: the policy of those that say nothing, and what nothing
//! is asked of.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, meta, names};
use serde::Deserialize;

use super::policy::{self, PREFIX, Policy, Standard};
use crate::admission::configuration::of_kind;

const API_VERSION: &str = "pod-security.admission.config.k8s.io/v1";
const KIND: &str = "PodSecurityConfiguration";

/// See the module.
#[derive(Clone, Debug, Default)]
pub(in crate::admission) struct Configuration {
    pub(super) defaults: Policy,
    pub(super) namespaces: BTreeSet<String>,
    usernames: BTreeSet<String>,
    pub(super) runtime_classes: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    exemptions: Exemptions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
struct Defaults {
    enforce: String,
    enforce_version: String,
    warn: String,
    warn_version: String,
    audit: String,
    audit_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Exemptions {
    namespaces: Vec<String>,
    runtime_classes: Vec<String>,
    usernames: Vec<String>,
}

impl Configuration {
    /// Reads a PodSecurityConfiguration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(in crate::admission) fn read(document: &Value) -> Result<Self, String> {
        let document = Document::deserialize(document).map_err(|error| error.to_string())?;
        of_kind((&document.api_version, &document.kind), (API_VERSION, KIND))?;
        let Document { defaults, exemptions, .. } = document;
        let mut errors = ErrorList::new();
        let mut standard = |mode: &'static str, level: &str, version: &str| {
            let path = Path::new("defaults");
            let or = |text: &str, default: &'static str| match text {
                "" => default.to_owned(),
                text => text.to_owned(),
            };
            let level = policy::level(&or(level, "privileged"), &path.child(mode), &mut errors);
            let path = path.child(format!("{mode}-version"));
            let minor = policy::version(&or(version, "latest"), &path, &mut errors);
            Standard { level: level.unwrap_or_default(), minor }
        };
        let defaults = Policy {
            enforce: standard("enforce", &defaults.enforce, &defaults.enforce_version),
            warn: standard("warn", &defaults.warn, &defaults.warn_version),
            audit: standard("audit", &defaults.audit, &defaults.audit_version),
        };
        let path = |list: &'static str| Path::new("exemptions").child(list);
        let configuration = Self {
            defaults,
            namespaces: unique(
                exemptions.namespaces,
                &path("namespaces"),
                names::dns1123_label,
                &mut errors,
            ),
            runtime_classes: unique(
                exemptions.runtime_classes,
                &path("runtimeClasses"),
                names::dns1123_subdomain,
                &mut errors,
            ),
            usernames: unique(
                exemptions.usernames,
                &path("usernames"),
                |_| Vec::new(),
                &mut errors,
            ),
        };
        if errors.is_empty() { Ok(configuration) } else { Err(policy::text(&errors)) }
    }

    /// Why nothing is asked of what a user writes to a namespace, if that is so.
    pub(super) fn exempt(&self, namespace: &str, user: &str) -> Option<&'static str> {
        if self.namespaces.contains(namespace) {
            return Some("namespace");
        }
        self.usernames.contains(user).then_some("user")
    }

    /// What to say of a policy that is asked for an exempt namespace.
    pub(super) fn ignored(&self, namespace: &Value, policy: &Policy) -> Option<String> {
        if policy.asks_nothing() || *policy == self.defaults {
            return None;
        }
        let modes = [("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn)];
        let asked = modes.into_iter().filter(|(mode, standard)| {
            let keys = [format!("{PREFIX}{mode}"), format!("{PREFIX}{mode}-version")];
            *standard != Standard { minor: standard.minor, ..Standard::default() }
                && keys.iter().any(|key| meta::label(namespace, key).is_some())
        });
        let asked: Vec<String> =
            asked.map(|(mode, standard)| format!("{mode}={standard}")).collect();
        Some(format!(
            "namespace {:?} is exempt from Pod Security, and the policy ({}) will be ignored",
            meta::name(namespace),
            asked.join(", ")
        ))
    }
}

/// The members of a list, none of which is empty, wrong or there twice.
fn unique(
    list: Vec<String>,
    path: &Path,
    check: impl Fn(&str) -> Vec<String>,
    errors: &mut ErrorList,
) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for (index, member) in list.into_iter().enumerate() {
        let path = path.index(index);
        let wrong = check(&member);
        if !wrong.is_empty() {
            errors.push(Error::invalid(&path, member, wrong.join(", ")));
        } else if member.is_empty() {
            errors.push(Error::required(&path, ""));
        } else if known.contains(&member) {
            errors.push(Error::duplicate(&path, member));
        } else {
            known.insert(member);
        }
    }
    known
}
