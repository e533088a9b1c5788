//! Configuration of credential provider plugins: `CredentialProviderConfig` of
//! `kubelet.config.k8s.io/v1`.
//! <https://kubernetes.io/docs/reference/config-api/kubelet-config.v1/>

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use machinery::codec::yaml;
use serde::Deserialize;

/// Versions of the protocol with programs.
const PROTOCOLS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
];
/// How long answers are good that are given for a service account.
const BY_TOKEN: &str = "Token";
const BY_ACCOUNT: &str = "ServiceAccount";
/// Versions of the configuration.
const VERSIONS: [&str; 3] =
    ["kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v1alpha1", "kubelet.config.k8s.io/v1beta1"];

/// Why a configuration is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ProviderConfigError {
    /// It cannot be read.
    #[error(
        "unable to read external registry credential provider configuration from {path:?}: {source}"
    )]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is none.
    #[error("error decoding config {path}: {message}", path = path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// It breaks rules.
    #[error("failed to validate config: {0}")]
    Invalid(String),
    /// A program is missing.
    #[error("plugin binary executable {0} did not exist")]
    Missing(String),
}

/// The configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    api_version: String,
    kind: String,
    #[serde(default)]
    providers: Vec<Provider>,
}

/// One program.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// Its file name.
    pub name: String,
    /// Globs of images that it is responsible for.
    #[serde(default)]
    pub match_images: Vec<String>,
    /// How long its answers are good that do not say, as a Go duration.
    #[serde(default)]
    default_cache_duration: Option<String>,
    /// The version of the protocol that it speaks.
    #[serde(default)]
    pub api_version: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables besides those of the kubelet.
    #[serde(default)]
    pub env: Vec<Variable>,
    /// What it is told of the service accounts of Pods, if it is to act for those.
    #[serde(default)]
    pub token_attributes: Option<TokenAttributes>,
}

/// What a program is told of a Pod's service account.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenAttributes {
    /// For whom the token is that it gets.
    #[serde(default)]
    pub service_account_token_audience: String,
    /// How long an answer is good at most: as long as the account is the same, or the token.
    #[serde(default)]
    cache_type: String,
    /// Whether it is only asked for Pods that have a service account.
    #[serde(default)]
    require_service_account: Option<bool>,
    /// Annotations of the account that it must have, and is told of.
    #[serde(default)]
    pub required_service_account_annotation_keys: Vec<String>,
    /// Annotations of the account that it is told of.
    #[serde(default)]
    pub optional_service_account_annotation_keys: Vec<String>,
}

impl TokenAttributes {
    /// Whether an answer is good for one token only.
    #[must_use]
    pub fn is_by_token(&self) -> bool {
        self.cache_type == BY_TOKEN
    }

    /// Whether it is only asked for Pods that have a service account.
    #[must_use]
    pub fn requires_account(&self) -> bool {
        self.require_service_account.unwrap_or_default()
    }
}

/// A variable of a program's environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// The programs that `config` (a file, or a folder of files that are read in the order of their
/// names) configures, all of which must be in `programs`.
///
/// # Errors
/// [`ProviderConfigError`], upon which a kubelet does not start.
pub fn load(config: &Path, programs: &Path) -> Result<Vec<Provider>, ProviderConfigError> {
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| ProviderConfigError::Read { path, source }
    };
    let mut files = vec![config.to_owned()];
    if config.is_dir() {
        files.clear();
        for entry in std::fs::read_dir(config).map_err(read(config))? {
            files.push(entry.map_err(read(config))?.path());
        }
        let known = |path: &PathBuf| {
            let end = path.extension().and_then(|end| end.to_str());
            path.is_file() && matches!(end, Some("json" | "yaml" | "yml"))
        };
        files.retain(known);
        files.sort();
    }
    let mut providers = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(read(&path))?;
        let decoded = decode(&text);
        let found = decoded.map_err(|message| ProviderConfigError::Decode { path, message })?;
        providers.extend(found);
    }
    let problems = validate(&providers);
    if !problems.is_empty() {
        return Err(ProviderConfigError::Invalid(problems.join(", ")));
    }
    match providers.iter().find(|provider| !programs.join(&provider.name).exists()) {
        Some(provider) => {
            let path = programs.join(&provider.name);
            Err(ProviderConfigError::Missing(path.display().to_string()))
        }
        None => Ok(providers),
    }
}

