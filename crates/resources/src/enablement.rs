//! Which built-in resources a server serves: `--runtime-config`,
//! <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#api-groups-and-versioning>.
//! Stable versions are served unless told otherwise, others where that is asked for.

use std::collections::BTreeMap;

use machinery::gvk::GroupVersion;

use crate::registration::{self, Registration};

/// What is served besides the stable versions, and what of these is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enablement {
    /// In the order in which they count: later ones outdo earlier ones.
    choices: Vec<(Choice, bool)>,
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Choice {
    All,
    Level(Level),
    Version { group: String, version: String },
    Resource { group: String, version: String, resource: String },
}

/// How far a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Stable,
    Beta,
    Alpha,
}

/// Why a configuration makes no sense; upstream's texts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnablementError {
    /// Nothing would be served.
    #[error("invalid key with only api/all=false")]
    Nothing,
    /// A key names neither a group and version nor a resource.
    #[error("runtime-config invalid key {0}")]
    Key(String),
    /// Groups that do not exist.
    #[error("unknown api groups {}", .0.join(","))]
    UnknownGroups(Vec<String>),
    /// A key for many versions has a value that is not `true` or `false`.
    #[error("invalid value {key}={value}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A version that its group does not have.
    #[error("group version {0} that has not been registered")]
    UnknownVersion(String),
    /// A value that is no truth value.
    #[error(
        "invalid value of {key}: {value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax"
    )]
    NoBool {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// The name of a resource is not written as in paths.
    #[error(
        "invalid key {key}: group/version/resource and resource is always lowercase plural, not {resource:?}"
    )]
    Case {
        /// The key.
        key: String,
        /// What it says of the resource.
        resource: String,
    },
}

// === impl Enablement ===

impl Enablement {
    /// Reads pairs such as `api/beta=true`.
    ///
    /// # Errors
    /// When one of them makes no sense.
    pub fn parse(pairs: &[impl AsRef<str>]) -> Result<Self, EnablementError> {
        let pairs = pairs.iter().map(|pair| {
            let (key, value) = pair.as_ref().split_once('=').unwrap_or((pair.as_ref(), ""));
            (key.trim(), value.trim())
        });
        let pairs: BTreeMap<&str, &str> = pairs.filter(|(key, _)| !key.is_empty()).collect();
        if pairs.len() == 1 && pairs.get("api/all") == Some(&"false") {
            return Err(EnablementError::Nothing);
        }
        let mut choices = Vec::new();
        let mut unknown = Vec::new();
        for (key, value) in pairs {
            if let Some(choice) = many(key) {
                let on = match value {
                    "true" => true,
                    "false" => false,
                    _ => {
                        return Err(EnablementError::Value {
                            key: key.into(),
                            value: value.into(),
                        });
                    }
                };
                choices.push((choice, on));
                continue;
            }
            let parts: Vec<&str> = key.split('/').collect();
            let (group, version, resource) = match parts[..] {
                [group, version] => (group, version, None),
                [group, version, resource] => (group, version, Some(resource)),
                _ => return Err(EnablementError::Key(key.to_owned())),
            };
            let of_group = || registration::all().iter().filter(|r| r.group == group);
            if of_group().next().is_none() {
                unknown.push(group.to_owned());
                continue;
            }
            if !of_group().any(|r| r.version == version) {
                let version = GroupVersion::new(group, version).to_string();
                return Err(EnablementError::UnknownVersion(version));
            }
            let on = parse_bool(value)
                .ok_or_else(|| EnablementError::NoBool { key: key.into(), value: value.into() })?;
            let (group, version) = (group.to_owned(), version.to_owned());
            choices.push(match resource.map(str::to_owned) {
                None => (Choice::Version { group, version }, on),
                Some(resource) if resource.to_lowercase() != resource => {
                    return Err(EnablementError::Case { key: key.to_owned(), resource });
                }
                Some(resource) => (Choice::Resource { group, version, resource }, on),
            });
        }
        if !unknown.is_empty() {
            return Err(EnablementError::UnknownGroups(unknown));
        }
        choices.sort();
        Ok(Self { choices })
    }

