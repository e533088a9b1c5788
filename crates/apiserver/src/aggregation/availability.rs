//! Whether other servers can be asked: each is asked now and then what it serves, and at once when
//! its APIService or its Service changes.

use std::sync::Arc;
use std::time::Duration;

use futures::future;
use http::Request;
use http_body_util::{BodyExt as _, Limited};
use machinery::{Value, meta, time};
use serde_json::{Map, json};
use tokio::time::Instant;

use super::schedule::{Outcome, Schedule};
use super::{Aggregation, Backend, GROUP, Known, PLURAL, Server, pass};
use crate::authn::User;
use crate::authn::user::MASTERS;
use crate::metrics::aggregation as metrics;
use crate::outward;
use crate::registry::{Context, Registry, Target, WriteOptions};
use crate::server::Api;

/// The condition that says it.
const AVAILABLE: &str = "Available";
/// How often a server is asked whose objects do not change.
const RESYNC: Duration = Duration::from_secs(30);
/// After the first failure in a row; doubles up to [`RESYNC`].
const RETRY: Duration = Duration::from_millis(250);
/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// So many questions are put at once, so that one bad endpoint of several does not count.
const ATTEMPTS: usize = 5;
const MAX_ANSWER: usize = 8 << 20;

/// What is to be said of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    is_available: bool,
    reason: &'static str,
    message: String,
}

/// Whether an APIService says that its server can be asked.
pub(super) fn is_available(service: &Value) -> bool {
    condition(service).is_some_and(|condition| condition["status"] == "True")
}

/// The condition of an APIService.
fn condition(service: &Value) -> Option<&Value> {
    let conditions = service.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == AVAILABLE)
}

