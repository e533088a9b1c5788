//! What a namespace's labels ask for. Pure.

use std::fmt;

use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, meta};

pub(super) const PREFIX: &str = "pod-security.kubernetes.io/";
/// The release of which `latest` means the standards.
const RELEASE: u32 = 36;

/// How strict a standard is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

/// A level as of a release; none is the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) minor: Option<u32>,
}

/// What is enforced, and what is only said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) audit: Standard,
    pub(super) warn: Standard,
}

// === impl Standard ===

impl Standard {
    #[cfg(test)]
    pub(super) const fn latest(level: Level) -> Self {
        Self { level, minor: None }
    }

    #[cfg(test)]
    pub(super) fn new(level: Level, minor: Option<u32>) -> Self {
        Self { level, minor }
    }

    /// The minor number of the release.
    pub(super) fn release(self) -> u32 {
        self.minor.unwrap_or(RELEASE)
    }

    /// Whether something that kept to `other` may break this one.
    pub(super) fn is_stricter_than(self, other: Self) -> bool {
        self != other
            && self.level != Level::Privileged
            && !(self.minor == other.minor && self.level <= other.level)
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.minor {
            Some(minor) => write!(f, ":v1.{minor}"),
            None => f.write_str(":latest"),
        }
    }
}

// === impl Policy ===

impl Policy {
    /// The policy of a namespace, whose labels come before the defaults, and what is wrong with
    /// them. What is to be enforced but
    /// cannot be read is taken for the strictest level, the rest for the most lenient.
    pub(super) fn of(namespace: &Value, defaults: &Self) -> (Self, ErrorList) {
        let mut errors = ErrorList::new();
        let mut standard = |mode: &str, default: Standard, otherwise: Level| {
            let key = format!("{PREFIX}{mode}");
            let level = match meta::label(namespace, &key) {
                None => default.level,
                Some(text) => level(text, &path(&key), &mut errors).unwrap_or(otherwise),
            };
            let key = format!("{PREFIX}{mode}-version");
            let minor = match meta::label(namespace, &key) {
                None => default.minor,
                Some(text) => version(text, &path(&key), &mut errors),
            };
            Standard { level, minor }
        };
        let policy = Self {
            enforce: standard("enforce", defaults.enforce, Level::Restricted),
            audit: standard("audit", defaults.audit, Level::Privileged),
            warn: standard("warn", defaults.warn, Level::Privileged),
        };
        (policy, errors)
    }

    /// Whether anything goes.
    pub(super) fn asks_nothing(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|s| s.level == Level::Privileged)
    }
}

/// The level of a name.
pub(super) fn level(text: &str, path: &Path, errors: &mut ErrorList) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        other => {
            let detail = "must be one of privileged, baseline, restricted";
            errors.push(Error::invalid(path, other, detail));
            None
        }
    }
}

/// The minor number of a release; none is the latest.
pub(super) fn version(text: &str, path: &Path, errors: &mut ErrorList) -> Option<u32> {
    if text == "latest" {
        return None;
    }
    let minor = text.strip_prefix("v1.").filter(|minor| {
        *minor == "0" || (!minor.starts_with('0') && minor.bytes().all(|c| c.is_ascii_digit()))
    });
    let minor = minor.and_then(|minor| minor.parse().ok());
    if minor.is_none() {
        let detail = r#"must be "latest" or "v1.x""#;
        errors.push(Error::invalid(path, text, detail));
    }
    minor
}

fn path(key: &str) -> Path {
    Path::new("metadata").child("labels").key(key)
}

/// Errors in one line.
pub(super) fn text(errors: &ErrorList) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
