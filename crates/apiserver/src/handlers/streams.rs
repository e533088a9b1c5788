//! Requests that are passed on: logs and remote commands to kubelets, `proxy` to Pods, Services
//! and nodes. What travels inside an upgraded connection is none of this server's business.

mod connection;
mod kubelet;
mod proxy;

use std::sync::Arc;

use futures::StreamExt as _;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use machinery::status::Status;
use machinery::{Value, meta};
use streams::upgrade::{self, Target};

pub use self::kubelet::{Error as KubeletError, Kubelets};
use super::socket;
use crate::authz::Attributes;
use crate::http::body::Body;
use crate::http::query::encode;
use crate::http::respond::Reply;
use crate::outward;
use crate::pipeline::{Call, Failure};

/// The most of a kubelet's error text that is shown.
const ERROR_TEXT: usize = 64 * 1024;

/// `exec`, `attach`, `portforward` and `proxy`.
pub(super) async fn connect(call: &mut Call<'_>, body: Incoming) -> Result<Reply, Failure> {
    connection::admit(call).await?;
    match call.info.subresource {
        "exec" | "attach" | "portforward" => remote(call).await,
        _ => proxy::proxy(call, body).await,
    }
}

/// `log`: the kubelet's answer as it comes.
pub(super) async fn log(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let pod = pod(call)?;
    let container = container(call, &pod)?;
    let mut query = Vec::new();
    for name in [
        "follow",
        "previous",
        "timestamps",
        "sinceSeconds",
        "sinceTime",
        "tailLines",
        "limitBytes",
        "stream",
    ] {
        if let Some(value) = call.query.non_empty(name) {
            check_log_option(name, value)?;
            query.push(format!("{name}={}", encode(value)));
        }
    }
    let (namespace, name) = (call.info.namespace, &*call.info.name);
    let path = format!("/containerLogs/{namespace}/{name}/{container}?{}", query.join("&"));
    let target = call.api.kubelets.of_pod(call, &pod)?;
    let request = Request::get(path)
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| Status::internal(error.to_string()))?;
    match target.send(request).await.map_err(|error| unreachable(&error))? {
        upgrade::Reply::Answered(response) if response.status().is_success() => {
            if streams::websocket::is_websocket(call.headers()) {
                let chunks = response.into_body().into_data_stream();
                // An error is the end, as upstream: there is no place to say so.
                let chunks = chunks.scan((), |(), chunk| std::future::ready(chunk.ok()));
                return socket::bytes(call, chunks);
            }
            let mut reply = passed_on(response);
            reply
                .headers_mut()
                .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
            Ok(reply)
        }
        upgrade::Reply::Answered(response) => Err(kubelet_refusal(call, response).await),
        upgrade::Reply::Switched { .. } => {
            Err(Box::new(Status::internal("the kubelet switched protocols for a log")))
        }
    }
}

fn check_log_option(name: &str, value: &str) -> Result<(), Failure> {
    let path = machinery::field::Path::new(match name {
        "sinceSeconds" => "sinceSeconds",
        "tailLines" => "tailLines",
        "limitBytes" => "limitBytes",
        _ => return Ok(()),
    });
    let number = super::options::integer(value)?;
    let detail = match name {
        "tailLines" if number < 0 => "must be greater than or equal to 0",
        "sinceSeconds" | "limitBytes" if number < 1 => "must be greater than 0",
        _ => return Ok(()),
    };
    let mut errors = machinery::field::ErrorList::new();
    errors.push(machinery::field::Error::invalid(&path, number, detail));
    let kind = machinery::gvk::GroupKind::new("", "PodLogOptions");
    Err(Box::new(Status::invalid(&kind, "", &errors)))
}

/// The 4xx or 5xx that a kubelet's refusal becomes.
async fn kubelet_refusal(call: &Call<'_>, response: http::Response<Incoming>) -> Failure {
    let code = response.status();
    let body = http_body_util::Limited::new(response.into_body(), ERROR_TEXT).collect().await;
    let text = match body {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned(),
        Err(error) => error.to_string(),
    };
    Box::new(match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::NOT_FOUND => {
            let name = &call.info.name;
            let message =
                format!("the server could not find the requested resource ( pods/log {name})");
            let mut status = Status::failure(404, machinery::status::reason::NOT_FOUND, message);
            if !text.is_empty() {
                status.message.push_str(": ");
                status.message.push_str(&text);
            }
            status
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Status::internal(format!("the kubelet refuses this server: {text}"))
        }
        _ => Status::internal(text),
    })
}

