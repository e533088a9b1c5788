//! `create`, `update`, `patch`, `delete` and `deletecollection`: decode, hand to the registry,
//! represent the outcome.

use http::StatusCode;
use hyper::body::Incoming;
use machinery::codec::cbor;
use machinery::status::Status;
use machinery::{Value, schema};

use super::body::{self, Expected};
use super::options;
use super::represent::Form;
use crate::authz::Attributes;
use crate::http::negotiate;
use crate::http::respond::Reply;
use crate::pipeline::{Call, Failure};
use crate::registry::{DeleteOptions, Outcome, PatchType, Target, WriteOptions};

/// The media types of patches, in upstream's order.
const PATCHES: [(&str, PatchType); 5] = [
    ("application/json-patch+json", PatchType::Json),
    ("application/merge-patch+json", PatchType::Merge),
    ("application/strategic-merge-patch+json", PatchType::Strategic),
    ("application/apply-patch+yaml", PatchType::Apply),
    (APPLY_CBOR, PatchType::Apply),
];

/// What is applied may be CBOR.
const APPLY_CBOR: &str = "application/apply-patch+cbor";

/// Creates an object, or posts one to a subresource.
pub(super) async fn create(
    call: &Call<'_>,
    target: &Target,
    body: Incoming,
) -> Result<Reply, Failure> {
    let (form, object, options) = whole(call, target, body, "CreateOptions").await?;
    let registry = &call.api.registry;
    let outcome = registry.create(&call.context, target, object, &options).await?;
    represent(form, target, outcome).await
}

/// Replaces an object.
pub(super) async fn update(
    call: &Call<'_>,
    target: &Target,
    body: Incoming,
) -> Result<Reply, Failure> {
    let (form, object, mut options) = whole(call, target, body, "UpdateOptions").await?;
    if target.resource.strategy.allow_create_on_update() {
        allow_creation(call, target, &mut options)?;
    }
    let registry = &call.api.registry;
    let outcome = registry.update(&call.context, target, object, &options).await?;
    represent(form, target, outcome).await
}

/// Changes parts of an object.
pub(super) async fn patch(
    call: &Call<'_>,
    target: &Target,
    body: Incoming,
) -> Result<Reply, Failure> {
    let form = Form::of(call, &target.resource)?;
    let media = negotiate::content_type(call.headers());
    // Custom resources have no patch strategies.
    let is_custom = target.resource.type_ref().is_custom();
    let takes = |kind: PatchType| !(is_custom && kind == PatchType::Strategic);
    let mut patches = PATCHES.iter().filter(|(_, kind)| takes(*kind));
    let Some((_, kind)) = patches.clone().find(|(name, _)| *name == media) else {
        let accepted: Vec<&str> = patches.by_ref().map(|(name, _)| *name).collect();
        return Err(Box::new(Status::unsupported_media_type(&accepted)));
    };
    let mut bytes = body::read(body).await?;
    if let Some(record) = &call.context.audit {
        record.patch(&bytes);
    }
    let mut options = options::write(call, "PatchOptions", *kind == PatchType::Apply)?;
    if media == APPLY_CBOR {
        let tree = cbor::decode_untyped(&bytes)
            .map_err(|error| Status::bad_request(format!("error decoding CBOR: {error}")))?;
        bytes = tree.to_string().into();
    }
    if *kind == PatchType::Apply {
        allow_creation(call, target, &mut options)?;
    }
    let registry = &call.api.registry;
    let outcome = registry.patch(&call.context, target, *kind, &bytes, &options).await?;
    represent(form, target, outcome).await
}

/// Deletes an object.
pub(super) async fn delete(
    call: &Call<'_>,
    target: &Target,
    body: Incoming,
) -> Result<Reply, Failure> {
    let (form, options) = deletion(call, target, body).await?;
    let outcome = call.api.registry.delete(&call.context, target, &options).await?;
    represent(form, target, outcome).await
}

/// Deletes all objects that the list options select.
pub(super) async fn delete_collection(
    call: &Call<'_>,
    target: &Target,
    body: Incoming,
) -> Result<Reply, Failure> {
    let (form, options) = deletion(call, target, body).await?;
    let selection = options::list(call)?;
    let registry = &call.api.registry;
    let outcome = registry.delete_collection(&call.context, target, &options, &selection).await?;
    represent(form, target, outcome).await
}

/// Who writes an object that is not there makes it, and must be allowed to.
fn allow_creation(
    call: &Call<'_>,
    target: &Target,
    options: &mut WriteOptions,
) -> Result<(), Failure> {
    options.only_existing = call.api.registry.is_stored(target);
    if options.only_existing || !target.subresource.is_empty() {
        return Ok(());
    }
    let attributes = Attributes::of(call.user(), call.info, "");
    call.api.authorizer.check(&Attributes { verb: "create", ..attributes })
}

/// The form of the answer, the object and the options of a request that sends a whole object.
async fn whole(
    call: &Call<'_>,
    target: &Target,
    body: Incoming,
    kind_of_options: &str,
) -> Result<(Form, Value, WriteOptions), Failure> {
    let form = Form::of(call, &target.resource)?;
    let bytes = body::read(body).await?;
    let options = options::write(call, kind_of_options, false)?;
    let object = decode(call, target, &bytes)?;
    if let Some(record) = call.context.audit.as_ref().filter(|_| target.subresource.is_empty()) {
        record.default_request_object(|object| target.resource.default(object));
    }
    Ok((form, object, options))
}

/// The form of the answer and the options of a deletion.
async fn deletion(
    call: &Call<'_>,
    target: &Target,
    body: Incoming,
) -> Result<(Form, DeleteOptions), Failure> {
    let form = Form::of(call, &target.resource)?;
    let bytes = body::read(body).await?;
    let options = options::delete(call, &bytes)?;
    Ok((form, options))
}

/// Decodes a body as the kind that the target, or its subresource, takes.
fn decode(call: &Call<'_>, target: &Target, bytes: &[u8]) -> Result<Value, Failure> {
    let resource = &target.resource;
    let validation = options::field_validation(call);
    let subresource =
        resource.subresources.iter().find(|subresource| subresource.name == target.subresource);
    let Some(subresource) = subresource else {
        let expected = Expected {
            api_version: &resource.api_version(),
            kind: &resource.kind,
            ty: resource.type_ref(),
        };
        return body::decode(call, bytes, expected, validation);
    };
    let kind = &subresource.kind;
    let ty = match *kind == resource.gvk() {
        true => resource.type_ref(),
        false => schema::builtin()
            .kind(&kind.group, &kind.version, &kind.kind)
            .ok_or_else(|| Status::internal(format!("no type for {kind}")))?,
    };
    let expected = Expected { api_version: &kind.api_version(), kind: &kind.kind, ty };
    body::decode(call, bytes, expected, validation)
}

async fn represent(form: Form, target: &Target, outcome: Outcome) -> Result<Reply, Failure> {
    let code = StatusCode::from_u16(outcome.code)
        .map_err(|_| Status::internal("the registry gave no HTTP status"))?;
    Ok(form.body(code, &target.resource, outcome.body).await)
}
