//! `events.k8s.io/v1` Event and core `v1` Event: the same fields under other names.

use machinery::Value;
use machinery::schema;
use serde_json::{Map, json};

/// Newer name, older name.
const RENAMED: [(&str, &str); 6] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];
const RENAMED_BACK: [(&str, &str); 2] =
    [("reportingController", "reportingComponent"), ("reportingInstance", "reportingInstance")];

pub(super) fn to_core(event: &mut Value) {
    rename(event, "v1", |name| {
        let pairs = RENAMED.iter().chain(&RENAMED_BACK);
        pairs.clone().find(|(newer, _)| *newer == name).map(|(_, older)| *older)
    });
}

pub(super) fn from_core(event: &mut Value) {
    rename(event, "events.k8s.io/v1", |name| {
        let pairs = RENAMED.iter().chain(&RENAMED_BACK);
        pairs.clone().find(|(_, older)| *older == name).map(|(newer, _)| *newer)
    });
}

/// Renames members and puts them into the order of the new type.
fn rename(event: &mut Value, api_version: &str, new_name: impl Fn(&str) -> Option<&'static str>) {
    let Some(fields) = event.as_object_mut() else {
        return;
    };
    let mut renamed = Map::new();
    for (name, value) in std::mem::take(fields) {
        let name = new_name(&name).map_or(name, str::to_owned);
        renamed.insert(name, value);
    }
    renamed.insert("apiVersion".to_owned(), json!(api_version));
    let group = if api_version == "v1" { "" } else { "events.k8s.io" };
    let ty = schema::builtin().kind(group, "v1", "Event");
    for field in ty.into_iter().flat_map(|ty| ty.fields()) {
        if let Some(value) = renamed.shift_remove(field.name()) {
            fields.insert(field.name().to_owned(), value);
        }
    }
    fields.extend(renamed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let newer = json!({"kind": "Event", "apiVersion": "events.k8s.io/v1",
            "metadata": {"name": "e"}, "eventTime": "2024-01-01T00:00:00.000000Z",
            "reportingController": "c", "reportingInstance": "i", "action": "a", "reason": "r",
            "regarding": {"kind": "Pod"}, "note": "n", "type": "Normal"});
        let mut event = newer.clone();
        to_core(&mut event);
        assert_eq!(event["involvedObject"]["kind"], "Pod");
        assert_eq!(event["reportingComponent"], "c");
        assert_eq!(event["message"], "n");
        assert_eq!(event["apiVersion"], "v1");
        from_core(&mut event);
        assert_eq!(event, newer);
    }
}
