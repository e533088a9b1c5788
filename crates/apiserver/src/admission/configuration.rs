//! `--admission-control-config-file`: what an operator says to plugins,
//! <https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/>.

use std::path::{Path, PathBuf};

use machinery::Value;
use machinery::codec::yaml;
use machinery::field::{self, ErrorList};
use resources::quota::Limited;
use serde::Deserialize;

use super::pod_security;

const API_VERSION: &str = "apiserver.config.k8s.io/v1";

/// What plugins are told. The default is what they do without being told.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    pub(super) pod_security: pod_security::Configuration,
    /// What may be used only where a quota covers it.
    pub(super) limited: Vec<Limited>,
}

/// Why a configuration is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("unable to read admission control configuration from {path:?}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It says something that makes no sense.
    #[error("admission control configuration {path:?}: {why}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    plugins: Vec<PluginDocument>,
}

/// What one plugin is told, here or in a file of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginDocument {
    name: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    configuration: Value,
}

// === impl Configuration ===

impl Configuration {
    /// Reads a file and those that it names.
    ///
    /// # Errors
    /// When one of them cannot be read or makes no sense.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let invalid = |why: String| Error::Invalid { path: path.to_owned(), why };
        let document = Document::deserialize(read(path)?).map_err(|e| invalid(e.to_string()))?;
        let found = (&*document.api_version, &*document.kind);
        of_kind(found, (API_VERSION, "AdmissionConfiguration")).map_err(invalid)?;
        let mut configuration = Self::default();
        for plugin in document.plugins {
            let own = path.parent().unwrap_or(path).join(&plugin.path);
            let (told, path) = match plugin.configuration {
                Value::Null if plugin.path.is_empty() => continue,
                Value::Null => (read(&own)?, own.as_path()),
                told => (told, path),
            };
            let why = match plugin.name.as_str() {
                "PodSecurity" => pod_security::Configuration::read(&told)
                    .map(|told| configuration.pod_security = told),
                "ResourceQuota" => limited(&told).map(|told| configuration.limited = told),
                // Plugins that are not there are told nothing.
                _ => Ok(()),
            };
            why.map_err(|why| Error::Invalid { path: path.to_owned(), why })?;
        }
        Ok(configuration)
    }
}

fn read(path: &Path) -> Result<Value, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    yaml::read(&text)
        .map(|document| document.value)
        .map_err(|error| Error::Invalid { path: path.to_owned(), why: error.to_string() })
}

/// Checks the version and kind of a document.
pub(super) fn of_kind(found: (&str, &str), wanted: (&str, &str)) -> Result<(), String> {
    let (version, kind) = found;
    if found == wanted {
        return Ok(());
    }
    Err(format!("no kind {kind:?} is registered for version {version:?}"))
}

/// The entries of a ResourceQuotaConfiguration.
fn limited(document: &Value) -> Result<Vec<Limited>, String> {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let found = (text("apiVersion"), text("kind"));
    of_kind(found, (API_VERSION, "ResourceQuotaConfiguration"))?;
    let entries = document["limitedResources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut errors = ErrorList::new();
    for (index, entry) in entries.iter().enumerate() {
        if entry["resource"].as_str().unwrap_or_default().is_empty() {
            let path = field::Path::new("limitedResources").index(index).child("resource");
            errors.push(field::Error::required(&path, ""));
        }
    }
    if !errors.is_empty() {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(errors.join(", "));
    }
    Ok(entries.iter().map(Limited::of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_told_here_and_in_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        write(
            "quota.yaml",
            "apiVersion: apiserver.config.k8s.io/v1\nkind: ResourceQuotaConfiguration\n\
             limitedResources: [{resource: pods, matchContains: [cpu]}]\n",
        );
        let path = write(
            "admission.yaml",
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n\
             - {name: ResourceQuota, path: quota.yaml}\n- {name: EventRateLimit}\n",
        );
        let configuration = Configuration::load(&path).unwrap();
        assert_eq!(configuration.limited.len(), 1);

        let check = |text: &str, why: &str| {
            let path = write("bad.yaml", text);
            let error = Configuration::load(&path).unwrap_err().to_string();
            assert!(error.ends_with(why), "{error}");
        };
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n";
        check("kind: X", "no kind \"X\" is registered for version \"\"");
        check(
            &format!(
                "{head}plugins: [{{name: ResourceQuota, configuration: {{apiVersion: \
                 apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration, \
                 limitedResources: [{{}}]}}}}]"
            ),
            "limitedResources[0].resource: Required value",
        );
        check(
            &format!("{head}plugins: [{{name: PodSecurity, configuration: {{}}}}]"),
            "no kind \"\" is registered for version \"\"",
        );
    }
}
