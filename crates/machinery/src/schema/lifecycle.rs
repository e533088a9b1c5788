//! Deprecation of kinds.

/// Releases in which a kind comes and goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle<'s> {
    /// Release that brought it, `1.9`.
    pub introduced: Option<&'s str>,
    /// Release from which its use is warned about.
    pub deprecated: Option<&'s str>,
    /// Release that no longer serves it.
    pub removed: Option<&'s str>,
    /// Group, version and kind to use instead.
    pub replacement: Option<(&'s str, &'s str, &'s str)>,
}

impl Lifecycle<'_> {
    /// The warning that a client gets for using the kind `api_version` `kind` with a server of
    /// `release` (`1.36`); none if it is not deprecated there.
    pub fn warning(&self, api_version: &str, kind: &str, release: &str) -> Option<String> {
        let deprecated = self.deprecated.filter(|since| parts(since) <= parts(release))?;
        let mut text = format!("{api_version} {kind} is deprecated in v{deprecated}+");
        if let Some(removed) = self.removed {
            text.push_str(&format!(", unavailable in v{removed}+"));
        }
        if let Some((group, version, kind)) = self.replacement {
            let slash = if group.is_empty() { "" } else { "/" };
            text.push_str(&format!("; use {group}{slash}{version} {kind}"));
        }
        Some(text)
    }
}

/// Major and minor number.
fn parts(release: &str) -> (u32, u32) {
    let mut numbers = release.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