fn decode(text: &str) -> Result<Vec<Provider>, String> {
    let config: Config = yaml::from_str(text).map_err(|error| error.to_string())?;
    let (version, kind) = (&config.api_version, &config.kind);
    if kind != "CredentialProviderConfig" || !VERSIONS.contains(&version.as_str()) {
        return Err(format!("no kind {kind:?} is registered for version {version:?}"));
    }
    Ok(config.providers)
}

fn validate(providers: &[Provider]) -> Vec<String> {
    let mut problems = Vec::new();
    if providers.is_empty() {
        problems
            .push("providers: Required value: at least 1 item in plugins is required".to_owned());
    }
    let mut seen = BTreeSet::new();
    for provider in providers {
        let name = &provider.name;
        let invalid = |field: &str, value: &str, why: &str| {
            format!("providers.{field}: Invalid value: {value:?}: {why}")
        };
        for (bad, why) in [
            (name.contains('/'), "provider name cannot contain '/'"),
            (name.contains(' '), "provider name cannot contain spaces"),
            (name == ".", "provider name cannot be '.'"),
            (name == "..", "provider name cannot be '..'"),
        ] {
            if bad {
                problems.push(invalid("name", name, why));
            }
        }
        if !seen.insert(name) {
            problems.push(format!("providers.name: Duplicate value: {name:?}"));
        }
        let version = &provider.api_version;
        if version.is_empty() {
            problems.push("providers.apiVersion: Required value".to_owned());
        } else if !PROTOCOLS.contains(&version.as_str()) {
            let known: Vec<_> = PROTOCOLS.iter().map(|known| format!("{known:?}")).collect();
            problems.push(format!(
                "providers.apiVersion: Unsupported value: {version:?}: supported values: {}",
                known.join(", ")
            ));
        }
        if let Some(attributes) = &provider.token_attributes {
            problems.extend(judge(attributes, version));
        }
        if provider.match_images.is_empty() {
            problems.push(
                "providers.matchImages: Required value: at least 1 item in matchImages is required"
                    .to_owned(),
            );
        }
        match provider.default_cache_duration.as_deref() {
            None => problems.push("providers.defaultCacheDuration: Required value".to_owned()),
            Some(text) => match machinery::duration::parse_nanos(text) {
                Ok(0..) => {}
                Ok(_) => problems.push(invalid(
                    "defaultCacheDuration",
                    text,
                    "must be greater than or equal to 0",
                )),
                Err(error) => {
                    problems.push(invalid("defaultCacheDuration", text, &error.to_string()));
                }
            },
        }
    }
    problems
}

/// What is wrong with what a program is to be told of service accounts.
fn judge(attributes: &TokenAttributes, version: &str) -> Vec<String> {
    const PATH: &str = "providers.tokenAttributes";
    let mut problems = Vec::new();
    if version != PROTOCOLS[0] {
        problems.push(format!(
            "{PATH}: Forbidden: tokenAttributes is only supported for {} API version",
            PROTOCOLS[0]
        ));
    }
    if attributes.service_account_token_audience.is_empty() {
        problems.push(format!("{PATH}.serviceAccountTokenAudience: Required value"));
    }
    match attributes.cache_type.as_str() {
        "" => problems.push(format!("{PATH}.cacheType: Required value")),
        BY_TOKEN | BY_ACCOUNT => {}
        other => problems.push(format!(
            "{PATH}.cacheType: Unsupported value: {other:?}: supported values: {BY_ACCOUNT:?}, {BY_TOKEN:?}"
        )),
    }
    let required = &attributes.required_service_account_annotation_keys;
    match attributes.require_service_account {
        None => problems.push(format!("{PATH}.requireServiceAccount: Required value")),
        Some(false) if !required.is_empty() => problems.push(format!(
            "{PATH}.requiredServiceAccountAnnotationKeys: Forbidden: requireServiceAccount cannot be false when requiredServiceAccountAnnotationKeys is set"
        )),
        Some(_) => {}
    }
    let optional = &attributes.optional_service_account_annotation_keys;
    for (field, keys) in [
        ("requiredServiceAccountAnnotationKeys", required),
        ("optionalServiceAccountAnnotationKeys", optional),
    ] {
        let mut seen = BTreeSet::new();
        for key in keys.iter().filter(|key| !seen.insert(*key)) {
            problems.push(format!("{PATH}.{field}: Duplicate value: {key:?}"));
        }
    }
    let both: Vec<_> = required.iter().filter(|key| optional.contains(key)).collect();
    if !both.is_empty() {
        problems.push(format!(
            "{PATH}: Invalid value: {both:?}: annotation keys cannot be both required and optional"
        ));
    }
    problems
}

