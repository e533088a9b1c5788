//! `resource.k8s.io/v1beta1` and `/v1`: the older form says beside a request's name what is asked
//! for, where the newer one has `exactly`, and what a device is like below `basic`.

use machinery::Value;
use serde_json::{Map, json};

const NAME: &str = "name";
const CHOICES: &str = "firstAvailable";

pub(crate) fn to_v1(object: &mut Value) {
    object["apiVersion"] = json!("resource.k8s.io/v1");
    each(object, nest, |device| {
        if let Some(Value::Object(basic)) = device.shift_remove("basic") {
            device.extend(basic);
        }
    });
}

pub(crate) fn from_v1(object: &mut Value) {
    object["apiVersion"] = json!("resource.k8s.io/v1beta1");
    each(object, flatten, |device| {
        let (named, rest): (Fields, Fields) =
            std::mem::take(device).into_iter().partition(|(name, _)| name == NAME);
        *device = named;
        device.insert("basic".to_owned(), Value::Object(rest));
    });
}

type Fields = Map<String, Value>;

/// Changes all requests of a claim or a template, or all devices of a slice.
fn each(object: &mut Value, request: fn(&mut Fields), device: fn(&mut Fields)) {
    let (list, change) = match object.get("kind").and_then(Value::as_str) {
        Some("ResourceSlice") => ("/spec/devices", device),
        Some("ResourceClaimTemplate") => ("/spec/spec/devices/requests", request),
        Some("ResourceClaim") => ("/spec/devices/requests", request),
        _ => return,
    };
    let items = object.pointer_mut(list).and_then(Value::as_array_mut);
    items.into_iter().flatten().filter_map(Value::as_object_mut).for_each(change);
}

/// Puts what a request asks for into `exactly`, unless it offers choices and nothing else.
fn nest(request: &mut Fields) {
    let (mut outer, mut exactly): (Fields, Fields) =
        std::mem::take(request).into_iter().partition(|(name, _)| name == NAME);
    let choices = exactly.shift_remove_entry(CHOICES);
    if !exactly.is_empty() || choices.is_none() {
        outer.insert("exactly".to_owned(), Value::Object(exactly));
    }
    outer.extend(choices);
    *request = outer;
}

fn flatten(request: &mut Fields) {
    for (name, value) in std::mem::take(request) {
        match value {
            Value::Object(exactly) if name == "exactly" => request.extend(exactly),
            value => drop(request.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let check = |kind: &str, path: &str, older: Value, newer: Value| {
            let object = |version: &str, items: &Value| {
                let inner =
                    path.rsplit('/').fold(json!([items]), |value, name| json!({name: value}));
                let mut object =
                    json!({"kind": kind, "apiVersion": format!("resource.k8s.io/{version}")});
                object.as_object_mut().unwrap().extend(inner.as_object().unwrap().clone());
                object
            };
            let mut converted = object("v1beta1", &older);
            to_v1(&mut converted);
            assert_eq!(converted.to_string(), object("v1", &newer).to_string());
            from_v1(&mut converted);
            assert_eq!(converted.to_string(), object("v1beta1", &older).to_string());
        };
        let requests = "spec/devices/requests";
        check(
            "ResourceClaim",
            requests,
            json!({"name": "a", "deviceClassName": "c", "count": 1}),
            json!({"name": "a", "exactly": {"deviceClassName": "c", "count": 1}}),
        );
        let choices = json!({"name": "a", "firstAvailable": [{"name": "b"}]});
        check("ResourceClaim", requests, choices.clone(), choices.clone());
        check("ResourceClaimTemplate", "spec/spec/devices/requests", choices.clone(), choices);
        check("ResourceClaim", requests, json!({"name": "a"}), json!({"name": "a", "exactly": {}}));
        check(
            "ResourceSlice",
            "spec/devices",
            json!({"name": "d", "basic": {"attributes": {"x": {"int": 1}}, "allNodes": true}}),
            json!({"name": "d", "attributes": {"x": {"int": 1}}, "allNodes": true}),
        );
        check(
            "ResourceSlice",
            "spec/devices",
            json!({"name": "d", "basic": {}}),
            json!({"name": "d"}),
        );
    }
}
