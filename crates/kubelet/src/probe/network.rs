//! Attempts over the network: HTTP, TCP and gRPC.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use component::errors;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use streams::upgrade::{Reply, Target, UpgradeError};
use tokio::net::TcpStream;

use super::state::Outcome;

/// What probes call themselves.
const AGENT: &str = "kube-probe/1.36";
/// Bytes of an answer that are read.
const MAX_BODY: usize = 10 << 10;
const MAX_REDIRECTS: usize = 10;

/// The number of a port that may be given by name.
pub(super) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten();
            let mut named = named.filter(|port| port.name.as_deref() == Some(name));
            match named.next() {
                Some(port) => Some(port.container_port),
                None => Some(
                    name.parse()
                        .map_err(|_| format!("couldn't find port: {name} in {}", container.name))?,
                ),
            }
        }
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("invalid port number: {}", number.unwrap_or_default()))
}

/// A request as a probe or life-cycle hook makes it. Returns status and body, or the error as Go's
/// HTTP client words it.
pub async fn http_get(
    pod_ip: &str,
    action: &HTTPGetAction,
    container: &Container,
    timeout: Duration,
) -> Result<(u16, String), String> {
    let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(pod_ip);
    let port = port(&action.port, container)?;
    let scheme = action.scheme.as_deref().filter(|s| !s.is_empty()).unwrap_or("HTTP");
    let scheme = scheme.to_ascii_lowercase();
    let path = action.path.as_deref().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let authority = authority(host, port);
    let url = format!("{scheme}://{authority}{path}");
    let attempt = fetch(&url, action);
    match tokio::time::timeout(timeout, attempt).await {
        Ok(result) => result.map_err(|text| format!("Get \"{url}\": {text}")),
        Err(_) => Err(format!(
            "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Follows redirects on the same host.
async fn fetch(url: &str, action: &HTTPGetAction) -> Result<(u16, String), String> {
    let mut uri: Uri = url.parse().map_err(|error| format!("invalid URL: {error}"))?;
    for _ in 0..=MAX_REDIRECTS {
        let target = target(&uri)?;
        let reply = target.send(request(&uri, action)).await.map_err(|error| dial_text(&error))?;
        let response = match reply {
            Reply::Answered(response) => response,
            Reply::Switched { response, .. } => {
                return Ok((response.status().as_u16(), String::new()));
            }
        };
        let status = response.status();
        let next = redirect(&uri, status, response.headers().get(LOCATION));
        if let Some(next) = next.filter(|next| next.host() == uri.host()) {
            uri = next;
            continue;
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
        // A body that is cut off or too long says nothing about the status.
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        return Ok((status.as_u16(), String::from_utf8_lossy(&body).into_owned()));
    }
    Err(format!("stopped after {MAX_REDIRECTS} redirects"))
}

fn target(uri: &Uri) -> Result<Target, String> {
    let host = uri.host().ok_or("no host in URL")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let https = uri.scheme_str() == Some("https");
    let tls = if https {
        // Probes never verify certificates.
        Some(streams::tls::client_config(None, None).map_err(|error| error.to_string())?)
    } else {
        None
    };
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    Ok(Target { host, port, tls, server_name: None })
}

fn request(uri: &Uri, action: &HTTPGetAction) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri.clone();
    let mut given: BTreeMap<String, ()> = BTreeMap::new();
    let headers = request.headers_mut();
    for header in action.http_headers.iter().flatten() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value.as_bytes());
        let (Ok(name), Ok(value)) = (name, value) else { continue };
        given.insert(name.as_str().to_owned(), ());
        if name == HOST {
            headers.insert(HOST, value);
        } else {
            headers.append(name, value);
        }
    }
    for (name, value) in [(USER_AGENT, AGENT), (ACCEPT, "*/*")] {
        match headers.get(&name) {
            // Given, but empty: not to be sent at all.
            Some(value) if value.is_empty() => {
                headers.remove(&name);
            }
            Some(_) => {}
            None => {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    request
}

fn redirect(from: &Uri, status: StatusCode, location: Option<&HeaderValue>) -> Option<Uri> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = location?.to_str().ok()?;
    if location.contains("://") {
        return location.parse().ok();
    }
    let (scheme, authority) = (from.scheme_str()?, from.authority()?.as_str());
    if location.starts_with("//") {
        return format!("{scheme}:{location}").parse().ok();
    }
    let path = if location.starts_with('/') {
        location.to_owned()
    } else {
        let base = from.path().rsplit_once('/').map_or("", |(base, _)| base);
        format!("{base}/{location}")
    };
    format!("{scheme}://{authority}{path}").parse().ok()
}

/// The outcome of an HTTP probe.
pub(super) fn judge(result: Result<(u16, String), String>) -> Outcome {
    match result {
        Ok((300..=399, body)) => {
            Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
        }
        Ok((200..=299, _)) => Outcome::Success,
        Ok((status, _)) => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
        Err(text) => Outcome::Failure(text),
    }
}

/// Whether something accepts connections.
pub(super) async fn tcp(host: &str, port: u16, timeout: Duration) -> Outcome {
    let address = authority(host, port);
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(errors::dial(&address, &error)),
        Err(_) => Outcome::Failure(format!("dial tcp {address}: i/o timeout")),
    }
}

fn dial_text(error: &UpgradeError) -> String {
    match error {
        UpgradeError::Dial { address, source } => errors::dial(address, source),
        UpgradeError::Http(error) if error.is_incomplete_message() => "EOF".to_owned(),
        other => other.to_string(),
    }
}

/// Messages of `grpc.health.v1`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// Asks a server for its health.
///
/// <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>
pub(super) async fn grpc(host: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    let address = authority(host, port);
    let seconds = timeout.as_secs();
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
    let endpoint = match endpoint {
        Ok(endpoint) => endpoint,
        Err(error) => return Outcome::Error(error.to_string()),
    };
    let endpoint = match endpoint.user_agent(AGENT) {
        Ok(endpoint) => endpoint,
        Err(error) => return Outcome::Error(error.to_string()),
    };
    let call = async {
        let channel = match endpoint.connect().await {
            Ok(channel) => channel,
            Err(error) => {
                let text = format!("error: failed to connect service at {address:?}: {error}");
                return Outcome::Failure(text);
            }
        };
        let mut client = tonic::client::Grpc::new(channel);
        if let Err(error) = client.ready().await {
            return Outcome::Failure(format!("error: health rpc failed: {error}"));
        }
        let request = tonic::Request::new(HealthCheckRequest { service: service.to_owned() });
        let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        match client.unary(request, path, codec).await {
            Ok(answer) => match ServingStatus::try_from(answer.into_inner().status) {
                Ok(ServingStatus::Serving) => Outcome::Success,
                other => {
                    let name = match other {
                        Ok(ServingStatus::NotServing) => "NOT_SERVING",
                        Ok(ServingStatus::ServiceUnknown) => "SERVICE_UNKNOWN",
                        _ => "UNKNOWN",
                    };
                    Outcome::Failure(format!("service unhealthy (responded with {name:?})"))
                }
            },
            Err(status) if status.code() == tonic::Code::Unimplemented => {
                Outcome::Failure(format!(
                    "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                    status.message()
                ))
            }
            Err(status) => Outcome::Failure(format!(
                "error: health rpc probe failed: rpc error: code = {:?} desc = {}",
                status.code(),
                status.message()
            )),
        }
    };
    tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
        Outcome::Failure(format!(
            "timeout: failed to connect service {address:?} within {seconds}s: context deadline exceeded"
        ))
    })
}