/// Looks after all servers until shutdown.
pub(crate) async fn keep(api: Arc<Api>) {
    let registry = &api.registry;
    let changes = |group, plural| registry.changes(group, plural);
    let (Some(mut services), Some(mut slices)) =
        (changes("", "services"), changes("discovery.k8s.io", "endpointslices"))
    else {
        return;
    };
    let mut servers = api.aggregation.backends.subscribe();
    let mut schedule = Schedule::new(RESYNC, RETRY, RESYNC);
    loop {
        let backends = servers.borrow_and_update().clone();
        services.borrow_and_update();
        slices.borrow_and_update();
        schedule.retain(|name| backends.iter().any(|backend| backend.name() == name));
        let now = Instant::now();
        let due: Vec<(&Backend, Objects, String)> = backends
            .iter()
            .filter_map(|backend| {
                let objects = Objects::of(registry, backend);
                let outline = objects.outline(backend);
                let is_due = schedule.is_due(&backend.name(), &outline, now);
                is_due.then_some((&**backend, objects, outline))
            })
            .collect();
        let found = future::join_all(
            due.iter().map(|(backend, objects, _)| look(&api.aggregation, backend, objects)),
        );
        for ((backend, _, outline), (finding, known)) in due.iter().zip(found.await) {
            let name = backend.name();
            // Of what is missing one hears; only a server itself has to be asked again.
            let failed = finding.reason == FAILED_DISCOVERY;
            api.aggregation.learn(&name, known);
            let said = say(registry, &name, &finding).await;
            let outcome = if failed || !said { Outcome::Failed } else { Outcome::Answered };
            schedule.note(name, outline.clone(), outcome, Instant::now());
        }
        let next = schedule.next();
        tokio::select! {
            () = api.shutdown.cancelled() => return,
            changed = servers.changed() => if changed.is_err() { return },
            changed = services.changed(), if next.is_some() => if changed.is_err() { return },
            changed = slices.changed(), if next.is_some() => if changed.is_err() { return },
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

/// The objects that lead to a server.
struct Objects {
    service: Option<Value>,
    slices: Vec<Value>,
}

impl Objects {
    fn of(registry: &Registry, backend: &Backend) -> Self {
        let (namespace, name) = (&backend.place.namespace, &backend.place.service);
        let service = registry.cached("", "services", namespace, name).map(|found| found.value());
        let slices = registry.cached_list("discovery.k8s.io", "endpointslices", namespace);
        let slices = slices.iter().map(|slice| slice.value());
        let of_service =
            |slice: &Value| meta::label(slice, "kubernetes.io/service-name") == Some(name.as_str());
        Self { service, slices: slices.filter(of_service).collect() }
    }

    /// Tells whether anything changed.
    fn outline(&self, backend: &Backend) -> String {
        let objects = self.service.iter().chain(&self.slices);
        let revisions: Vec<&str> = objects.map(meta::resource_version).collect();
        format!("{:?} {revisions:?}", backend.place)
    }
}

const FAILED_DISCOVERY: &str = "FailedDiscoveryCheck";

async fn look(
    aggregation: &Aggregation,
    backend: &Backend,
    objects: &Objects,
) -> (Finding, Option<Known>) {
    if let Some(finding) = missing(backend, objects) {
        return (finding, None);
    }
    match aggregation.server(backend, true) {
        Err(error) => (Finding::failed(FAILED_DISCOVERY, error.to_string()), None),
        Ok(server) => match ask(&server, backend).await {
            Err(message) => (Finding::failed(FAILED_DISCOVERY, message), None),
            Ok(list) => {
                let known = Known {
                    resources: resources(&list, backend),
                    openapi: openapi(&server, backend).await,
                    is_stale: false,
                };
                let message = "all checks passed".to_owned();
                (Finding { is_available: true, reason: "Passed", message }, Some(known))
            }
        },
    }
}

impl Finding {
    fn failed(reason: &'static str, message: String) -> Self {
        Self { is_available: false, reason, message }
    }
}

/// What lacks of the way to a server.
fn missing(backend: &Backend, objects: &Objects) -> Option<Finding> {
    let place = &backend.place;
    let (namespace, name) = (&place.namespace, &place.service);
    let Some(service) = &objects.service else {
        let message = format!("service/{name} in {namespace:?} is not present");
        return Some(Finding::failed("ServiceNotFound", message));
    };
    let spec = &service["spec"];
    if spec["type"] != "ClusterIP" {
        return None;
    }
    let ports = spec["ports"].as_array().into_iter().flatten();
    let Some(port) = ports.into_iter().find(|port| port["port"] == place.port) else {
        let message =
            format!("service/{name} in {namespace:?} is not listening on port {}", place.port);
        return Some(Finding::failed("ServicePortError", message));
    };
    if objects.slices.is_empty() {
        let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Some(Finding::failed("EndpointsNotFound", message));
    }
    let port = port["name"].as_str().unwrap_or_default();
    let ready = |slice: &Value| {
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        let mut endpoints = endpoints.filter(|e| e["conditions"]["ready"] != false);
        let mut ports = slice["ports"].as_array().into_iter().flatten();
        endpoints.next().is_some() && ports.any(|p| p["name"] == port && p["port"].is_number())
    };
    if objects.slices.iter().any(ready) {
        return None;
    }
    let message = format!(
        "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port:?}"
    );
    Some(Finding::failed("MissingEndpoints", message))
}

/// Asks a server for its resources.
///
/// # Errors
/// What upstream says when there is no good answer.
async fn ask(server: &Server, backend: &Backend) -> Result<Value, String> {
    let path = backend.path();
    let questions = (0..ATTEMPTS).map(|_| Box::pin(get(server, &path)));
    match future::select_ok(questions).await {
        Ok((list, _)) => Ok(list),
        Err(why) => {
            let url = server.url(&path);
            Err(format!("failing or missing response from {url}: {why}"))
        }
    }
}

/// Hash of a server's OpenAPI v3 document of its version.
async fn openapi(server: &Server, backend: &Backend) -> Option<String> {
    let index = get(server, "/openapi/v3").await.ok()?;
    let own = index["paths"].get(backend.path().trim_start_matches('/'))?;
    let url = own["serverRelativeURL"].as_str()?;
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("hash=")).map(str::to_owned)
}

async fn get(server: &Server, path: &str) -> Result<Value, String> {
    let url = server.url(path);
    let mut request = Request::get(&url).body(()).map_err(|e| e.to_string())?;
    // The server itself: everything it asks for is allowed.
    let user = User {
        name: "system:kube-aggregator".to_owned(),
        groups: vec![MASTERS.to_owned()],
        ..User::default()
    };
    pass::identify(request.headers_mut(), &user);
    request.headers_mut().insert(http::header::ACCEPT, JSON);
    let exchange = async {
        let response = server.ask(request).await;
        let response =
            response.map_err(|error| format!("Get {url:?}: {}", outward::explain(&error)))?;
        if !response.status().is_success() {
            return Err(format!("bad status from {url}: {}", response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| format!("Get {url:?}: {error}"))?;
        Ok(serde_json::from_slice(&body.to_bytes()).unwrap_or_default())
    };
    match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

const JSON: http::HeaderValue = http::HeaderValue::from_static("application/json");

/// The resources of an APIResourceList as aggregated discovery has them.
fn resources(list: &Value, backend: &Backend) -> Value {
    let all = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |entry: &Value, field: &str, or: &str| {
        let text = entry[field].as_str().filter(|text| !text.is_empty());
        text.unwrap_or(or).to_owned()
    };
    let kind = |entry: &Value| {
        json!({
            "group": text(entry, "group", &backend.group),
            "version": text(entry, "version", &backend.version),
            "kind": entry["kind"],
        })
    };
    let mut found: Vec<Map<String, Value>> = Vec::new();
    for entry in all.iter().filter(|entry| !text(entry, "name", "").contains('/')) {
        let mut resource = Map::new();
        let scope = if entry["namespaced"] == true { "Namespaced" } else { "Cluster" };
        resource.insert("resource".to_owned(), entry["name"].clone());
        resource.insert("responseKind".to_owned(), kind(entry));
        resource.insert("scope".to_owned(), scope.into());
        resource.insert("singularResource".to_owned(), text(entry, "singularName", "").into());
        resource.insert("verbs".to_owned(), entry["verbs"].clone());
        for field in ["shortNames", "categories"] {
            if let Some(names) = entry.get(field).filter(|names| !names.is_null()) {
                resource.insert(field.to_owned(), names.clone());
            }
        }
        found.push(resource);
    }
    for entry in all {
        let name = text(entry, "name", "");
        let Some((of, subresource)) = name.split_once('/') else { continue };
        let Some(resource) = found.iter_mut().find(|resource| resource["resource"] == of) else {
            continue;
        };
        let subresources = resource.entry("subresources").or_insert_with(|| json!([]));
        if let Some(subresources) = subresources.as_array_mut() {
            subresources.push(json!({
                "subresource": subresource,
                "responseKind": kind(entry),
                "verbs": entry["verbs"],
            }));
        }
    }
    found.into_iter().map(Value::Object).collect()
}

/// Writes the condition, if it differs. False if that failed.
async fn say(registry: &Registry, name: &str, finding: &Finding) -> bool {
    let Some(service) = registry.cached(GROUP, PLURAL, "", name) else { return true };
    let now = time::format(registry.now());
    let service = service.value();
    let was_available = is_available(&service);
    let Some(service) = with_condition(service, finding, &now) else { return true };
    let Some(resource) = registry.resource(GROUP, "v1", PLURAL) else { return true };
    let target = Target { subresource: "status".to_owned(), ..Target::object(&resource, "", name) };
    let options = WriteOptions::default();
    match registry.update(&Context::internal(), &target, service, &options).await {
        Ok(_) => {
            if was_available && !finding.is_available {
                metrics::lost(name, finding.reason);
            }
            true
        }
        Err(gone) if gone.code == 404 => true,
        Err(refused) => {
            // Who is slower than others tries again with what is there then.
            if refused.code != 409 {
                let error = &refused.message;
                tracing::warn!(name, error, "cannot write an APIService's status");
            }
            false
        }
    }
}

/// An APIService with its condition, if that differs from what it has.
fn with_condition(mut service: Value, finding: &Finding, now: &str) -> Option<Value> {
    let status = if finding.is_available { "True" } else { "False" };
    let since = match condition(&service) {
        Some(old) if old["status"] == status => {
            if old["reason"] == finding.reason && old["message"] == finding.message.as_str() {
                return None;
            }
            old["lastTransitionTime"].clone()
        }
        _ => now.into(),
    };
    let condition = json!({
        "type": AVAILABLE,
        "status": status,
        "lastTransitionTime": since,
        "reason": finding.reason,
        "message": finding.message,
    });
    if !service["status"]["conditions"].is_array() {
        service["status"]["conditions"] = json!([]);
    }
    let conditions = service["status"]["conditions"].as_array_mut()?;
    match conditions.iter_mut().find(|condition| condition["type"] == AVAILABLE) {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
    Some(service)
}

#[cfg(test)]
mod tests;
