//! The environment of a container, from all its sources.

mod expansion;
mod services;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};

use crate::downward::{self, DownwardError};
use crate::objects::{ObjectError, Objects};
use crate::seam::{PodIps, Sources};

pub use expansion::{expand, expand_all};
pub use services::service_variables;

/// Why a container cannot be given its environment; the message of `CreateContainerConfigError`.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// A ConfigMap that is not optional does not exist.
    #[error("configmap {0:?} not found")]
    ConfigMapNotFound(String),
    /// A Secret that is not optional does not exist.
    #[error("secret {0:?} not found")]
    SecretNotFound(String),
    /// The object has no such key.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    KeyNotFound {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A Secret's value is no text.
    #[error("value of key {key} in Secret {namespace}/{name} is not valid UTF-8")]
    NotText {
        /// The key.
        key: String,
        /// Namespace of the Secret.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The object could not be read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A field reference has no value.
    #[error(transparent)]
    Downward(#[from] DownwardError),
    /// The source of the variable is of a kind that this kubelet does not know.
    #[error("environment variable {0} has an unsupported source")]
    Unsupported(String),
}

/// What an environment is made of besides the Pod.
pub struct EnvContext<'a> {
    /// This node.
    pub node_name: &'a str,
    /// Addresses of Pod and node.
    pub ips: &'a PodIps,
    /// ConfigMaps and Secrets.
    pub objects: &'a Objects,
    /// Services and the Node object.
    pub sources: &'a dyn Sources,
}

/// Variables in the order in which they were first set; setting one again replaces its value.
#[derive(Default)]
struct Variables {
    list: Vec<(String, String)>,
    positions: HashMap<String, usize>,
}

impl Variables {
    fn set(&mut self, name: &str, value: String) {
        match self.positions.get(name) {
            Some(&position) => self.list[position].1 = value,
            None => {
                self.positions.insert(name.to_owned(), self.list.len());
                self.list.push((name.to_owned(), value));
            }
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.positions.get(name).map(|&position| self.list[position].1.as_str())
    }
}

/// The environment of `container`: `envFrom`, then `env` on top, then the variables of services
/// where nothing else has the name.
pub async fn build(
    pod: &Pod,
    container: &Container,
    context: &EnvContext<'_>,
) -> Result<Vec<(String, String)>, EnvError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let services = service_variables(&context.sources.services(namespace), namespace, links);
    let mut variables = Variables::default();
    let mut reader = Reader::new(context.objects, namespace);

    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        if let Some(source) = &from.config_map_ref {
            let data = reader.config_map(&source.name, source.optional).await?;
            for (key, value) in data.iter().flat_map(|map| map.data.iter().flatten()) {
                variables.set(&format!("{prefix}{key}"), value.clone());
            }
        } else if let Some(source) = &from.secret_ref {
            let data = reader.secret(&source.name, source.optional).await?;
            for (key, value) in data.iter().flat_map(|secret| secret.data.iter().flatten()) {
                let text = reader.text(&source.name, key, &value.0)?;
                variables.set(&format!("{prefix}{key}"), text);
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (variable.value.as_deref(), &variable.value_from) {
            (Some(text), _) if !text.is_empty() => expansion::expand_with(text, |name| {
                variables.get(name).or_else(|| services.get(name).map(String::as_str))
            }),
            (_, Some(source)) => {
                match from_source(pod, container, &variable.name, source, context, &mut reader)
                    .await?
                {
                    Some(value) => value,
                    None => continue,
                }
            }
            _ => String::new(),
        };
        variables.set(&variable.name, value);
    }
    for (name, value) in services {
        if variables.get(&name).is_none() {
            variables.set(&name, value);
        }
    }
    Ok(variables.list)
}

/// `None` when an optional key or object is missing: the variable is then not set at all.
async fn from_source(
    pod: &Pod,
    container: &Container,
    variable: &str,
    source: &EnvVarSource,
    context: &EnvContext<'_>,
    reader: &mut Reader<'_>,
) -> Result<Option<String>, EnvError> {
    if let Some(field) = &source.field_ref {
        let value = downward::env_field(pod, &field.field_path, context.node_name, context.ips)?;
        return Ok(Some(value));
    }
    if let Some(selector) = &source.resource_field_ref {
        let node = context.sources.node();
        let value = downward::resource_field(pod, selector, Some(container), node.as_deref())?;
        return Ok(Some(value));
    }
    let missing = |optional: Option<bool>, kind, key: &str, name: &str| {
        if optional.unwrap_or(false) {
            return Ok(None);
        }
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        Err(EnvError::KeyNotFound { key: key.to_owned(), kind, namespace, name: name.to_owned() })
    };
    if let Some(selector) = &source.config_map_key_ref {
        let Some(map) = reader.config_map(&selector.name, selector.optional).await? else {
            return Ok(None);
        };
        return match map.data.as_ref().and_then(|data| data.get(&selector.key)) {
            Some(value) => Ok(Some(value.clone())),
            None => missing(selector.optional, "ConfigMap", &selector.key, &selector.name),
        };
    }
    if let Some(selector) = &source.secret_key_ref {
        let Some(secret) = reader.secret(&selector.name, selector.optional).await? else {
            return Ok(None);
        };
        return match secret.data.as_ref().and_then(|data| data.get(&selector.key)) {
            Some(value) => reader.text(&selector.name, &selector.key, &value.0).map(Some),
            None => missing(selector.optional, "Secret", &selector.key, &selector.name),
        };
    }
    Err(EnvError::Unsupported(variable.to_owned()))
}

/// Reads each object once, so that a container sees one state of it.
struct Reader<'a> {
    objects: &'a Objects,
    namespace: &'a str,
    config_maps: BTreeMap<String, Option<Arc<ConfigMap>>>,
    secrets: BTreeMap<String, Option<Arc<Secret>>>,
}

impl<'a> Reader<'a> {
    fn new(objects: &'a Objects, namespace: &'a str) -> Self {
        Self { objects, namespace, config_maps: BTreeMap::new(), secrets: BTreeMap::new() }
    }

    async fn config_map(
        &mut self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Option<Arc<ConfigMap>>, EnvError> {
        if !self.config_maps.contains_key(name) {
            let found = self.objects.configmap(self.namespace, name).await?;
            self.config_maps.insert(name.to_owned(), found);
        }
        match self.config_maps.get(name).cloned().flatten() {
            None if !optional.unwrap_or(false) => Err(EnvError::ConfigMapNotFound(name.to_owned())),
            found => Ok(found),
        }
    }

    async fn secret(
        &mut self,
        name: &str,
        optional: Option<bool>,
    ) -> Result<Option<Arc<Secret>>, EnvError> {
        if !self.secrets.contains_key(name) {
            let found = self.objects.secret(self.namespace, name).await?;
            self.secrets.insert(name.to_owned(), found);
        }
        match self.secrets.get(name).cloned().flatten() {
            None if !optional.unwrap_or(false) => Err(EnvError::SecretNotFound(name.to_owned())),
            found => Ok(found),
        }
    }

    /// Environment variables travel to the runtime as text.
    fn text(&self, name: &str, key: &str, value: &[u8]) -> Result<String, EnvError> {
        String::from_utf8(value.to_vec()).map_err(|_| EnvError::NotText {
            key: key.to_owned(),
            namespace: self.namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests;
