//! `get` and `list`: answered from memory.

use std::borrow::Cow;

use http::StatusCode;

use super::options;
use super::represent::Form;
use crate::http::respond::Reply;
use crate::pipeline::{Call, Failure};
use crate::registry::{Body, Target};

/// One object.
pub(super) async fn get(call: &Call<'_>, target: &Target) -> Result<Reply, Failure> {
    let form = Form::of(call)?;
    let version = call.query.get("resourceVersion").unwrap_or(Cow::Borrowed(""));
    Ok(match call.api.registry.show(target, &version).await? {
        Body::Object(object) => form.object(StatusCode::OK, &target.resource, &object),
        Body::Value(value) => form.value(StatusCode::OK, &target.resource, value),
        Body::List(list) => form.list(&target.resource, list),
        Body::Status(status) => return Err(status),
    })
}

/// A collection.
pub(super) async fn list(call: &Call<'_>, target: &Target) -> Result<Reply, Failure> {
    let form = Form::of(call)?;
    let options = options::list(call)?;
    let list = call.api.registry.list(target, &options).await?;
    Ok(form.list(&target.resource, list))
}
