//! What belongs into configMap, secret, downwardAPI and projected volumes.

use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, KeyToPath,
    Node, Pod, ProjectedVolumeSource, Secret, SecretVolumeSource, ServiceAccountTokenProjection,
    VolumeProjection,
};
use k8s_openapi::jiff::Timestamp;

use super::VolumeErrorKind;
use super::atomic::{File, Files};
use crate::downward;
use crate::objects::Objects;
use crate::seam::{PodIps, pod_uid};
use crate::token::{TokenKey, Tokens};

/// Mode of files for which none is given.
const DEFAULT_MODE: i32 = 0o644;
/// Mode of tokens that only one user or group may read.
const PRIVATE_MODE: u32 = 0o600;
/// Life of a token for which none is asked, in seconds.
const DEFAULT_EXPIRATION: i64 = 3600;

/// Where content comes from.
pub(super) struct Gather<'a> {
    pub(super) pod: &'a Pod,
    pub(super) ips: &'a PodIps,
    pub(super) objects: &'a Objects,
    pub(super) tokens: &'a Tokens,
    pub(super) node: Option<Arc<Node>>,
    pub(super) now: Timestamp,
}

type Result<T> = std::result::Result<T, VolumeErrorKind>;

impl Gather<'_> {
    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(super) async fn config_map_volume(&self, source: &ConfigMapVolumeSource) -> Result<Files> {
        let (items, mode) = (source.items.as_deref(), source.default_mode);
        self.config_map(&source.name, items, source.optional, mode).await
    }

    pub(super) async fn secret_volume(&self, source: &SecretVolumeSource) -> Result<Files> {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let (items, mode) = (source.items.as_deref(), source.default_mode);
        self.secret(name, items, source.optional, mode).await
    }

    pub(super) fn downward_volume(&self, source: &DownwardAPIVolumeSource) -> Result<Files> {
        self.downward(source.items.as_deref().unwrap_or_default(), source.default_mode)
    }

    /// Everything is tried, so that all that is missing is reported at once.
    pub(super) async fn projected_volume(&self, source: &ProjectedVolumeSource) -> Result<Files> {
        let mut files = Files::new();
        let mut errors = Vec::new();
        for projection in source.sources.iter().flatten() {
            match self.projection(projection, source.default_mode).await {
                Ok(found) => files.extend(found),
                Err(error) => errors.push(error),
            }
        }
        match errors.pop() {
            None => Ok(files),
            Some(only) if errors.is_empty() => Err(only),
            Some(last) => {
                errors.push(last);
                Err(VolumeErrorKind::Several(errors))
            }
        }
    }

    async fn projection(&self, source: &VolumeProjection, mode: Option<i32>) -> Result<Files> {
        if let Some(source) = &source.config_map {
            self.config_map(&source.name, source.items.as_deref(), source.optional, mode).await
        } else if let Some(source) = &source.secret {
            self.secret(&source.name, source.items.as_deref(), source.optional, mode).await
        } else if let Some(source) = &source.downward_api {
            self.downward(source.items.as_deref().unwrap_or_default(), mode)
        } else if let Some(source) = &source.service_account_token {
            self.token(source, mode).await
        } else if source.cluster_trust_bundle.is_some() {
            Err(VolumeErrorKind::Unsupported(
                "ClusterTrustBundle projection is not supported".into(),
            ))
        } else {
            Err(VolumeErrorKind::Unsupported("unknown projection in projected volume".into()))
        }
    }

    async fn config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<Files> {
        let optional = optional.unwrap_or(false);
        let found = self.objects.configmap(self.namespace(), name).await?;
        if found.is_none() && !optional {
            return Err(VolumeErrorKind::ConfigMapNotFound(name.to_owned()));
        }
        let entries = config_map_entries(found.as_deref());
        pick(&entries, items, optional, mode).map_err(VolumeErrorKind::ConfigMapKey)
    }

    async fn secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: Option<i32>,
    ) -> Result<Files> {
        let optional = optional.unwrap_or(false);
        let found = self.objects.secret(self.namespace(), name).await?;
        if found.is_none() && !optional {
            return Err(VolumeErrorKind::SecretNotFound(name.to_owned()));
        }
        let entries = secret_entries(found.as_deref());
        pick(&entries, items, optional, mode).map_err(VolumeErrorKind::SecretKey)
    }

    fn downward(&self, items: &[DownwardAPIVolumeFile], mode: Option<i32>) -> Result<Files> {
        let mut files = Files::new();
        for item in items {
            let text = if let Some(field) = &item.field_ref {
                match field.field_path.as_str() {
                    path @ ("status.podIP"
                    | "status.podIPs"
                    | "status.hostIP"
                    | "status.hostIPs"
                    | "spec.nodeName"
                    | "spec.serviceAccountName") => {
                        let node =
                            self.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
                        downward::env_field(self.pod, path, node.unwrap_or_default(), self.ips)?
                    }
                    path => downward::metadata_field(self.pod, path)?,
                }
            } else if let Some(selector) = &item.resource_field_ref {
                downward::resource_field(self.pod, selector, None, self.node.as_deref())?
            } else {
                continue;
            };
            let file =
                File { data: text.into_bytes(), mode: file_mode(item.mode, mode), owner: None };
            files.insert(item.path.clone(), file);
        }
        Ok(files)
    }

    async fn token(
        &self,
        source: &ServiceAccountTokenProjection,
        mode: Option<i32>,
    ) -> Result<Files> {
        let spec = self.pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.clone());
        let key = TokenKey {
            namespace: self.namespace().to_owned(),
            service_account: account
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "default".to_owned()),
            pod: self.pod.metadata.name.clone().unwrap_or_default(),
            uid: pod_uid(self.pod),
            audience: source.audience.clone().unwrap_or_default(),
            expiration_seconds: source.expiration_seconds.unwrap_or(DEFAULT_EXPIRATION),
        };
        let token = self.tokens.token(&key, self.now).await?;
        let owner = single_user(self.pod);
        let fs_group = spec.and_then(|spec| spec.security_context.as_ref()?.fs_group);
        let private = owner.is_some() || fs_group.is_some();
        let mode = if private { PRIVATE_MODE } else { file_mode(None, mode) };
        let file = File { data: token.into_bytes(), mode, owner };
        Ok(Files::from([(source.path.clone(), file)]))
    }
}

