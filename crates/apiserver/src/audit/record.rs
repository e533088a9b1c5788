//! What is known so far of one request, from which the events of its stages are made.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use machinery::codec::{cbor, protobuf, yaml};
use machinery::time::{self, Timestamp};
use machinery::{Value, meta, schema};
use serde_json::{Map, json};

use super::policy::{Level, Scope, Stage};
use super::{Annotations, Auditor};
use crate::authn::User;
use crate::http::body::Body;
use crate::http::negotiate;
use crate::http::respond::Reply;
use crate::request_info::RequestInfo;

/// Longer names of clients are cut.
const MAX_USER_AGENT: usize = 1024;

/// What is asked for, as the pipeline knows it.
pub(crate) struct Asked<'a> {
    pub(crate) id: &'a HeaderValue,
    /// None when authentication failed.
    pub(crate) user: Option<&'a User>,
    pub(crate) info: &'a RequestInfo<'a>,
    pub(crate) parts: &'a Parts,
    pub(crate) client: SocketAddr,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Record {
    auditor: Arc<Auditor>,
    scope: Scope,
    annotations: Annotations,
    event: Mutex<Map<String, Value>>,
    received: Timestamp,
    /// The response goes on, and is over when nobody holds the record any more.
    open: AtomicBool,
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.open.load(Ordering::Relaxed)
            && let Some(event) = self.event(Stage::ResponseComplete)
        {
            self.auditor.write_now(&event);
        }
    }
}

// === impl Record ===

impl Record {
    pub(super) fn new(auditor: Arc<Auditor>, scope: Scope, asked: &Asked<'_>) -> Self {
        let received = Timestamp::now();
        Self {
            auditor,
            scope,
            annotations: Annotations::kept(),
            event: Mutex::new(begun(scope.level, asked)),
            received,
            open: AtomicBool::new(false),
        }
    }