// === impl Provider ===

impl Provider {
    /// How long its answers are good that do not say.
    #[must_use]
    pub fn cache_duration(&self) -> Duration {
        let text = self.default_cache_duration.as_deref().unwrap_or("0s");
        machinery::duration::parse(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: helper
  matchImages: ['*.example', 'example:5000/a']
  defaultCacheDuration: 12h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  args: [get]
  env: [{name: A, value: b}]
";

    #[test]
    fn files_and_folders_of_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("b.yaml"), GOOD).unwrap();
        let missing = load(&at("b.yaml"), folder.path()).unwrap_err().to_string();
        assert_eq!(
            missing,
            format!("plugin binary executable {} did not exist", at("helper").display())
        );
        std::fs::write(at("helper"), "").unwrap();
        let found = load(&at("b.yaml"), folder.path()).unwrap();
        assert_eq!((found.len(), found[0].cache_duration()), (1, Duration::from_secs(43_200)));

        std::fs::write(at("other"), "").unwrap();
        std::fs::write(at("a.yml"), GOOD.replace("name: helper", "name: other")).unwrap();
        let found = load(folder.path(), folder.path()).unwrap();
        let names: Vec<_> = found.iter().map(|provider| provider.name.as_str()).collect();
        assert_eq!(names, ["other", "helper"]);
        assert!(matches!(
            load(&at("missing"), folder.path()),
            Err(ProviderConfigError::Read { .. })
        ));
    }

    #[test]
    fn what_programs_are_told_of_accounts_is_checked() {
        const TOKENS: &str = "
  tokenAttributes:
    serviceAccountTokenAudience: registry
    cacheType: Token
    requireServiceAccount: true
    requiredServiceAccountAnnotationKeys: [a/b]
    optionalServiceAccountAnnotationKeys: [c]
";
        let good = format!("{}{TOKENS}", GOOD.trim_end());
        let problems = |text: &str| validate(&decode(text).unwrap());
        assert_eq!(problems(&good), [""; 0]);
        for (from, to, wanted) in [
            ("registry", "''", "serviceAccountTokenAudience: Required value"),
            ("cacheType: Token", "cacheType: Some", "cacheType: Unsupported value: \"Some\""),
            ("requireServiceAccount: true", "", "requireServiceAccount: Required value"),
            ("requireServiceAccount: true", "requireServiceAccount: false", "cannot be false when"),
            ("[a/b]", "[c]", "annotation keys cannot be both required and optional"),
            ("[a/b]", "[x, x]", "requiredServiceAccountAnnotationKeys: Duplicate value: \"x\""),
            (
                "provider.kubelet.k8s.io/v1\n",
                "provider.kubelet.k8s.io/v1beta1\n",
                "only supported for",
            ),
        ] {
            assert!(good.contains(from), "{from}");
            let found = problems(&good.replace(from, to));
            assert!(found.len() == 1 && found[0].contains(wanted), "{wanted}: {found:?}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (from, to, wanted) in [
            ("kind: Cre", "kind: Tre", "no kind \"TredentialProviderConfig\" is registered"),
            ("matchImages", "matchImage", "unknown field `matchImage`"),
            ("name: helper", "name: a/b", "provider name cannot contain '/'"),
            ("'*.example', 'example:5000/a'", "", "at least 1 item in matchImages is required"),
            (
                "defaultCacheDuration: 12h",
                "defaultCacheDuration: -1h",
                "greater than or equal to 0",
            ),
            ("  defaultCacheDuration: 12h\n", "", "providers.defaultCacheDuration: Required value"),
            ("k8s.io/v1\n  args", "k8s.io/v2\n  args", "providers.apiVersion: Unsupported value"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.yaml");
            std::fs::write(&path, GOOD.replace(from, to)).unwrap();
            let error = load(&path, folder.path()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
