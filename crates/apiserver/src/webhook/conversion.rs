//! Conversion of custom resources by a webhook,
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-conversion>.
//!
//! Objects go there in a `ConversionReview` and come back in the same order. A webhook may change
//! everything but what identifies an object: of the metadata, only labels and annotations are
//! taken over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use machinery::field::{Error, ErrorList, Path};
use machinery::status::Status;
use machinery::{Value, meta, names};
use serde_json::{Map, json};

use super::answer::gvk;
use super::{Caller, ClientConfig};
use crate::registry::Failure;

const TIMEOUT: Duration = Duration::from_secs(30);

/// One definition's webhook.
#[derive(Debug)]
pub(crate) struct Converter {
    caller: Caller,
    config: Result<ClientConfig, String>,
    review: Option<Review>,
}

/// The forms of a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Review {
    V1,
    V1Beta1,
}

impl Review {
    fn api_version(self) -> &'static str {
        match self {
            Review::V1 => "apiextensions.k8s.io/v1",
            Review::V1Beta1 => "apiextensions.k8s.io/v1beta1",
        }
    }
}

impl Converter {
    /// The webhook that a definition's `spec.conversion.webhook` describes.
    pub(crate) fn new(caller: Caller, webhook: &Value) -> Self {
        let config = ClientConfig::from_value(&webhook["clientConfig"]);
        let versions = webhook["conversionReviewVersions"].as_array();
        let review = versions.into_iter().flatten().find_map(|version| match version.as_str() {
            Some("v1") => Some(Review::V1),
            Some("v1beta1") => Some(Review::V1Beta1),
            _ => None,
        });
        Self { caller, config: config.map_err(|error| error.to_string()), review }
    }

    /// The objects in another version, in the same order. All are of the same kind.
    pub(crate) async fn convert(
        self: Arc<Self>,
        objects: Vec<Value>,
        api_version: String,
    ) -> Result<Vec<Value>, Failure> {
        let Some(first) = objects.first() else { return Ok(objects) };
        let what = gvk(first);
        let failure = |text: String| Failure::from(Status::failure(500, "", text));
        let failed = |why: &dyn std::fmt::Display| {
            failure(format!("conversion webhook for {what} failed: {why}"))
        };
        let config = self.config.as_ref().map_err(|error| failed(error))?;
        let Some(review) = self.review else {
            return Err(failure("no supported conversion review versions".to_owned()));
        };
        let uid = uuid::Uuid::new_v4().to_string();
        let request = json!({
            "kind": "ConversionReview",
            "apiVersion": review.api_version(),
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": objects},
        });
        let body = request.to_string().into();
        let answer = self.caller.call(config, body, TIMEOUT).await.map_err(|e| failed(&e))?;
        let converted = converted_objects(review, &uid, answer).map_err(|why| failed(&why))?;
        if converted.len() != objects.len() {
            let (found, expected) = (converted.len(), objects.len());
            return Err(failure(format!(
                "conversion webhook for {what} returned {found} objects, expected {expected}"
            )));
        }
        let pairs = objects.iter().zip(converted).enumerate();
        pairs
            .map(|(at, (original, converted))| {
                accept(original, converted, &api_version).map_err(|(part, why)| {
                    failure(format!(
                        "conversion webhook for {what} returned invalid {part} at index {at}: {why}"
                    ))
                })
            })
            .collect()
    }
}

/// The objects in an answer that means success.
fn converted_objects(review: Review, uid: &str, mut answer: Value) -> Result<Vec<Value>, String> {
    let given = gvk(&answer);
    if review == Review::V1 && given != format!("{}, Kind=ConversionReview", review.api_version()) {
        let expected = format!("{}, Kind=ConversionReview", review.api_version());
        return Err(format!("expected webhook response of {expected}, got {given}"));
    }
    let Some(response) = answer.get_mut("response").filter(|response| response.is_object()) else {
        return Err("no response provided".to_owned());
    };
    let text = |pointer: &str| response.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    // The older form never had to repeat it.
    if review == Review::V1 && text("/uid") != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", text("/uid")));
    }
    let status = text("/result/status");
    if status != "Success" {
        let message = text("/result/message");
        return Err(match message {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    match response.get_mut("convertedObjects").map(Value::take) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(objects)) => Ok(objects),
        Some(_) => Err("response.convertedObjects is not a list".to_owned()),
    }
}