    /// Notes for the events.
    pub(crate) fn annotations(&self) -> Annotations {
        self.annotations.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Map<String, Value>)) {
        change(&mut self.event.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes whom the user acts as.
    pub(crate) fn impersonated(&self, user: &User) {
        self.change(|event| event["impersonatedUser"] = user.to_info());
    }

    /// Notes the object that is sent.
    pub(crate) fn request_object(&self, object: &Value) {
        self.change(|event| {
            if let Some(reference) = event["objectRef"].as_object_mut() {
                for (field, known) in [
                    ("name", meta::name(object)),
                    ("namespace", meta::namespace(object)),
                    ("uid", meta::uid(object)),
                    ("resourceVersion", meta::resource_version(object)),
                ] {
                    let slot = &mut reference[field];
                    if slot.is_null() && !known.is_empty() {
                        *slot = known.into();
                    }
                }
            }
            if self.scope.level >= Level::Request {
                event["requestObject"] = self.shown(object.clone());
            }
        });
    }

    /// Fills in the defaults of the object that is sent.
    pub(crate) fn default_request_object(&self, default: impl FnOnce(&mut Value)) {
        self.change(|event| match &mut event["requestObject"] {
            Value::Null => {}
            object => default(object),
        });
    }

    /// Notes the patch that is sent.
    pub(crate) fn patch(&self, bytes: &[u8]) {
        if self.scope.level >= Level::Request {
            let document = yaml::read(&String::from_utf8_lossy(bytes));
            if let Ok(document) = document {
                self.change(|event| event["requestObject"] = document.value);
            }
        }
    }

    /// Notes what the client is told instead of an object.
    fn note_status(&self, status: &Value) {
        let mut noted = json!({"metadata": {}});
        for field in ["status", "message", "reason", "details", "code"] {
            if let Some(value) = status.get(field) {
                noted[field] = value.clone();
            }
        }
        self.change(|event| event["responseStatus"] = noted);
    }

    /// Makes the event of the beginning; false if the request must not go on.
    pub(crate) async fn received(&self) -> bool {
        match self.event(Stage::RequestReceived) {
            Some(event) => self.auditor.write(Stage::RequestReceived, event).await,
            None => true,
        }
    }

    /// Makes the event of a handler that broke down.
    pub(crate) async fn panicked(&self, code: u16, message: &str) {
        self.note_status(&json!({
            "status": "Failure",
            "message": format!("APIServer panic'd: {message}"),
            "reason": "InternalError",
            "code": code,
        }));
        if let Some(event) = self.event(Stage::Panic) {
            self.auditor.write(Stage::Panic, event).await;
        }
    }

    /// Makes the event of a request by nobody that is known.
    pub(crate) async fn unauthenticated(&self, message: String) {
        self.note_status(&json!({
            "status": "Failure", "message": message, "reason": "Unauthorized", "code": 401,
        }));
        if let Some(event) = self.event(Stage::ResponseStarted) {
            self.auditor.write(Stage::ResponseStarted, event).await;
        }
    }

    /// Makes the events that are due with the head of the response, and, unless it stays open, of
    /// the end.
    pub(crate) async fn answered(self: &Arc<Self>, reply: &mut Reply, stays_open: bool) {
        let is_status = self.scope.level >= Level::RequestResponse
            || reply.status().is_client_error()
            || reply.status().is_server_error()
            || self.is_deletion();
        if is_status
            && !stays_open
            && let Some(object) = object_of(reply)
        {
            if object["kind"] == "Status" && object["apiVersion"] == "v1" {
                self.note_status(&object);
            }
            if self.scope.level >= Level::RequestResponse {
                let object = self.shown(object);
                self.change(|event| event["responseObject"] = object);
            }
        }
        let code = reply.status().as_u16();
        self.change(|event| {
            let status = &mut event["responseStatus"];
            if status.is_null() {
                *status = json!({"metadata": {}});
            }
            status["code"] = code.into();
        });
        if !stays_open {
            if let Some(event) = self.event(Stage::ResponseComplete) {
                self.auditor.write(Stage::ResponseComplete, event).await;
            }
            return;
        }
        if let Some(event) = self.event(Stage::ResponseStarted) {
            self.auditor.write(Stage::ResponseStarted, event).await;
        }
        // Who serves a connection that switched protocols holds the record himself.
        self.open.store(true, Ordering::Relaxed);
        let body = std::mem::replace(reply.body_mut(), Body::empty());
        *reply.body_mut() = body.holding(self.clone());
    }

    fn is_deletion(&self) -> bool {
        let event = self.event.lock().unwrap_or_else(PoisonError::into_inner);
        event["verb"].as_str().is_some_and(|verb| verb.starts_with("delete"))
    }

    /// An object without what the policy leaves out.
    fn shown(&self, mut object: Value) -> Value {
        if self.scope.omit_managed_fields {
            without_managed_fields(&mut object);
        }
        object
    }

    /// The event of a stage; none if the policy leaves the stage out.
    fn event(&self, stage: Stage) -> Option<Arc<Value>> {
        if !self.scope.includes(stage) {
            return None;
        }
        let mut event = self.event.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = if stage == Stage::RequestReceived { self.received } else { Timestamp::now() };
        event["stage"] = stage.as_str().into();
        event["requestReceivedTimestamp"] = time::format_micro(self.received).into();
        event["stageTimestamp"] = time::format_micro(now).into();
        let annotations = self.annotations.all();
        if !annotations.is_empty() {
            event["annotations"] = json!(annotations);
        }
        event.retain(|_, value| !value.is_null());
        if let Some(reference) = event.get_mut("objectRef").and_then(Value::as_object_mut) {
            reference.retain(|_, value| !value.is_null());
        }
        Some(Arc::new(Value::Object(event)))
    }
}

impl std::fmt::Debug for Auditor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Auditor")
    }
}