fn config_map_entries(map: Option<&ConfigMap>) -> Vec<(&str, &[u8])> {
    let Some(map) = map else { return Vec::new() };
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = map.binary_data.iter().flatten();
    text.chain(binary.map(|(key, ByteString(value))| (key.as_str(), value.as_slice()))).collect()
}

fn secret_entries(secret: Option<&Secret>) -> Vec<(&str, &[u8])> {
    let data = secret.into_iter().flat_map(|secret| secret.data.iter().flatten());
    data.map(|(key, ByteString(value))| (key.as_str(), value.as_slice())).collect()
}

/// The files for `entries`: all of them under their keys, or the chosen ones. The error is a chosen
/// key that does not exist.
fn pick(
    entries: &[(&str, &[u8])],
    items: Option<&[KeyToPath]>,
    optional: bool,
    mode: Option<i32>,
) -> std::result::Result<Files, String> {
    let file = |data: &[u8], own: Option<i32>| File {
        data: data.to_vec(),
        mode: file_mode(own, mode),
        owner: None,
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let all = entries.iter().map(|(key, data)| ((*key).to_owned(), file(data, None)));
        return Ok(all.collect());
    };
    let mut files = Files::new();
    for item in items {
        match entries.iter().find(|(key, _)| *key == item.key) {
            Some((_, data)) => {
                files.insert(item.path.clone(), file(data, item.mode));
            }
            None if optional => {}
            None => return Err(item.key.clone()),
        }
    }
    Ok(files)
}

fn file_mode(own: Option<i32>, default: Option<i32>) -> u32 {
    own.or(default).unwrap_or(DEFAULT_MODE) as u32 & 0o7777
}

/// The one user as which all containers run, if there is one.
fn single_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let for_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut users = containers.map(|container| {
        container.security_context.as_ref().and_then(|own| own.run_as_user).or(for_pod)
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}
