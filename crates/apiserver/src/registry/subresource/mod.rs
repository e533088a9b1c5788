//! Subresources that take an object of another kind: `scale`, `binding`, `eviction`.

mod binding;
mod eviction;
mod scale;

use machinery::Value;
use machinery::status::Status;

pub(super) use self::scale::scale_of;
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
}

/// What a request answers that did its work and has no object to show.
fn success() -> Outcome {
    let mut status = Status::success(None);
    status.code = 201;
    Outcome { code: 201, body: Body::Status(status.into()) }
}