/// All members of an event in their order; those that are not known yet are null.
fn begun(level: Level, asked: &Asked<'_>) -> Map<String, Value> {
    let Asked { id, user, info, parts, client } = asked;
    let uri = parts.uri.path_and_query().map_or("/", |uri| uri.as_str());
    let reference = info.is_resource.then(|| {
        json!({
            "resource": some(info.resource),
            "namespace": some(info.namespace),
            "name": some(&info.name),
            "uid": null,
            "apiGroup": some(info.group),
            "apiVersion": some(info.version),
            "resourceVersion": null,
            "subresource": some(info.subresource),
        })
    });
    let event = json!({
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": level.as_str(),
        "auditID": id.to_str().unwrap_or_default(),
        "stage": null,
        "requestURI": uri,
        "verb": info.verb,
        "user": user.map_or_else(|| json!({}), User::to_info),
        "impersonatedUser": null,
        "sourceIPs": source_ips(&parts.headers, client.ip()),
        "userAgent": user_agent(&parts.headers),
        "objectRef": reference,
        "responseStatus": null,
        "requestObject": null,
        "responseObject": null,
        "requestReceivedTimestamp": null,
        "stageTimestamp": null,
        "annotations": null,
    });
    match event {
        Value::Object(event) => event,
        _ => unreachable!("an object is written above"),
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(USER_AGENT)?.to_str().ok()?;
    Some(match agent.get(..MAX_USER_AGENT) {
        Some(start) if start.len() < agent.len() => format!("{start}...TRUNCATED"),
        _ => agent.to_owned(),
    })
}

/// The way of a request through proxies, as far as they tell, and where it came from here.
fn source_ips(headers: &HeaderMap, client: IpAddr) -> Vec<String> {
    let mut ips: Vec<IpAddr> = Vec::new();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = text("x-forwarded-for").into_iter().flat_map(|list| list.split(','));
    ips.extend(forwarded.filter_map(|ip| ip.trim().parse::<IpAddr>().ok()));
    if let Some(ip) = text("x-real-ip").and_then(|ip| ip.parse().ok())
        && !ips.contains(&ip)
    {
        ips.push(ip);
    }
    let client = client.to_canonical();
    if ips.last() != Some(&client) {
        ips.push(client);
    }
    ips.iter().map(IpAddr::to_string).collect()
}

fn without_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    for items in ["items", "rows"] {
        for item in object.get_mut(items).and_then(Value::as_array_mut).into_iter().flatten() {
            match item.get_mut("object") {
                Some(object) if items == "rows" => without_managed_fields(object),
                _ => without_managed_fields(item),
            }
        }
    }
}

/// The object in a response, whatever its form.
fn object_of(reply: &mut Reply) -> Option<Value> {
    let bytes: Bytes = reply.body_mut().whole()?;
    let media = reply.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    match media.split(';').next().unwrap_or_default().trim() {
        negotiate::JSON => serde_json::from_slice(&bytes).ok(),
        negotiate::YAML => yaml::read(std::str::from_utf8(&bytes).ok()?).ok().map(|d| d.value),
        negotiate::CBOR => cbor::decode_untyped(&bytes).ok(),
        negotiate::PROTOBUF => {
            let envelope = protobuf::open(&bytes).ok()?;
            let of_kind = json!({"apiVersion": envelope.api_version, "kind": envelope.kind});
            let ty = schema::builtin().kind_of(&of_kind)?;
            Some(protobuf::decode(&bytes, ty).ok()?.value)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_requests_come_from() {
        let check = |pairs: &[(&'static str, &'static str)], want: &[&str]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(source_ips(&headers, "10.0.0.9".parse().unwrap()), want);
        };
        check(&[], &["10.0.0.9"]);
        check(
            &[("x-forwarded-for", "1.1.1.1, nonsense,2.2.2.2")],
            &["1.1.1.1", "2.2.2.2", "10.0.0.9"],
        );
        check(&[("x-real-ip", "10.0.0.9")], &["10.0.0.9"]);
        check(
            &[("x-forwarded-for", "1.1.1.1"), ("x-real-ip", "1.1.1.1")],
            &["1.1.1.1", "10.0.0.9"],
        );
    }

    #[test]
    fn managed_fields_are_left_out_everywhere() {
        let fields = json!({"name": "a", "managedFields": [{}]});
        let mut list = json!({
            "metadata": {"resourceVersion": "1"},
            "items": [{"metadata": fields}],
            "rows": [{"object": {"metadata": fields}}],
        });
        without_managed_fields(&mut list);
        assert_eq!(list.to_string().matches("managedFields").count(), 0);
        assert_eq!(list["rows"][0]["object"]["metadata"]["name"], "a");
    }
}
