//! Subresources that take an object of another kind: `scale`, `binding`, `eviction`.

mod binding;
mod eviction;
mod scale;

use machinery::status::Status;
use machinery::{Value, meta};
use serde_json::json;

pub(super) use self::scale::shown_scale;
use super::admission::Attributes;
use super::{Body, Context, Failure, Outcome, Registry, Target, WriteOptions};

impl Registry {
    /// A post to a subresource, or to the old path of bindings.
    pub(super) async fn post_subresource(
        &self,
        context: &Context,
        target: &Target,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Outcome, Failure> {
        match (target.resource.name.as_str(), target.subresource.as_str()) {
            ("pods", "binding") | ("bindings", "") => {
                self.bind(context, target, object, options).await
            }
            ("pods", "eviction") => self.evict(context, target, object, options).await,
            _ => {
                let resource = target.resource.group_resource();
                Err(Status::method_not_supported(&resource, "create").into())
            }
        }
    }

    /// Admission of what is posted to a subresource, which may change it.
    async fn admit_post(
        &self,
        context: &Context,
        target: &Target,
        name: &str,
        subresource: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Value, Failure> {
        let attributes = Attributes::create(self, context, target, name, object, options);
        let mut attributes = Attributes { subresource, ..attributes };
        self.admit_only(&mut attributes).await?;
        Ok(attributes.object.take().unwrap_or_default())
    }
}

/// An object that is posted to a subresource has the name that the URL says, or none.
fn check_name(target: &Target, object: &Value, kind: &str) -> Result<(), Failure> {
    let name = meta::name(object);
    if name.is_empty() || name == target.name {
        return Ok(());
    }
    let text = format!("name in URL does not match name in {kind} object");
    Err(Status::bad_request(text).into())
}

/// Gives a Pod a condition that is true. Since when is kept if it was true before.
fn set_true(pod: &mut Value, mut condition: Value, now: &str) {
    let status = &mut pod["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let before = conditions.iter_mut().find(|before| before["type"] == condition["type"]);
    let since = before.as_ref().filter(|before| before["status"] == "True");
    let since = since.map_or_else(|| now.into(), |before| before["lastTransitionTime"].clone());
    condition["status"] = "True".into();
    condition["lastProbeTime"] = Value::Null;
    condition["lastTransitionTime"] = since;
    match before {
        Some(before) => *before = condition,
        None => conditions.push(condition),
    }
}

/// What a request answers that did its work and has no object to show.
fn success() -> Outcome {
    let mut status = Status::success(None);
    status.code = 201;
    Outcome { code: 201, body: Body::Status(status.into()) }
}
