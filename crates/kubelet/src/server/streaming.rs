//! Exec, attach and port forwarding: the runtime serves them on a streaming server of its own, and
//! the kubelet stands between it and the client.
//!
//! WebSocket clients are translated to SPDY, because only there standard input can be closed; a
//! client that speaks SPDY itself, or an older WebSocket protocol that the runtime knows, is passed
//! through.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, HeaderMap, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use streams::remotecommand::{SPDY_PROTOCOL, StreamSet};
use streams::spdy::{Connection, UPGRADE_PROTOCOL};
use streams::upgrade::{Reply, Target, UpgradeError, is_upgrade, pass_through};
use streams::websocket::{self, Subprotocol, is_websocket};
use streams::{BoxIo, bridge};

use super::query;
use super::response::{Body, error, full, text};
use crate::cri::{RuntimeError, proto};
use crate::seam::{PodAccess, pod_uid};

const STREAM_PROTOCOL: &str = "x-stream-protocol-version";
const PORT_FORWARD_PROTOCOL: &str = "portforward.k8s.io";

/// Why a stream cannot be set up.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Runtime(#[from] RuntimeError),
    #[error("error dialing backend: {0}")]
    Dial(#[from] UpgradeError),
    #[error("unable to upgrade connection: {0}")]
    Refused(String),
    #[error(transparent)]
    WebSocket(#[from] websocket::WebSocketError),
    #[error(transparent)]
    Spdy(#[from] streams::spdy::SpdyError),
    #[error("the runtime returned an unusable address {0:?}")]
    Address(String),
}

impl StreamError {
    fn answer(self) -> Response<Body> {
        let status = match &self {
            Self::BadRequest(_) | Self::WebSocket(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        error(status, self)
    }
}

/// What the query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) command: Vec<String>,
    pub(super) streams: StreamSet,
}

impl Wanted {
    pub(super) fn parse(uri: &Uri) -> Self {
        let mut wanted = Self::default();
        for (name, value) in query(uri) {
            let on = matches!(value.as_str(), "1" | "true" | "TRUE" | "True" | "t" | "T");
            match name.as_str() {
                "command" => wanted.command.push(value),
                // The API server's names are taken too.
                "input" | "stdin" => wanted.streams.stdin = on,
                "output" | "stdout" => wanted.streams.stdout = on,
                "error" | "stderr" => wanted.streams.stderr = on,
                "tty" => wanted.streams.tty = on,
                _ => {}
            }
        }
        if wanted.streams.tty {
            // A terminal has one output.
            wanted.streams.stderr = false;
        }
        wanted
    }
}

fn container_id(
    access: &Arc<dyn PodAccess>,
    namespace: &str,
    name: &str,
    container: &str,
) -> Result<String, StreamError> {
    let pod = access
        .pod(namespace, name)
        .ok_or_else(|| StreamError::NotFound("pod does not exist".to_owned()))?;
    let found = access.container(&pod_uid(&pod), container, false).filter(|found| found.running);
    let found = found
        .ok_or_else(|| StreamError::NotFound(format!("container not found ({container:?})")))?;
    Ok(found.id)
}

fn check_streams(streams: StreamSet) -> Result<(), StreamError> {
    if streams.stdin || streams.stdout || streams.stderr {
        return Ok(());
    }
    let problem = "you must specify at least 1 of stdin, stdout, stderr";
    Err(StreamError::BadRequest(problem.to_owned()))
}

pub(super) async fn exec(
    access: &Arc<dyn PodAccess>,
    namespace: &str,
    pod: &str,
    container: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    let open = |container_id, Wanted { command, streams }| {
        access.runtime().exec(proto::ExecRequest {
            container_id,
            cmd: command,
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        })
    };
    into_container(access, namespace, pod, container, request, open).await
}

pub(super) async fn attach(
    access: &Arc<dyn PodAccess>,
    namespace: &str,
    pod: &str,
    container: &str,
    request: Request<Incoming>,
) -> Response<Body> {
    let open = |container_id, Wanted { streams, .. }| {
        access.runtime().attach(proto::AttachRequest {
            container_id,
            tty: streams.tty,
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
        })
    };
    into_container(access, namespace, pod, container, request, open).await
}

/// Connects the client with the streams of a container, at the address that `open` gets from the
/// runtime for the container's id.
async fn into_container<F>(
    access: &Arc<dyn PodAccess>,
    namespace: &str,
    pod: &str,
    container: &str,
    request: Request<Incoming>,
    open: impl FnOnce(String, Wanted) -> F,
) -> Response<Body>
where
    F: Future<Output = Result<String, RuntimeError>>,
{
    let set_up = async {
        let wanted = Wanted::parse(request.uri());
        let streams = wanted.streams;
        check_streams(streams)?;
        let id = container_id(access, namespace, pod, container)?;
        let url = open(id, wanted).await?;
        remote_command(request, streams, &url).await
    };
    set_up.await.unwrap_or_else(StreamError::answer)
}

/// Runs a command and returns what it wrote.
pub(super) async fn run(
    access: &Arc<dyn PodAccess>,
    namespace: &str,
    pod: &str,
    container: &str,
    uri: &Uri,
) -> Response<Body> {
    let command = query(uri).into_iter().find(|(name, _)| name == "cmd").map(|(_, cmd)| cmd);
    let words: Vec<String> =
        command.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let output = async {
        let id = container_id(access, namespace, pod, container)?;
        Ok::<_, StreamError>(access.runtime().exec_sync(&id, &words, Duration::ZERO).await?)
    };
    match output.await {
        Ok(output) => {
            let mut response = text(StatusCode::OK, "");
            *response.body_mut() = full([output.stdout, output.stderr].concat());
            response
        }
        Err(problem) => problem.answer(),
    }
}

pub(super) async fn port_forward(
    access: &Arc<dyn PodAccess>,
    namespace: &str,
    name: &str,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let set_up = async {
        let pod = access
            .pod(namespace, name)
            .ok_or_else(|| StreamError::NotFound("pod does not exist".to_owned()))?;
        let sandbox = access.sandbox_id(&pod_uid(&pod)).ok_or_else(|| {
            StreamError::NotFound(format!("not able to port forward: no sandbox for pod {name:?}"))
        })?;
        let ports: Vec<i32> = query(request.uri())
            .into_iter()
            .filter(|(key, _)| key == "port" || key == "ports")
            .flat_map(|(_, list)| list.split(',').map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|port| port.parse().ok())
            .collect();
        let url = access.runtime().port_forward(&sandbox, &ports).await?;
        if !offers(request.headers(), Subprotocol::PortForwardTunnel.name()) {
            return pass(request, &url).await;
        }
        let (target, uri) = address(&url)?;
        let runtime = dial_spdy(&target, uri, PORT_FORWARD_PROTOCOL).await?;
        let accepted = websocket::accept(&mut request, &[Subprotocol::PortForwardTunnel])?;
        let response = accepted.response_with(empty());
        tokio::spawn(async move {
            let tunnel = async {
                let socket = accepted.socket().await?;
                bridge::tunnel(socket, runtime).await
            };
            if let Err(error) = tunnel.await {
                tracing::debug!(%error, "port forwarding ended");
            }
        });
        Ok(response)
    };
    set_up.await.unwrap_or_else(StreamError::answer)
}

/// Joins the client to the runtime's address for a command.
async fn remote_command(
    mut request: Request<Incoming>,
    streams: StreamSet,
    url: &str,
) -> Result<Response<Body>, StreamError> {
    let known = [Subprotocol::ChannelV5, Subprotocol::ChannelV4];
    let translated = is_websocket(request.headers())
        && known.iter().any(|protocol| offers(request.headers(), protocol.name()));
    if !translated {
        return pass(request, url).await;
    }
    let (target, uri) = address(url)?;
    // First, so that a failure is still an HTTP error that the client shows.
    let runtime = Connection::client(dial_spdy(&target, uri, SPDY_PROTOCOL).await?)?;
    let accepted = websocket::accept(&mut request, &known)?;
    let protocol = accepted.protocol;
    let response = accepted.response_with(empty());
    tokio::spawn(async move {
        let socket = match accepted.socket().await {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(%error, "client did not switch to WebSocket");
                return;
            }
        };
        if let Err(error) = bridge::remote_command(socket, protocol, runtime, streams).await {
            tracing::debug!(%error, "remote command ended");
        }
    });
    Ok(response)
}

fn empty() -> Body {
    Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
}

fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    is_websocket(headers)
        && headers
            .get_all(SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|name| name.trim() == protocol)
}

fn address(url: &str) -> Result<(Target, Uri), StreamError> {
    let uri: Uri = url.parse().map_err(|_| StreamError::Address(url.to_owned()))?;
    let path = uri.path_and_query().cloned();
    let path = path.ok_or_else(|| StreamError::Address(url.to_owned()))?;
    Ok((Target::plain(&uri)?, Uri::from(path)))
}

/// Passes the client through to the runtime, bytes untouched.
async fn pass(mut request: Request<Incoming>, url: &str) -> Result<Response<Body>, StreamError> {
    if !is_upgrade(request.headers()) {
        return Err(StreamError::BadRequest("Upgrade request required".to_owned()));
    }
    let (target, uri) = address(url)?;
    request.headers_mut().remove(AUTHORIZATION);
    let response = pass_through(request, &target, uri, ()).await?;
    Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// Has the runtime's streaming server switch to SPDY.
async fn dial_spdy(target: &Target, uri: Uri, protocol: &str) -> Result<BoxIo, StreamError> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, UPGRADE_PROTOCOL)
        .header(STREAM_PROTOCOL, protocol)
        .body(Empty::<Bytes>::new())
        .map_err(|error| StreamError::Refused(error.to_string()))?;
    match target.send(request).await? {
        Reply::Switched { io, .. } => Ok(io),
        Reply::Answered(response) => {
            let status = response.status();
            let body = response.into_body().collect().await.map_err(UpgradeError::from)?;
            let text = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
            Err(StreamError::Refused(format!("{status}: {text}")))
        }
    }
}
