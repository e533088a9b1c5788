//! Object metadata, read and written in place on a [`Value`].
//!
//! Absent, null and empty are the same here, as they are to a Go client.

use serde_json::{Map, Value};

/// A reference to an owning object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnerReference<'a> {
    /// Group and version of the owner.
    pub api_version: &'a str,
    /// Kind of the owner.
    pub kind: &'a str,
    /// Name of the owner.
    pub name: &'a str,
    /// UID of the owner.
    pub uid: &'a str,
    /// Whether the owner manages the object.
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for the object.
    pub block_owner_deletion: bool,
}

fn metadata(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata")?.as_object()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    metadata(object).and_then(|m| m.get(field)).and_then(Value::as_str).unwrap_or_default()
}

fn map<'a>(object: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
    metadata(object)?.get(field)?.as_object()
}

/// The metadata, made when absent.
///
/// # Panics
/// When `object` is not a JSON object; decoding has made sure of that.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    let fields = object.as_object_mut().expect("an API object is a JSON object");
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut().expect("made an object above")
}

/// `apiVersion`.
pub fn api_version(object: &Value) -> &str {
    object.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
}

/// `kind`.
pub fn kind(object: &Value) -> &str {
    object.get("kind").and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.generateName`.
pub fn generate_name(object: &Value) -> &str {
    text(object, "generateName")
}

/// `metadata.namespace`; empty for cluster-scoped objects.
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> &str {
    text(object, "resourceVersion")
}

/// `metadata.creationTimestamp`.
pub fn creation_timestamp(object: &Value) -> Option<&str> {
    Some(text(object, "creationTimestamp")).filter(|t| !t.is_empty())
}

/// `metadata.deletionTimestamp`.
pub fn deletion_timestamp(object: &Value) -> Option<&str> {
    Some(text(object, "deletionTimestamp")).filter(|t| !t.is_empty())
}

/// `metadata.deletionGracePeriodSeconds`.
pub fn deletion_grace_period_seconds(object: &Value) -> Option<i64> {
    metadata(object)?.get("deletionGracePeriodSeconds")?.as_i64()
}

/// `metadata.generation`, 0 when unset.
pub fn generation(object: &Value) -> i64 {
    metadata(object).and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or_default()
}

/// `metadata.labels`.
pub fn labels(object: &Value) -> Option<&Map<String, Value>> {
    map(object, "labels")
}

/// One label.
pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    labels(object)?.get(key)?.as_str()
}

/// `metadata.annotations`.
pub fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    map(object, "annotations")
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    annotations(object)?.get(key)?.as_str()
}

/// `metadata.finalizers`.
pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list(object, "finalizers").iter().filter_map(Value::as_str)
}

/// `metadata.ownerReferences`.
pub fn owner_references(object: &Value) -> impl Iterator<Item = OwnerReference<'_>> {
    list(object, "ownerReferences").iter().map(|reference| {
        let text = |field| reference.get(field).and_then(Value::as_str).unwrap_or_default();
        let flag = |field| reference.get(field).and_then(Value::as_bool).unwrap_or_default();
        OwnerReference {
            api_version: text("apiVersion"),
            kind: text("kind"),
            name: text("name"),
            uid: text("uid"),
            controller: flag("controller"),
            block_owner_deletion: flag("blockOwnerDeletion"),
        }
    })
}

/// The owner that manages the object.
pub fn controller_of(object: &Value) -> Option<OwnerReference<'_>> {
    owner_references(object).find(|reference| reference.controller)
}

fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    metadata(object)
        .and_then(|m| m.get(field))
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Sets a metadata field; an empty text removes it.
pub fn set_text(object: &mut Value, field: &str, value: impl Into<String>) {
    let value = value.into();
    let metadata = metadata_mut(object);
    if value.is_empty() {
        metadata.shift_remove(field);
    } else {
        metadata.insert(field.to_owned(), Value::String(value));
    }
}

/// Sets `metadata.name`.
pub fn set_name(object: &mut Value, name: impl Into<String>) {
    set_text(object, "name", name);
}

/// Sets `metadata.namespace`.
pub fn set_namespace(object: &mut Value, namespace: impl Into<String>) {
    set_text(object, "namespace", namespace);
}

/// Sets `metadata.uid`.
pub fn set_uid(object: &mut Value, uid: impl Into<String>) {
    set_text(object, "uid", uid);
}

/// Sets `metadata.resourceVersion`; empty removes it.
pub fn set_resource_version(object: &mut Value, version: impl Into<String>) {
    set_text(object, "resourceVersion", version);
}

/// Sets `metadata.creationTimestamp`.
pub fn set_creation_timestamp(object: &mut Value, time: impl Into<String>) {
    set_text(object, "creationTimestamp", time);
}

/// Sets `metadata.deletionTimestamp` and the grace period with it.
pub fn set_deletion(object: &mut Value, time: impl Into<String>, grace_seconds: i64) {
    set_text(object, "deletionTimestamp", time);
    metadata_mut(object).insert("deletionGracePeriodSeconds".to_owned(), grace_seconds.into());
}

/// Sets `metadata.generation`; 0 removes it.
pub fn set_generation(object: &mut Value, generation: i64) {
    let metadata = metadata_mut(object);
    if generation == 0 {
        metadata.shift_remove("generation");
    } else {
        metadata.insert("generation".to_owned(), generation.into());
    }
}

/// Sets one label.
pub fn set_label(object: &mut Value, key: &str, value: impl Into<String>) {
    set_entry(object, "labels", key, value.into());
}

/// Sets one annotation.
pub fn set_annotation(object: &mut Value, key: &str, value: impl Into<String>) {
    set_entry(object, "annotations", key, value.into());
}

fn set_entry(object: &mut Value, field: &str, key: &str, value: String) {
    let entries = metadata_mut(object).entry(field).or_insert_with(|| Value::Object(Map::new()));
    if !entries.is_object() {
        *entries = Value::Object(Map::new());
    }
    if let Some(entries) = entries.as_object_mut() {
        entries.insert(key.to_owned(), Value::String(value));
    }
}

/// Replaces `metadata.finalizers`; an empty list removes the field.
pub fn set_finalizers<S: Into<String>>(
    object: &mut Value,
    finalizers: impl IntoIterator<Item = S>,
) {
    let list: Vec<Value> = finalizers.into_iter().map(|f| Value::String(f.into())).collect();
    let metadata = metadata_mut(object);
    if list.is_empty() {
        metadata.shift_remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), Value::Array(list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": "p", "namespace": "n", "generation": 3, "labels": {"a": "b"},
        "annotations": null, "finalizers": ["x/y"],
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1"},
            {"apiVersion": "v1", "kind": "B", "name": "b", "uid": "2", "controller": true},
        ]}});
        assert_eq!((name(&pod), namespace(&pod), uid(&pod), generation(&pod)), ("p", "n", "", 3));
        assert_eq!(label(&pod, "a"), Some("b"));
        assert_eq!(annotation(&pod, "a"), None);
        assert_eq!(finalizers(&pod).collect::<Vec<_>>(), ["x/y"]);
        assert_eq!(controller_of(&pod).map(|o| o.uid), Some("2"));
        assert_eq!(deletion_timestamp(&pod), None);
    }

    #[test]
    fn writes() {
        let mut object = json!({});
        set_name(&mut object, "x");
        set_label(&mut object, "a", "b");
        set_finalizers(&mut object, ["f/g"]);
        set_generation(&mut object, 2);
        assert_eq!(
            object,
            json!({"metadata": {"name": "x", "labels": {"a": "b"}, "finalizers": ["f/g"], "generation": 2}})
        );
        set_finalizers::<String>(&mut object, []);
        set_generation(&mut object, 0);
        set_name(&mut object, "");
        assert_eq!(object, json!({"metadata": {"labels": {"a": "b"}}}));
    }
}
