//! Gives Pods a service account, its token and its image pull secrets.

use machinery::{Value, meta};
use serde_json::{Map, json};

use super::{Plugin, forbidden, is};
use crate::authn::service_account::ADMISSION_SECONDS;
use crate::registry::{Attributes, Failure, Operation};

/// Where containers find the token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const DEFAULT: &str = "default";
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        if !is(attributes, Operation::Create, "", "pods") {
            return Ok(());
        }
        let Some(mut pod) = attributes.object.take() else { return Ok(()) };
        let result = admit(attributes, &mut pod);
        attributes.object = Some(pod);
        result.map_err(|detail| forbidden(attributes, detail))
    }
}

fn admit(attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), String> {
    if meta::annotation(pod, MIRROR).is_some() {
        return mirror(pod);
    }
    let name = match pod.pointer("/spec/serviceAccountName").and_then(Value::as_str) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => DEFAULT.to_owned(),
    };
    let namespace = attributes.namespace;
    let account = attributes.registry.cached("", "serviceaccounts", namespace, &name);
    let Some(account) = account else {
        return Err(format!(
            "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
        ));
    };
    let random = uuid::Uuid::new_v4();
    apply(pod, &account.value(), &volume_name(random.as_bytes()));
    Ok(())
}

/// Mirror Pods stand for what runs already: they can have nothing that the API would give them.
fn mirror(pod: &Value) -> Result<(), String> {
    let spec = &pod["spec"];
    if spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty()) {
        return Err("a mirror pod may not reference service accounts".to_owned());
    }
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    for volume in volumes {
        if volume.get("secret").is_some() {
            return Err("a mirror pod may not reference secrets".to_owned());
        }
        let sources = volume.pointer("/projected/sources").and_then(Value::as_array);
        if sources.into_iter().flatten().any(|s| s.get("serviceAccountToken").is_some()) {
            return Err(
                "a mirror pod may not use ServiceAccountToken volume projections".to_owned()
            );
        }
    }
    Ok(())
}

/// A name in the form that generated names have.
fn volume_name(random: &[u8]) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let tail = random.iter().take(5).map(|b| LETTERS[usize::from(*b) % LETTERS.len()] as char);
    VOLUME_PREFIX.chars().chain(tail).collect()
}

/// What an account means for a Pod.
fn apply(pod: &mut Value, account: &Value, volume: &str) {
    let name = meta::name(account).to_owned();
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    spec.insert("serviceAccountName".to_owned(), name.as_str().into());
    spec.insert("serviceAccount".to_owned(), name.into());
    let automount = spec
        .get("automountServiceAccountToken")
        .or_else(|| account.get("automountServiceAccountToken"))
        .and_then(Value::as_bool)
        .unwrap_or(true);
    if automount {
        mount(spec, volume);
    }
    let has_secrets =
        spec.get("imagePullSecrets").and_then(Value::as_array).is_some_and(|s| !s.is_empty());
    if !has_secrets && let Some(secrets) = account.get("imagePullSecrets") {
        spec.insert("imagePullSecrets".to_owned(), secrets.clone());
    }
}

fn mount(spec: &mut Map<String, Value>, volume: &str) {
    // A volume of ours is there already when a Pod is made from another's spec.
    let existing = spec.get("volumes").and_then(Value::as_array).into_iter().flatten();
    let existing = existing
        .filter(|volume| {
            let sources = volume.pointer("/projected/sources").and_then(Value::as_array);
            sources.into_iter().flatten().any(|s| s.get("serviceAccountToken").is_some())
        })
        .filter_map(|volume| volume.get("name")?.as_str())
        .find(|name| name.starts_with(VOLUME_PREFIX))
        .map(str::to_owned);
    let name = existing.clone().unwrap_or_else(|| volume.to_owned());
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            needed = true;
        }
    }
    if needed && existing.is_none() {
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.push(token_volume(volume));
        }
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": ADMISSION_SECONDS, "path": "token"}},
                {"configMap": {
                    "name": "kube-root-ca.crt",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                }},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
            "defaultMode": 420,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}]}})
    }

    #[test]
    fn tokens_are_mounted_where_nothing_is() {
        let account = json!({"metadata": {"name": "sa"}, "imagePullSecrets": [{"name": "s"}]});
        let mut pod = pod();
        apply(&mut pod, &account, "kube-api-access-x");
        let spec = &pod["spec"];
        assert_eq!(spec["serviceAccountName"], "sa");
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "s"}]));
        let mount =
            json!([{"name": "kube-api-access-x", "readOnly": true, "mountPath": MOUNT_PATH}]);
        assert_eq!(spec["containers"][0]["volumeMounts"], mount);
        assert_eq!(spec["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
        let once = pod.clone();
        apply(&mut pod, &account, "kube-api-access-y");
        assert_eq!(pod, once);
    }

    #[test]
    fn the_pod_has_the_last_word_on_mounting() {
        let account = json!({"metadata": {"name": "sa"}, "automountServiceAccountToken": false});
        let mut quiet = pod();
        apply(&mut quiet, &account, "v");
        assert_eq!(quiet["spec"].get("volumes"), None);
        let mut loud = pod();
        loud["spec"]["automountServiceAccountToken"] = true.into();
        apply(&mut loud, &account, "v");
        assert!(loud["spec"].get("volumes").is_some());
    }

    #[test]
    fn names_are_generated() {
        let name = volume_name(&[0, 1, 255, 3, 4, 5]);
        assert_eq!(name.len(), VOLUME_PREFIX.len() + 5);
        assert!(mirror(&json!({"spec": {"volumes": [{"secret": {}}]}})).is_err());
    }
}
