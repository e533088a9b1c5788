//! `get` and `list`: answered from memory.

use std::borrow::Cow;

use http::StatusCode;

use super::options;
use super::represent::Form;
use crate::http::respond::Reply;
use crate::pipeline::{Call, Failure};
use crate::registry::Target;

/// One object, or the part of it that a subresource shows.
pub(super) async fn get(call: &Call<'_>, target: &Target) -> Result<Reply, Failure> {
    let form = Form::of(call)?;
    let version = call.query.get("resourceVersion").unwrap_or(Cow::Borrowed(""));
    let body = call.api.registry.show(target, &version).await?;
    Ok(form.body(StatusCode::OK, &target.resource, body))
}

/// A collection.
pub(super) async fn list(call: &Call<'_>, target: &Target) -> Result<Reply, Failure> {
    let form = Form::of(call)?;
    let options = options::list(call)?;
    let list = call.api.registry.list(target, &options).await?;
    Ok(form.list(&target.resource, list))
}
