//! `get` and `list`: answered from memory.

use std::borrow::Cow;

use http::StatusCode;

use super::options;
use super::represent::Form;
use crate::cache::List;
use crate::component_status;
use crate::http::respond::Reply;
use crate::pipeline::{Call, Failure};
use crate::registry::{Body, Target};

/// One object, or the part of it that a subresource shows.
pub(super) async fn get(call: &Call<'_>, target: &Target) -> Result<Reply, Failure> {
    let form = Form::of(call, &target.resource)?;
    if let Some(failure) = form.refuse_metadata_list(&target.resource) {
        return Err(failure);
    }
    if is_asked_for(target) {
        let (registry, resource) = (&call.api.registry, &target.resource);
        let object = component_status::get(registry, resource, &target.name).await?;
        return Ok(form.body(StatusCode::OK, resource, Body::Object(object)).await);
    }
    let version = call.query.get("resourceVersion").unwrap_or(Cow::Borrowed(""));
    let body = call.api.registry.show(target, &version).await?;
    Ok(form.body(StatusCode::OK, &target.resource, body).await)
}

/// A collection.
pub(super) async fn list(call: &Call<'_>, target: &Target) -> Result<Reply, Failure> {
    let form = Form::of(call, &target.resource)?;
    if let Some(failure) = form.refuse_metadata_of_list(&target.resource) {
        return Err(failure);
    }
    let options = options::list(call)?;
    if is_asked_for(target) {
        let items = component_status::list(&call.api.registry, &target.resource).await?;
        let list = List { items: items.into(), ..List::default() };
        return Ok(form.list(&target.resource, list).await);
    }
    let list = call.api.registry.list(target, &options).await?;
    Ok(form.list(&target.resource, list).await)
}

/// The one resource whose objects are not stored.
fn is_asked_for(target: &Target) -> bool {
    target.resource.group.is_empty() && target.resource.name == "componentstatuses"
}