    /// The resources that are served, in the order of discovery.
    pub fn served(&self) -> Vec<&'static Registration> {
        registration::all().iter().filter(|resource| self.serves(resource)).collect()
    }

    fn serves(&self, resource: &Registration) -> bool {
        let level = Level::of(&resource.version);
        let said = self.choices.iter().rev().find(|(choice, _)| match choice {
            Choice::All => true,
            Choice::Level(of) => level == Some(*of),
            Choice::Version { group, version } => {
                resource.group == *group && resource.version == *version
            }
            Choice::Resource { group, version, resource: name } => {
                resource.group == *group
                    && resource.version == *version
                    && resource.resource == *name
            }
        });
        said.map_or(level == Some(Level::Stable), |(_, on)| *on)
    }
}

// === impl Level ===

impl Level {
    fn of(version: &str) -> Option<Self> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let rest = version.strip_prefix('v')?;
        if is_number(rest) {
            return Some(Self::Stable);
        }
        let marked = |mark: &str| {
            rest.split_once(mark).is_some_and(|(major, minor)| is_number(major) && is_number(minor))
        };
        if marked("beta") { Some(Self::Beta) } else { marked("alpha").then_some(Self::Alpha) }
    }
}

/// What a key for many versions stands for.
fn many(key: &str) -> Option<Choice> {
    Some(match key {
        "api/all" => Choice::All,
        "api/ga" => Choice::Level(Level::Stable),
        "api/beta" => Choice::Level(Level::Beta),
        "api/alpha" => Choice::Level(Level::Alpha),
        _ => return None,
    })
}

/// A truth value as Go reads it; nothing at all is true.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(pairs: &[&str], group: &str) -> Vec<String> {
        let served = Enablement::parse(pairs).expect("it makes sense").served();
        let mut versions: Vec<String> =
            served.iter().filter(|r| r.group == group).map(|r| r.version.to_string()).collect();
        versions.dedup();
        versions
    }

    #[test]
    fn later_choices_outdo_wider_ones() {
        let group = "resource.k8s.io";
        assert_eq!(versions(&[], group), ["v1"]);
        assert_eq!(versions(&["api/beta=true"], group), ["v1", "v1beta2", "v1beta1"]);
        let pairs = ["resource.k8s.io/v1beta1=false", "api/all=true"];
        assert_eq!(versions(&pairs, group), ["v1", "v1beta2", "v1alpha3"]);
        assert_eq!(versions(&["api/ga=false", "resource.k8s.io/v1"], group), ["v1"]);
        assert_eq!(versions(&["api/all=true", "api/alpha=false"], "scheduling.k8s.io"), ["v1"]);
        let one = Enablement::parse(&["networking.k8s.io/v1beta1/servicecidrs=1"]).unwrap();
        let beta: Vec<_> = one.served().into_iter().filter(|r| r.version == "v1beta1").collect();
        assert_eq!(beta.iter().map(|r| &*r.resource).collect::<Vec<_>>(), ["servicecidrs"]);
        let without = Enablement::parse(&["apps/v1/deployments=false"]).unwrap();
        assert!(!without.served().iter().any(|r| r.resource == "deployments"));
    }

    #[test]
    fn mistakes() {
        let check = |pairs: &[&str], text: &str| {
            assert_eq!(Enablement::parse(pairs).unwrap_err().to_string(), text);
        };
        check(&["api/all=false"], "invalid key with only api/all=false");
        check(&["v1=true"], "runtime-config invalid key v1");
        check(&["b.io/v1", "a.io/v1/x=false", "apps/v1"], "unknown api groups a.io,b.io");
        check(&["api/beta=yes"], "invalid value api/beta=yes");
        check(&["apps/v9=true"], "group version apps/v9 that has not been registered");
        check(
            &["apps/v1=yes"],
            "invalid value of apps/v1: yes, err: strconv.ParseBool: parsing \"yes\": invalid syntax",
        );
        check(
            &["apps/v1/Deployments=true"],
            "invalid key apps/v1/Deployments: group/version/resource and resource is always lowercase plural, not \"Deployments\"",
        );
        assert!(Enablement::parse(&["/v1/pods=true"]).is_ok(), "the core group has no name");
    }
}
