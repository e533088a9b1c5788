//! From a request that may go ahead to its answer.
//!
//! Objects of all kinds share the handlers [`read`], [`write`] and [`watch`]; the rest has no
//! object in the store behind it.

pub mod body;
pub mod identity;
mod non_resource;
mod options;
mod read;
mod represent;
mod socket;
mod streams;
mod watch;
mod write;

use std::sync::Arc;

use hyper::body::Incoming;
use machinery::status::Status;

pub use streams::{KubeletError, Kubelets};
pub(crate) use streams::{passed_on, without_credentials};

use crate::aggregation;
use crate::http::respond::{self, Reply};
use crate::pipeline::{Call, Failure};
use crate::registry::{Resource, Target};
use crate::reviews;

/// The release by which deprecations are judged.
const RELEASE: &str = "1.36";

/// Routes a request to its handler.
///
/// # Errors
/// Whatever the handler has to say to the client.
pub async fn dispatch(call: &mut Call<'_>, body: Incoming) -> Result<Reply, Failure> {
    let info = call.info;
    if let Some(backend) = call.api.aggregation.backend(info.path) {
        return Box::pin(aggregation::pass(call, &backend, body)).await;
    }
    if !info.is_resource {
        return non_resource::dispatch(call).await;
    }
    let registry = &call.api.registry;
    let Some(resource) = registry.resource(info.group, info.version, info.resource) else {
        return Ok(respond::page_not_found());
    };
    if !is_in_scope(call, &resource) {
        return Ok(respond::page_not_found());
    }
    let verbs = match info.subresource {
        "" => &resource.verbs,
        name => match resource.subresources.iter().find(|sub| sub.name == name) {
            Some(subresource) => &subresource.verbs,
            None => return Ok(respond::page_not_found()),
        },
    };
    if needs_the_present(call) {
        registry.catch_up_with_others().await?;
    }
    if let ("proxy", _) | (_, "proxy" | "exec" | "attach" | "portforward") =
        (info.verb, info.subresource)
    {
        return Box::pin(streams::connect(call, body)).await;
    }
    let verb = info.verb;
    let everywhere_only_reads =
        resource.namespaced && info.namespace.is_empty() && !matches!(verb, "list" | "watch");
    let served = verbs.iter().any(|v| *v == verb);
    // Objects are made in their collection and changed by name.
    let named = !info.path_name().is_empty();
    let misplaced = match verb {
        "create" => named && info.subresource.is_empty(),
        "update" | "patch" | "delete" => !named,
        _ => false,
    };
    if verb == "create" && !served && !misplaced && resource.published.is_some() {
        // Custom objects can be made unless their definition goes away.
        let mut refusal = Status::method_not_supported(&resource.group_resource(), verb);
        refusal.message =
            "create not allowed while custom resource definition is terminating".to_owned();
        return Err(Box::new(refusal));
    }
    if !served || everywhere_only_reads || misplaced {
        return Err(Box::new(Status::method_not_allowed()));
    }
    warn_deprecated(call, &resource);
    if reviews::is_review(info.group, info.resource) {
        return Box::pin(reviews::answer(call, &resource, body)).await;
    }
    match (info.resource, info.subresource) {
        ("pods", "log") => return Box::pin(streams::log(call)).await,
        ("serviceaccounts", "token") => return Box::pin(identity::create_token(call, body)).await,
        _ => {}
    }
    let target = target(call, &resource);
    // Writes are boxed so that the future of a read, which is moved about, stays small.
    match verb {
        "get" => read::get(call, &target).await,
        "list" => read::list(call, &target).await,
        "watch" => Box::pin(watch::watch(call, &target)).await,
        "create" => Box::pin(write::create(call, &target, body)).await,
        "update" => Box::pin(write::update(call, &target, body)).await,
        "patch" => Box::pin(write::patch(call, &target, body)).await,
        "delete" => Box::pin(write::delete(call, &target, body)).await,
        "deletecollection" => Box::pin(write::delete_collection(call, &target, body)).await,
        _ => Err(Box::new(Status::method_not_allowed())),
    }
}

/// Whether the request depends on the newest state of objects without asking for it itself, as
/// gets and lists do.
fn needs_the_present(call: &Call<'_>) -> bool {
    match call.info.verb {
        "get" | "list" => !call.info.subresource.is_empty(),
        "watch" => call.query.non_empty("resourceVersion").is_none(),
        _ => true,
    }
}

/// Tells the client that the kind it uses will go away.
fn warn_deprecated(call: &Call<'_>, resource: &Resource) {
    if let Some(text) = &resource.deprecation {
        call.context.warnings.add(text.clone());
        return;
    }
    let life = resource.type_ref().lifecycle();
    if life.deprecated.is_some()
        && let Some(text) = life.warning(&resource.api_version(), &resource.kind, RELEASE)
    {
        call.context.warnings.add(text);
    }
}

/// A path with a namespace must be of a resource that has one, and one object of such a resource
/// can only be had with it.
fn is_in_scope(call: &Call<'_>, resource: &Resource) -> bool {
    let info = call.info;
    if resource.namespaced {
        return !info.namespace.is_empty() || info.path_name().is_empty();
    }
    info.namespace.is_empty()
        || (info.group.is_empty() && info.resource == "namespaces" && info.namespace == info.name)
}

fn target(call: &Call<'_>, resource: &Arc<Resource>) -> Target {
    let info = call.info;
    Target {
        resource: resource.clone(),
        namespace: if resource.namespaced { info.namespace.to_owned() } else { String::new() },
        name: info.path_name().to_owned(),
        subresource: info.subresource.to_owned(),
    }
}
