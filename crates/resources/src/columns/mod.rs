//! What `kubectl get` prints: column definitions from the data file, cells as pure functions of an
//! object and the time.

mod apps;
mod cell;
mod core;
mod node;
mod other;
mod pod;
mod service;
mod storage;

use std::borrow::Cow;
use std::sync::Arc;

use machinery::Value;
use machinery::meta;
use machinery::time::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::registration::Cells;

/// The table form of a kind.
#[derive(Clone)]
pub struct Columns {
    /// The columns, in order.
    pub definitions: Vec<ColumnDefinition>,
    /// The cells of an object's row, one per column.
    pub cells: Cells,
}

/// A column.
#[derive(Clone, Debug, Deserialize)]
pub struct ColumnDefinition {
    /// The heading, in mixed case.
    pub name: Cow<'static, str>,
    /// JSON type of the cells, or `date`.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// `name` marks the column that identifies the object.
    #[serde(default)]
    pub format: Cow<'static, str>,
    /// What the column tells.
    #[serde(default)]
    pub description: Cow<'static, str>,
    /// Above 0: only with `-o wide`.
    #[serde(default)]
    pub priority: i32,
}

// === impl Columns ===

impl Columns {
    /// The columns of a built-in kind.
    pub(crate) fn of_kind(group: &str, kind: &str, definitions: Vec<ColumnDefinition>) -> Self {
        if definitions.is_empty() {
            return Self::default();
        }
        let cells: fn(&Value, Timestamp) -> Vec<Value> = match (group, kind) {
            ("", "Pod") => pod::cells,
            ("", "Node") => node::cells,
            ("", "Service") => service::cells,
            ("", "Endpoints") => service::endpoints,
            ("discovery.k8s.io", "EndpointSlice") => service::endpoint_slice,
            ("networking.k8s.io", "Ingress") => service::ingress,
            ("apps", "Deployment") => apps::deployment,
            ("apps", "ReplicaSet") => apps::replica_set,
            ("", "ReplicationController") => apps::replica_set,
            ("apps", "DaemonSet") => apps::daemon_set,
            ("apps", "StatefulSet") => apps::stateful_set,
            ("apps", "ControllerRevision") => apps::controller_revision,
            ("batch", "Job") => apps::job,
            ("batch", "CronJob") => apps::cron_job,
            ("autoscaling", "HorizontalPodAutoscaler") => apps::hpa,
            ("policy", "PodDisruptionBudget") => apps::pdb,
            ("", "PodTemplate") => apps::pod_template,
            ("", "PersistentVolume") => storage::persistent_volume,
            ("", "PersistentVolumeClaim") => storage::persistent_volume_claim,
            ("storage.k8s.io", _) => match storage::of_kind(kind) {
                Some(cells) => cells,
                None => return Self::default(),
            },
            ("" | "events.k8s.io", "Event") => core::event,
            ("", _) => match core::of_kind(kind) {
                Some(cells) => cells,
                None => return Self::default(),
            },
            (group, kind) => match other::of_kind(group, kind) {
                Some(cells) => cells,
                // Name and age, the form that data of later kinds has.
                None if definitions.len() == 2 && definitions[1].name == "Age" => other::name_age,
                None => return Self::default(),
            },
        };
        Self { definitions, cells: Arc::new(cells) }
    }
}

impl Default for Columns {
    /// Name and time of creation.
    fn default() -> Self {
        let column =
            |name: &'static str, kind: &'static str, format: &'static str| ColumnDefinition {
                name: name.into(),
                kind: kind.into(),
                format: format.into(),
                description: "".into(),
                priority: 0,
            };
        Self {
            definitions: vec![column("Name", "string", "name"), column("Created At", "date", "")],
            cells: Arc::new(|object, _| {
                let created = meta::creation_timestamp(object).unwrap_or("<unknown>");
                vec![json!(meta::name(object)), json!(created)]
            }),
        }
    }
}

/// Conditions of a row: a finished Pod's row says so.
pub fn row_conditions(group: &str, kind: &str, object: &Value) -> Vec<Value> {
    let phase = object.pointer("/status/phase").and_then(Value::as_str);
    match (group, kind, phase) {
        ("", "Pod", Some(phase @ ("Succeeded" | "Failed"))) => {
            let message = match phase {
                "Succeeded" => "The pod has completed successfully.",
                _ => "The pod failed.",
            };
            vec![
                json!({"type": "Completed", "status": "True", "reason": phase, "message": message}),
            ]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
