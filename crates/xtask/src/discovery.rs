//! `cargo xtask discovery`: what is served under which name, and which columns it prints.
//!
//! Output, `crates/resources/data/resources.json`, one resource a line:
//!
//! ```json
//! {"version":"1.36","groups":[
//!  {"group":"apps","versions":["v1"],"resources":[
//!   {"version":"v1","name":"deployments","singular":"deployment","kind":"Deployment",
//!    "namespaced":true,"verbs":["create"],"shortNames":["deploy"],"categories":["all"],
//!    "subresources":[{"name":"scale","kind":"Scale","verbs":["get"],
//!                     "group":"autoscaling","version":"v1"}],
//!    "columns":[{"name":"Name","type":"string","format":"name","priority":0}]}]}]}
//! ```
//!
//! `versions` is in order of preference. `group` and `version` of a subresource are given
//! only where they differ from the parent's. `columns` is absent where the default table
//! (Name, Created At) applies; the values of the cells are code in `resources::columns`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
struct Discovery {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    group: String,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    resources: Vec<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Printers {
    kinds: std::collections::BTreeMap<String, Printer>,
}

#[derive(Deserialize)]
struct Printer {
    columns: Vec<Column>,
}

#[derive(Deserialize, Serialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    format: String,
    #[serde(default)]
    priority: i32,
}

/// Columns after the name, texts unless said otherwise, of kinds whose columns the facts do not know
/// or have from before this release.
const COLUMNS: [(&str, &[&str]); 5] = [
    (
        "certificates.k8s.io/PodCertificateRequest",
        &["PodName", "ServiceAccountName", "NodeName", "SignerName", "State"],
    ),
    ("resource.k8s.io/DeviceTaintRule", &["Key", "Value", "Effect", "TimeAdded", "Age"]),
    (
        "resource.k8s.io/ResourcePoolStatusRequest",
        &[
            "Driver",
            "Total",
            "Available",
            "Allocated",
            "Unavailable",
            "Errors",
            "Pools:integer",
            "Status",
            "Completed",
        ],
    ),
    ("scheduling.k8s.io/PodGroup", &["Policy", "Workload", "Status", "Age"]),
    ("storagemigration.k8s.io/StorageVersionMigration", &["Resource", "Status"]),
];

/// The table, relative to the workspace.
const TARGET: &str = "crates/resources/data/resources.json";

/// Reads the facts in `from` and writes the table below `root`.
pub(crate) fn generate(root: &Path, from: &Path) -> Result<()> {
    let text = convert(from)?;
    crate::write_generated(&root.join(TARGET), &text)
}

fn convert(from: &Path) -> Result<String> {
    let source = newest(from, "-discovery.json")?;
    let discovery: Discovery = serde_json::from_slice(&std::fs::read(&source)?)
        .with_context(|| format!("reading {}", source.display()))?;
    let source = from.join("printer-columns.json");
    let printers: Printers = serde_json::from_slice(&std::fs::read(&source)?)
        .with_context(|| format!("reading {}", source.display()))?;

    let mut out = String::from("{\"groups\":[");
    for (i, group) in discovery.groups.iter().enumerate() {
        let versions: Vec<&str> = group.versions.iter().map(|v| v.version.as_str()).collect();
        write!(out, "{}", if i == 0 { "\n" } else { ",\n" })?;
        let (name, versions) = (json!(group.group), json!(versions));
        write!(out, "{{\"group\":{name},\"versions\":{versions},\"resources\":[")?;
        let mut first = true;
        for version in &group.versions {
            for resource in &version.resources {
                let mut line = Map::new();
                line.insert("version".into(), json!(version.version));
                line.extend(resource.clone());
                let kind = resource.get("kind").and_then(Value::as_str).unwrap_or_default();
                let key = match group.group.as_str() {
                    "" => kind.to_owned(),
                    g => format!("{g}/{kind}"),
                };
                if let Some(printer) = printers.kinds.get(&key) {
                    let mut columns = serde_json::to_value(&printer.columns)?;
                    if let Some((_, more)) = COLUMNS.iter().find(|(kind, _)| *kind == key) {
                        let more = more.iter().map(|column| {
                            let (name, kind) = column.split_once(':').unwrap_or((column, "string"));
                            json!({"name": name, "type": kind, "priority": 0})
                        });
                        let name = columns[0].take();
                        columns = std::iter::once(name).chain(more).collect();
                    }
                    line.insert("columns".into(), columns);
                }
                write!(out, "{}{}", if first { "\n" } else { ",\n" }, Value::Object(line))?;
                first = false;
            }
        }
        out.push_str("]}");
    }
    out.push_str("]}\n");
    Ok(out)
}

/// The file in `folder` whose name ends in `suffix`; the last one by name if there are several.
pub(crate) fn newest(folder: &Path, suffix: &str) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| format!("reading the folder {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    found.sort();
    found.pop().with_context(|| format!("no *{suffix} in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_table_is_current() {
        crate::check_generated(super::TARGET, super::convert);
    }
}
