//! The objects that are written, made once and then only numbered: the generator must not be
//! slower than the server.

use bytes::Bytes;
use machinery::Value;
use machinery::codec::protobuf;
use serde_json::json;

use crate::connection::{Error, Format};

/// Bytes of data in each ConfigMap.
pub(super) const SIZE: usize = 1024;
/// Objects are spread over so many values of the label [`GROUP`].
pub(super) const GROUPS: usize = 100;
/// The label by which ConfigMaps are selected.
pub(super) const GROUP: &str = "bench.ironclad/group";
/// Pods are spread over so many nodes, which do not exist.
pub(super) const NODES: usize = 100;

const DIGITS: usize = 8;
const NUMBER: &str = "00000000";
/// What stands before the time in an object that says when it was written.
const STAMP: &str = "sent-ns:";
const STAMP_DIGITS: usize = 20;

/// An encoded object in which every [`NUMBER`] is a place for a number.
#[derive(Clone, Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    numbers: Vec<usize>,
    groups: Vec<usize>,
    stamp: Option<usize>,
}

/// A ConfigMap with 1 KiB of data and a label.
pub(super) fn config_map() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name(0), "labels": {GROUP: group(0)}},
        "data": {"payload": "x".repeat(SIZE)},
    })
}

/// A ConfigMap that says when it was sent, for those who watch it.
pub(super) fn stamped() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name(0)},
        "data": {"at": format!("{STAMP}{}", "0".repeat(STAMP_DIGITS))},
    })
}

/// The plural of the custom objects' kind.
pub(super) const CUSTOM: &str = "widgets";

/// What defines the custom objects, in a group.
pub(super) fn definition(group: &str) -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"payload": {"type": "string"}}},
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{CUSTOM}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": CUSTOM, "singular": "widget", "kind": "Widget"},
            "versions": [
                {"name": "v1", "served": true, "storage": true,
                 "schema": {"openAPIV3Schema": schema}},
            ],
        },
    })
}

/// Whether an event's definition is served.
pub(super) fn is_established(event: Value) -> bool {
    let conditions = event["object"]["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}

/// A custom object with 1 KiB of data.
pub(super) fn custom(group: &str) -> Value {
    json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "Widget",
        "metadata": {"name": name(0)},
        "spec": {"payload": "x".repeat(SIZE)},
    })
}

/// A Pod on one of [`NODES`].
pub(super) fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name(number), "labels": {"app": "bench"}},
        "spec": {
            "nodeName": node(number),
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "c",
                "image": "registry.invalid/nothing:1",
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "ports": [{"containerPort": 80, "name": "http"}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            }],
        },
    })
}

/// The name of an object by its number.
pub(super) fn name(number: usize) -> String {
    format!("c-{number:0DIGITS$}")
}

/// The name of a node by a Pod's number.
pub(super) fn node(number: usize) -> String {
    format!("bench-node-{:02}", number % NODES)
}

/// The value of the label [`GROUP`] by an object's number.
pub(super) fn group(number: usize) -> String {
    format!("group-{:02}", number % GROUPS)
}

/// The time, in nanoseconds, that an event's object was sent at.
pub(super) fn stamp(event: &[u8]) -> Option<u64> {
    let at = find(event, STAMP.as_bytes(), 0)? + STAMP.len();
    std::str::from_utf8(event.get(at..at + STAMP_DIGITS)?).ok()?.parse().ok()
}

fn find(bytes: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    bytes[from..].windows(wanted.len()).position(|part| part == wanted).map(|at| from + at)
}

fn find_all(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    while let Some(at) = find(bytes, wanted, found.last().map_or(0usize, |last: &usize| *last + 1))
    {
        found.push(at);
    }
    found
}

impl Template {
    pub(super) fn new(object: &Value, format: Format) -> Result<Self, Error> {
        let bytes = match format {
            Format::Json => object.to_string().into_bytes(),
            Format::Protobuf => protobuf::encode_builtin(object)?,
        };
        let behind = |places: Vec<usize>, prefix: &str| -> Vec<usize> {
            places.into_iter().map(|at| at + prefix.len()).collect()
        };
        let numbers = behind(find_all(&bytes, name(0).as_bytes()), "c-");
        let groups = behind(find_all(&bytes, group(0).as_bytes()), "group-");
        let stamp = find(&bytes, STAMP.as_bytes(), 0).map(|at| at + STAMP.len());
        Ok(Self { bytes, numbers, groups, stamp })
    }

    /// The object of a number.
    pub(super) fn numbered(&self, number: usize) -> Bytes {
        self.filled(number, 0)
    }

    /// The object of a number, sent at a time in nanoseconds.
    pub(super) fn sent_at(&self, number: usize, nanoseconds: u64) -> Bytes {
        self.filled(number, nanoseconds)
    }

    fn filled(&self, number: usize, nanoseconds: u64) -> Bytes {
        let mut bytes = self.bytes.clone();
        let mut put = |at: usize, mut number: u64, digits: usize| {
            for place in bytes[at..at + digits].iter_mut().rev() {
                *place = b'0' + u8::try_from(number % 10).expect("one digit");
                number /= 10;
            }
        };
        for at in &self.numbers {
            put(*at, number as u64, NUMBER.len());
        }
        for at in &self.groups {
            put(*at, (number % GROUPS) as u64, 2);
        }
        if let Some(at) = self.stamp {
            put(at, nanoseconds, STAMP_DIGITS);
        }
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_objects_are_what_they_would_be_if_made_one_by_one() {
        let mut expected = config_map();
        expected["metadata"]["name"] = name(4711).into();
        expected["metadata"]["labels"][GROUP] = group(4711).into();
        for format in [Format::Json, Format::Protobuf] {
            let template = Template::new(&config_map(), format).unwrap();
            let whole = Template::new(&expected, format).unwrap();
            assert_eq!(template.numbered(4711), whole.bytes, "{format:?}");
        }
    }

    #[test]
    fn the_time_is_found_in_both_forms() {
        for format in [Format::Json, Format::Protobuf] {
            let template = Template::new(&stamped(), format).unwrap();
            assert_eq!(stamp(&template.sent_at(7, 123_456_789_012)), Some(123_456_789_012));
        }
        assert_eq!(stamp(b"{}"), None);
        assert_eq!(stamp(STAMP.as_bytes()), None);
    }
}