/// `exec`, `attach` and `portforward`: a protocol switch that the kubelet makes.
async fn remote(call: &mut Call<'_>) -> Result<Reply, Failure> {
    if call.info.verb == "get" {
        // Reading does not imply running commands, whatever the method of the upgrade.
        let attributes = Attributes::of(call.user(), call.info, "");
        call.api.authorizer.check(&Attributes { verb: "create", ..attributes })?;
    }
    let pod = pod(call)?;
    let (namespace, name) = (call.info.namespace, &*call.info.name);
    let flag = |name: &str| call.query.flag(name);
    let mut query = Vec::new();
    let path = if call.info.subresource == "portforward" {
        let ports = call.query.all("ports").filter(|port| !port.is_empty());
        query.extend(ports.map(|port| format!("port={}", encode(port))));
        format!("/portForward/{namespace}/{name}")
    } else {
        let container = container(call, &pod)?;
        // Absent flags have defaults: attach and exec show output unless told not to.
        let shown = |name: &str| call.query.optional_flag(name).unwrap_or(false);
        if !(flag("stdin") || shown("stdout") || shown("stderr")) {
            let message = "at least one of stdin, stdout, stderr must be specified";
            return Err(Box::new(Status::bad_request(message)));
        }
        for (ours, theirs) in
            [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
        {
            if flag(ours) {
                query.push(format!("{theirs}=1"));
            }
        }
        if call.info.subresource == "exec" {
            let commands = call.query.all("command");
            query.extend(commands.map(|word| format!("command={}", encode(word))));
        }
        format!("/{}/{namespace}/{name}/{container}", call.info.subresource)
    };
    let target = call.api.kubelets.of_pod(call, &pod)?;
    let uri: Uri = format!("{path}?{}", query.join("&"))
        .parse()
        .map_err(|error: http::uri::InvalidUri| Status::bad_request(error.to_string()))?;
    pass_upgrade(call, &target, uri).await
}

/// Passes an upgrade on, whoever it is for.
async fn pass_upgrade(call: &mut Call<'_>, target: &Target, uri: Uri) -> Result<Reply, Failure> {
    if !upgrade::is_upgrade(call.headers()) {
        return Err(Box::new(Status::bad_request("Upgrade request required")));
    }
    let mut request = Request::new(Empty::<bytes::Bytes>::new());
    *request.method_mut() = call.parts.method.clone();
    *request.headers_mut() = without_credentials(call.headers());
    *request.extensions_mut() = std::mem::take(&mut call.parts.extensions);
    let held = call.context.audit.clone();
    let response = upgrade::pass_through(request, target, uri, held)
        .await
        .map_err(|error| unreachable(&error))?;
    Ok(passed_on(response))
}

pub(crate) fn without_credentials(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(http::header::AUTHORIZATION);
    headers.remove(http::header::HOST);
    headers
}

/// A response whose body streams through.
pub(crate) fn passed_on<B>(response: http::Response<B>) -> Reply
where
    B: hyper::body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<crate::http::body::StreamError>,
{
    let (parts, body) = response.into_parts();
    let body = match parts.status {
        StatusCode::SWITCHING_PROTOCOLS => Body::empty(),
        _ => Body::stream(body.into_data_stream().map(|chunk| chunk.map_err(Into::into))),
    };
    let mut reply = http::Response::from_parts(parts, body);
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        for name in ["connection", "transfer-encoding", "keep-alive"] {
            reply.headers_mut().remove(name);
        }
    }
    reply
}

/// 503 for a backend that cannot be reached; kubelets' are 500 upstream too.
fn unreachable(error: &upgrade::UpgradeError) -> Failure {
    let text = outward::explain_upgrade(error);
    Box::new(Status::internal(format!("error dialing backend: {text}")))
}

/// The Pod that the path names.
fn pod(call: &Call<'_>) -> Result<Value, Failure> {
    let (namespace, name) = (call.info.namespace, &*call.info.name);
    match call.api.registry.cached("", "pods", namespace, name) {
        Some(pod) => Ok(pod.value()),
        None => {
            let resource = machinery::gvk::GroupResource::new("", "pods");
            Err(Box::new(Status::not_found(&resource, name)))
        }
    }
}

/// The container that the request names, or the one that is meant when it names none.
fn container(call: &Call<'_>, pod: &Value) -> Result<String, Failure> {
    let names = |list: &str| -> Vec<&str> {
        let containers = pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        let containers = containers.map(Vec::as_slice).unwrap_or_default();
        containers.iter().filter_map(|container| container.get("name")?.as_str()).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    let ephemeral = names("ephemeralContainers");
    let pod_name = meta::name(pod);
    if let Some(wanted) = call.query.non_empty("container") {
        let known = [&main, &init, &ephemeral].into_iter().flatten().any(|name| *name == wanted);
        if known {
            return Ok(wanted.to_owned());
        }
        return Err(Box::new(Status::bad_request(format!(
            "container {wanted} is not valid for pod {pod_name}"
        ))));
    }
    if let [only] = main.as_slice()
        && (call.info.subresource != "log" || init.is_empty())
    {
        return Ok((*only).to_owned());
    }
    if let Some(default) = meta::annotation(pod, "kubectl.kubernetes.io/default-container")
        && main.contains(&default)
    {
        return Ok(default.to_owned());
    }
    if main.is_empty() {
        return Err(Box::new(Status::bad_request(format!(
            "no containers found in pod {pod_name}"
        ))));
    }
    let mut message = format!(
        "a container name must be specified for pod {pod_name}, choose one of: [{}]",
        main.join(" ")
    );
    if !init.is_empty() {
        message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
    }
    if !ephemeral.is_empty() {
        let names = ephemeral.join(" ");
        message.push_str(&format!(" or one of the ephemeral containers: [{names}]"));
    }
    Err(Box::new(Status::bad_request(message)))
}

/// Whether a method can be sent again to the same place with a slash added.
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// TLS set-ups of connections to backends.
type ClientTls = Arc<rustls::ClientConfig>;
