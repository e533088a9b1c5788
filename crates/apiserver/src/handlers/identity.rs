//! `serviceaccounts/token`: tokens for Pods and people,
//! <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/>.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use hyper::body::Incoming;
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::{GroupKind, GroupResource};
use machinery::status::Status;
use machinery::time::{self, Timestamp};
use machinery::{Value, meta, schema};

use super::body::{self, Expected};
use super::options;
use crate::authn::service_account::{Binding, Reference};
use crate::http::negotiate::{Accepted, Offer};
use crate::http::respond::{self, Reply};
use crate::pipeline::{Call, Failure};
use crate::registry::{Attributes, Operation};

const HOUR: i64 = 3600;
const MIN_SECONDS: i64 = 600;
const MAX_SECONDS: i64 = 1 << 32;

/// Issues a token for a service account.
pub(super) async fn create_token(call: &Call<'_>, body: Incoming) -> Result<Reply, Failure> {
    let accepted = Accepted::choose(call.headers(), Offer::PLAIN)?;
    let bytes = body::read(body).await?;
    let dry_run = options::write(call, "CreateOptions", false)?.dry_run;
    let ty = schema::builtin()
        .kind("authentication.k8s.io", "v1", "TokenRequest")
        .ok_or_else(|| Status::internal("the schema lacks TokenRequest"))?;
    let expected = Expected { api_version: "authentication.k8s.io/v1", kind: "TokenRequest", ty };
    let request = body::decode(call, &bytes, expected, options::field_validation(call))?;
    let (namespace, name) = (call.info.namespace, &*call.info.name);
    let account = find(call, "serviceaccounts", namespace, name)?;
    check_names(&request, namespace, name)?;
    let account_kind = call
        .api
        .registry
        .resource("", "v1", "serviceaccounts")
        .ok_or_else(|| Status::internal("serviceaccounts are not served"))?;
    let mut attributes = Attributes {
        registry: &call.api.registry,
        context: &call.context,
        operation: Operation::Create,
        resource: &account_kind,
        namespace,
        name,
        subresource: "token",
        object: Some(request),
        old: None,
        dry_run,
        tracked: None,
    };
    call.api.registry.admit_only(&mut attributes).await?;
    let mut request = attributes.object.take().unwrap_or_default();
    let spec = request.get("spec").cloned().unwrap_or_default();
    let seconds = spec.get("expirationSeconds").and_then(Value::as_i64).unwrap_or(HOUR);
    check_seconds(seconds)?;
    let mut audiences: Vec<String> = spec
        .get("audiences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|audience| audience.as_str().map(str::to_owned))
        .collect();
    let accounts = &call.api.service_accounts;
    if audiences.is_empty() {
        audiences = accounts.audiences().to_vec();
    }
    let mut binding = Binding {
        namespace: namespace.to_owned(),
        node: None,
        pod: None,
        secret: None,
        serviceaccount: reference(&account),
    };
    if let Some(object) = spec.get("boundObjectRef").filter(|object| object.is_object()) {
        bind(call, object, &mut binding)?;
    }
    let now = SystemTime::now();
    let lifetime = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let token = accounts
        .issue(&binding, &audiences, now, lifetime)
        .map_err(|error| Status::internal(error.to_string()))?;
    meta::set_name(&mut request, name);
    meta::set_namespace(&mut request, namespace);
    let expiration =
        Timestamp::try_from(now + lifetime).map_err(|error| Status::internal(error.to_string()))?;
    meta::set_creation_timestamp(&mut request, time::format(Timestamp::now()));
    request["spec"]["audiences"] = audiences.into();
    request["spec"]["expirationSeconds"] = seconds.into();
    let token = if dry_run { String::new() } else { token };
    request["status"] =
        serde_json::json!({"token": token, "expirationTimestamp": time::format(expiration)});
    Ok(respond::encoded(
        StatusCode::CREATED,
        &request,
        accepted.format,
        accepted.pretty || call.pretty(),
    ))
}

fn find(call: &Call<'_>, resource: &str, namespace: &str, name: &str) -> Result<Value, Failure> {
    match call.api.registry.cached("", resource, namespace, name) {
        Some(object) => Ok(object.value()),
        None => Err(Box::new(Status::not_found(&GroupResource::new("", resource), name))),
    }
}

fn reference(object: &Value) -> Reference {
    Reference { name: meta::name(object).to_owned(), uid: meta::uid(object).to_owned() }
}

fn check_names(request: &Value, namespace: &str, name: &str) -> Result<(), Failure> {
    let (own_name, own_namespace) = (meta::name(request), meta::namespace(request));
    let refuse = |field: &str, got: &str, want: &str| {
        let message = format!(
            "the {field} of the provided object does not match the {field} sent on the request"
        );
        tracing::debug!(got, want, "token request");
        Err(Box::new(Status::bad_request(message)))
    };
    if !own_name.is_empty() && own_name != name {
        return refuse("name", own_name, name);
    }
    if !own_namespace.is_empty() && own_namespace != namespace {
        return refuse("namespace", own_namespace, namespace);
    }
    Ok(())
}

fn check_seconds(seconds: i64) -> Result<(), Failure> {
    let path = Path::new("spec").child("expirationSeconds");
    let mut errors = ErrorList::new();
    if seconds < MIN_SECONDS {
        let detail = "may not specify a duration less than 10 minutes";
        errors.push(Error::invalid(&path, seconds, detail));
    }
    if seconds > MAX_SECONDS {
        let detail = "may not specify a duration larger than 2^32 seconds";
        errors.push(Error::invalid(&path, seconds, detail));
    }
    if errors.is_empty() {
        return Ok(());
    }
    let kind = GroupKind::new("authentication.k8s.io", "TokenRequest");
    Err(Box::new(Status::invalid(&kind, "", &errors)))
}

/// Binds the token to a Pod, Secret or Node, which must exist and be the one that is meant.
fn bind(call: &Call<'_>, object: &Value, binding: &mut Binding) -> Result<(), Failure> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let namespace = call.info.namespace;
    let (resource, within) = match (text("apiVersion"), kind) {
        ("v1" | "", "Pod") => ("pods", namespace),
        ("v1" | "", "Secret") => ("secrets", namespace),
        ("v1" | "", "Node") => ("nodes", ""),
        (version, kind) => {
            return Err(Box::new(Status::bad_request(format!(
                "cannot bind token for serviceaccount {:?} to object of type {version:?}, \
                 Kind={kind}",
                call.info.name
            ))));
        }
    };
    let found = find(call, resource, within, name)?;
    if !uid.is_empty() && uid != meta::uid(&found) {
        let detail = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The \
             object might have been deleted and then recreated"
        );
        let resource = GroupResource::new("", resource);
        return Err(Box::new(Status::conflict(&resource, name, detail)));
    }
    match kind {
        "Pod" => {
            let account = found.pointer("/spec/serviceAccountName").and_then(Value::as_str);
            if account != Some(&*call.info.name) {
                return Err(Box::new(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different \
                     serviceaccount name.",
                    call.info.name
                ))));
            }
            let node = found.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default();
            if let Some(node) = call.api.registry.cached("", "nodes", "", node) {
                binding.node = Some(reference(&node.value()));
            }
            binding.pod = Some(reference(&found));
        }
        "Secret" => binding.secret = Some(reference(&found)),
        _ => binding.node = Some(reference(&found)),
    }
    Ok(())
}