/// A converted object with the metadata of the original. The refusal says which part is wrong.
fn accept(
    original: &Value,
    mut converted: Value,
    api_version: &str,
) -> Result<Value, (&'static str, String)> {
    let wrong = |why: String| ("converted object", why);
    let Some(fields) = converted.as_object() else {
        return Err(wrong(format!("expected an object, got {}", go_type(&converted))));
    };
    let text = |object: &Value, field: &str| {
        object.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    if text(&converted, "apiVersion") != api_version {
        let found = text(&converted, "apiVersion");
        return Err(wrong(format!(
            "invalid groupVersion (expected {api_version}, received {found})"
        )));
    }
    let (expected, found) = (meta::kind(original), text(&converted, "kind"));
    if expected != found {
        return Err(wrong(format!("invalid kind (expected {expected}, received {found})")));
    }
    let (original_meta, found_meta) = (original.get("metadata"), fields.get("metadata"));
    for (field, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let of = |metadata: Option<&Value>| metadata.map(|m| text(m, field)).unwrap_or_default();
        let (expected, found) = (of(original_meta), of(found_meta));
        if expected != found {
            return Err(wrong(format!("must have the same {name}: {expected} != {found}")));
        }
    }
    let metadata =
        restored(original_meta, found_meta).map_err(|why| ("metadata in object", why))?;
    converted["metadata"] = Value::Object(metadata);
    Ok(converted)
}

/// The original's metadata with the labels and annotations of the converted object.
fn restored(original: Option<&Value>, found: Option<&Value>) -> Result<Map<String, Value>, String> {
    let found = match found {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(found)) => found,
        Some(other) => {
            return Err(format!("invalid metadata of type {} in converted object", go_type(other)));
        }
    };
    let mut metadata = original.and_then(Value::as_object).cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        let given = match found.get(field) {
            None | Some(Value::Null) => {
                metadata.shift_remove(field);
                continue;
            }
            Some(Value::Object(given)) => given,
            Some(other) => {
                let kind = go_type(other);
                return Err(format!("invalid metadata.{field} of type {kind} in converted object"));
            }
        };
        for (key, value) in given {
            if !value.is_string() {
                return Err(format!(
                    "metadata.{field}[{key}] must be a string, but is {} in converted object",
                    go_type(value)
                ));
            }
        }
        let before = metadata.get(field).and_then(Value::as_object);
        if before.is_none_or(|before| before != given) {
            check_map(field, given)?;
        }
        // Sorted, as everything that is stored.
        let sorted: BTreeMap<_, _> = given.iter().collect();
        let sorted = sorted.into_iter().map(|(key, value)| (key.clone(), value.clone()));
        metadata.insert(field.to_owned(), Value::Object(sorted.collect()));
    }
    Ok(metadata)
}

/// What a client may not write, a webhook may not either.
fn check_map(field: &'static str, given: &Map<String, Value>) -> Result<(), String> {
    let mut errors = ErrorList::new();
    let path = Path::new("metadata").child(field);
    for (key, value) in given {
        let value = value.as_str().unwrap_or_default();
        let (key_problems, value_problems) = match field {
            "labels" => (names::qualified_name(key), names::label_value(value)),
            _ => (names::qualified_name(&key.to_lowercase()), Vec::new()),
        };
        for problem in key_problems {
            errors.push(Error::invalid(&path, key.as_str(), problem));
        }
        for problem in value_problems {
            errors.push(Error::invalid(&path, value, problem));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.aggregate()) }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests;
